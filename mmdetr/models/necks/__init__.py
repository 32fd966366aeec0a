from .channel_mapper import ChannelMapper
from .input_projection import InputProjection

__all__ = ['ChannelMapper', 'InputProjection']
