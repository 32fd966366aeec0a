from .anchor_decoder import AnchorDecoder, ScaledPositionEncoder
from .conditional_decoder import ConditionalDecoder
from .detr_transformer import DETRTransformer
from .encoder_decoder import TransformerDecoder, TransformerEncoder
from .records import Queries, Refine, TransformerOutput
from .torch_transformer import TorchTransformer

__all__ = [
    'AnchorDecoder',
    'ConditionalDecoder',
    'DETRTransformer',
    'Queries',
    'Refine',
    'ScaledPositionEncoder',
    'TorchTransformer',
    'TransformerDecoder',
    'TransformerEncoder',
    'TransformerOutput',
]
