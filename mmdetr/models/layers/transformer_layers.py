"""Encoder and decoder layer, with normalisation after (paper) or before each sub-layer.

Legend: B images, S pixels of the feature map, N queries, D channels.
"""

from torch import Tensor, nn

from .attention import MultiheadAttention

_ACTIVATIONS = dict(relu=nn.ReLU, prelu=nn.PReLU, gelu=nn.GELU)


def build_activation(name: str) -> nn.Module:
    """Return ReLU, PReLU (one slope, learned) or GELU by its name in small letters.

    Raises:
        ValueError: There is none of that name.
    """
    if name not in _ACTIVATIONS:
        raise ValueError(f'activation must be one of {tuple(_ACTIVATIONS)}, not {name!r}')
    return _ACTIVATIONS[name]()


class _TransformerLayer(nn.Module):
    """What both layers share: the feed-forward part and where the normalisation stands.

    ``feedforward_channels=0`` leaves the feed-forward part out (paper section 4.2, "importance of
    FFN").
    """

    def __init__(
        self,
        embed_dims: int,
        feedforward_channels: int,
        dropout: float,
        norm_first: bool,
        activation: str = 'relu',
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.dropout = nn.Dropout(dropout)
        self.has_feedforward = feedforward_channels > 0
        if self.has_feedforward:
            self.linear1 = nn.Linear(embed_dims, feedforward_channels)
            self.linear2 = nn.Linear(feedforward_channels, embed_dims)
            self.activation = build_activation(activation)

    def _feedforward(self, x: Tensor) -> Tensor:
        """Two linear layers with an activation between them (paper, appendix A.1: ReLU)."""
        return self.linear2(self.dropout(self.activation(self.linear1(x))))

    def _before(self, norm: nn.LayerNorm, x: Tensor) -> Tensor:
        """What a sub-layer reads: x, normalised in a pre-norm layer."""
        return norm(x) if self.norm_first else x

    def _after(self, norm: nn.LayerNorm, x: Tensor, output: Tensor) -> Tensor:
        """Residual connection around a sub-layer, normalised in a post-norm layer."""
        x = x + self.dropout(output)
        return x if self.norm_first else norm(x)


class TransformerEncoderLayer(_TransformerLayer):
    """Self-attention over the image, then a feed-forward part.

    Args:
        embed_dims: D.
        num_heads: Attention heads.
        feedforward_channels: Hidden width of the feed-forward part; 0 leaves it out.
        dropout: Dropout of attention weights, hidden units and sub-layer outputs.
        norm_first: Pre-norm instead of post-norm.
        activation: Of the feed-forward part, see :func:`build_activation`.

    Source: paper appendix A.3, figure 10 left.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int = 2048,
        dropout: float = 0.1,
        norm_first: bool = False,
        activation: str = 'relu',
    ) -> None:
        super().__init__(embed_dims, feedforward_channels, dropout, norm_first, activation)
        self.self_attn = MultiheadAttention(embed_dims, num_heads, dropout)
        self.norm1 = nn.LayerNorm(embed_dims)
        if self.has_feedforward:
            self.norm2 = nn.LayerNorm(embed_dims)

    def forward(
        self, x: Tensor, pos: Tensor | None = None, attn_mask: Tensor | None = None
    ) -> Tensor:
        """Encode.

        Args:
            x: [B, S, D].
            pos: [B or 1, S, D] added to queries and keys, or None.
            attn_mask: As in MultiheadAttention.

        Returns:
            [B, S, D]
        """
        v = self._before(self.norm1, x)
        q = k = v if pos is None else v + pos
        x = self._after(self.norm1, x, self.self_attn(q, k, v, attn_mask))

        if self.has_feedforward:
            y = self._before(self.norm2, x)
            x = self._after(self.norm2, x, self._feedforward(y))
        return x


class TransformerDecoderLayer(_TransformerLayer):
    """Self-attention among the queries, attention to the image, then a feed-forward part.

    Args:
        embed_dims: D.
        num_heads: Attention heads.
        feedforward_channels: Hidden width of the feed-forward part; 0 leaves it out.
        dropout: Dropout of attention weights, hidden units and sub-layer outputs.
        norm_first: Pre-norm instead of post-norm.

    Source: paper appendix A.3, figure 10 right.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int = 2048,
        dropout: float = 0.1,
        norm_first: bool = False,
    ) -> None:
        super().__init__(embed_dims, feedforward_channels, dropout, norm_first)
        self.self_attn = MultiheadAttention(embed_dims, num_heads, dropout)
        self.cross_attn = MultiheadAttention(embed_dims, num_heads, dropout)
        self.norm1 = nn.LayerNorm(embed_dims)
        self.norm2 = nn.LayerNorm(embed_dims)
        if self.has_feedforward:
            self.norm3 = nn.LayerNorm(embed_dims)

    def forward(
        self,
        x: Tensor,
        memory_key: Tensor,
        memory: Tensor,
        query_pos: Tensor | None = None,
        self_attn_mask: Tensor | None = None,
        cross_attn_mask: Tensor | None = None,
    ) -> Tensor:
        """Decode.

        Args:
            x: [B, N, D].
            memory_key: [B, S, D] keys of the cross-attention: the memory with its positions, which
                are the same for every layer and therefore added once by the caller.
            memory: [B, S, D] values of the cross-attention.
            query_pos: [B or 1, N, D] added to the queries (and keys of the self-attention), or
                None.
            self_attn_mask: Over [B, heads, N, N], as in MultiheadAttention.
            cross_attn_mask: Over [B, heads, N, S].

        Returns:
            [B, N, D]
        """
        v = self._before(self.norm1, x)
        q = k = v if query_pos is None else v + query_pos
        x = self._after(self.norm1, x, self.self_attn(q, k, v, self_attn_mask))

        y = self._before(self.norm2, x)
        q = y if query_pos is None else y + query_pos
        x = self._after(self.norm2, x, self.cross_attn(q, memory_key, memory, cross_attn_mask))

        if self.has_feedforward:
            y = self._before(self.norm3, x)
            x = self._after(self.norm3, x, self._feedforward(y))
        return x
