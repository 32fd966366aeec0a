from .attention import MultiheadAttention
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
    'FlatPositionalEncoding',
    'LearnedPositionalEncoding',
    'MultiheadAttention',
    'SinePositionalEncoding',
    'TransformerDecoderLayer',
    'TransformerEncoderLayer',
    'inverse_sigmoid',
    'sine_embedding',
]
