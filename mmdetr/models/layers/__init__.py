from .attention import MultiheadAttention
from .conditional_layers import ConditionalDecoderLayer
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
from .reference_points import inverse_sigmoid, move_points, sine_embedding
from .transformer_layers import (
    TransformerDecoderLayer,
    TransformerEncoderLayer,
    build_activation,
)

__all__ = [
    'MLP',
    'ConditionalDecoderLayer',
    'ContrastiveDenoising',
    'DenoisingNoise',
    'DenoisingQueries',
    'FlatPositionalEncoding',
    'GroupDenoising',
    'LabelEmbedding',
    'LearnedPositionalEncoding',
    'MultiheadAttention',
    'SinePositionalEncoding',
    'TransformerDecoderLayer',
    'TransformerEncoderLayer',
    'build_activation',
    'build_denoising',
    'denoising_attention',
    'inverse_sigmoid',
    'move_points',
    'sine_embedding',
]
