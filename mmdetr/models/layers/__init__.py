from .attention import MultiheadAttention
from .mlp import MLP
from .positional_encoding import LearnedPositionalEncoding, SinePositionalEncoding
from .transformer_layers import TransformerDecoderLayer, TransformerEncoderLayer

__all__ = [
    'MLP',
    'LearnedPositionalEncoding',
    'MultiheadAttention',
    'SinePositionalEncoding',
    'TransformerDecoderLayer',
    'TransformerEncoderLayer',
]
