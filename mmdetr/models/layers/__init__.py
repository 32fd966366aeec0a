from .attention import MultiheadAttention
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
from .positional_encoding import (
    FlatPositionalEncoding,
    LearnedPositionalEncoding,
    SinePositionalEncoding,
)
from .reference_points import inverse_sigmoid, sine_embedding
from .transformer_layers import TransformerDecoderLayer, TransformerEncoderLayer

__all__ = [
    'MLP',
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
    'build_denoising',
    'denoising_attention',
    'inverse_sigmoid',
    'multi_scale_deformable_attention',
    'sine_embedding',
]
