from .hybrid_encoder import DFINEHybridEncoder, HybridEncoder
from .input_projection import InputProjection

__all__ = ['DFINEHybridEncoder', 'HybridEncoder', 'InputProjection']
