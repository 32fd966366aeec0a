from .channel_mapper import ChannelMapper
from .hybrid_encoder import DFINEHybridEncoder, HybridEncoder
from .input_projection import InputProjection

__all__ = [
    'ChannelMapper',
    'DFINEHybridEncoder',
    'HybridEncoder',
    'InputProjection',
]
