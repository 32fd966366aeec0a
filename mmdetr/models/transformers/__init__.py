from .detr_transformer import DETRTransformer
from .encoder_decoder import TransformerDecoder, TransformerEncoder
from .records import Queries, Refine, TransformerOutput
from .torch_transformer import TorchTransformer

__all__ = [
    'DETRTransformer',
    'Queries',
    'Refine',
    'TorchTransformer',
    'TransformerDecoder',
    'TransformerEncoder',
    'TransformerOutput',
]
