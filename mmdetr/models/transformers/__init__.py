from .anchor_decoder import AnchorDecoder, ScaledPositionEncoder
from .conditional_decoder import ConditionalDecoder
from .deformable_stacks import AnchorDeformableDecoder, DeformableDecoder, DeformableEncoder
from .deformable_transformer import DeformableTransformer
from .detr_transformer import DETRTransformer
from .dfine_decoder import DFINEDecoder
from .encoder_decoder import TransformerDecoder, TransformerEncoder
from .records import Memory, Queries, Refine, TransformerOutput
from .rtdetr_transformer import RTDETRDecoder, RTDETRTransformer
from .torch_transformer import TorchTransformer

__all__ = [
    'AnchorDecoder',
    'AnchorDeformableDecoder',
    'ConditionalDecoder',
    'DETRTransformer',
    'DFINEDecoder',
    'DeformableDecoder',
    'DeformableEncoder',
    'DeformableTransformer',
    'Memory',
    'Queries',
    'RTDETRDecoder',
    'RTDETRTransformer',
    'Refine',
    'ScaledPositionEncoder',
    'TorchTransformer',
    'TransformerDecoder',
    'TransformerEncoder',
    'TransformerOutput',
]
