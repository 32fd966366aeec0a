from .detr_transformer import DETRTransformer
from .dfine_decoder import DFINEDecoder
from .encoder_decoder import TransformerDecoder, TransformerEncoder
from .records import Queries, Refine, TransformerOutput
from .rtdetr_transformer import RTDETRDecoder, RTDETRTransformer
from .torch_transformer import TorchTransformer

__all__ = [
    'DETRTransformer',
    'DFINEDecoder',
    'Queries',
    'RTDETRDecoder',
    'RTDETRTransformer',
    'Refine',
    'TorchTransformer',
    'TransformerDecoder',
    'TransformerEncoder',
    'TransformerOutput',
]
