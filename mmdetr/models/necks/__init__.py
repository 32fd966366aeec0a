from .channel_mapper import ChannelMapper
from .input_projection import InputProjection

__all__ = ['ChannelMapper', 'InputProjection']
from .hybrid_encoder import DFINEHybridEncoder, HybridEncoder

__all__ = ['DFINEHybridEncoder', 'HybridEncoder', 'InputProjection']
