from .attention import MultiheadAttention
from .conditional_layers import ConditionalDecoderLayer
from .deformable_attention import (
    DeformableSampling,
    MultiScaleDeformableAttention,
    multi_scale_deformable_attention,
)
from .denoising import (
    ContrastiveDenoising,
    DenoisingNoise,
    DenoisingQueries,
    GroupDenoising,
    LabelEmbedding,
    build_denoising,
    denoising_attention,
)
from .mlp import MLP
from .pixels import pixels_of
from .positional_encoding import (
    FlatPositionalEncoding,
    LearnedPositionalEncoding,
    SinePositionalEncoding,
)
from .reference_points import as_boxes, inverse_sigmoid, move_points, sine_embedding
from .transformer_layers import (
    TransformerDecoderLayer,
    TransformerEncoderLayer,
    build_activation,
)

__all__ = [
    'MLP',
    'ConditionalDecoderLayer',
    'ContrastiveDenoising',
    'DeformableSampling',
    'DenoisingNoise',
    'DenoisingQueries',
    'FlatPositionalEncoding',
    'GroupDenoising',
    'LabelEmbedding',
    'LearnedPositionalEncoding',
    'MultiScaleDeformableAttention',
    'MultiheadAttention',
    'SinePositionalEncoding',
    'TransformerDecoderLayer',
    'TransformerEncoderLayer',
    'as_boxes',
    'build_activation',
    'build_denoising',
    'denoising_attention',
    'inverse_sigmoid',
    'move_points',
    'multi_scale_deformable_attention',
    'pixels_of',
    'sine_embedding',
]
