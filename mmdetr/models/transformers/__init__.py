from .anchor_decoder import AnchorDecoder, ScaledPositionEncoder
from .conditional_decoder import ConditionalDecoder
from .deformable_stacks import AnchorDeformableDecoder, DeformableDecoder, DeformableEncoder
from .deformable_transformer import DeformableTransformer
from .detr_transformer import DETRTransformer
from .encoder_decoder import TransformerDecoder, TransformerEncoder
from .records import Memory, Queries, Refine, TransformerOutput
from .torch_transformer import TorchTransformer

__all__ = [
    'AnchorDecoder',
    'AnchorDeformableDecoder',
    'ConditionalDecoder',
    'DETRTransformer',
    'DeformableDecoder',
    'DeformableEncoder',
    'DeformableTransformer',
    'Memory',
    'Queries',
    'Refine',
    'ScaledPositionEncoder',
    'TorchTransformer',
    'TransformerDecoder',
    'TransformerEncoder',
    'TransformerOutput',
]
