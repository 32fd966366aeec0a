"""Encoder and decoder layer, with normalisation after (paper) or before each sub-layer.

Legend: B images, S pixels of the feature map, N queries, D channels.
"""

from collections.abc import Callable

from torch import Tensor, nn

from .attention import MultiheadAttention
from .dropout import Dropout
from .linear import linear


class _TransformerLayer(nn.Module):
    """What both layers share: the feed-forward part and the residual connection.

    ``feedforward_channels=0`` leaves the feed-forward part out (paper section 4.2, "importance of
    FFN").
    """

    def __init__(
        self, embed_dims: int, feedforward_channels: int, dropout: float, norm_first: bool
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.dropout = Dropout(dropout)
        self.has_feedforward = feedforward_channels > 0
        if self.has_feedforward:
            self.linear1 = nn.Linear(embed_dims, feedforward_channels)
            self.linear2 = nn.Linear(feedforward_channels, embed_dims)

    def _feedforward(self, x: Tensor) -> Tensor:
        return linear(self.linear2, self.dropout(linear(self.linear1, x, relu=True)))

    def _residual(
        self, x: Tensor, norm: nn.LayerNorm, sublayer: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Add what ``sublayer`` makes of x, normalising before it or after the sum."""
        if self.norm_first:
            return x + self.dropout(sublayer(norm(x)))
        return norm(x + self.dropout(sublayer(x)))


class TransformerEncoderLayer(_TransformerLayer):
    """Self-attention over the image, then a feed-forward part.

    Args:
        embed_dims: D.
        num_heads: Attention heads.
        feedforward_channels: Hidden width of the feed-forward part; 0 leaves it out.
        dropout: Dropout of attention weights, hidden units and sub-layer outputs.
        norm_first: Pre-norm instead of post-norm.

    Source: paper appendix A.3, figure 10 left.
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

        def attend(y: Tensor) -> Tensor:
            query = y if pos is None else y + pos
            return self.self_attn(query, query, y, attn_mask)

        x = self._residual(x, self.norm1, attend)
        if self.has_feedforward:
            x = self._residual(x, self.norm2, self._feedforward)
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
            query_pos: [B or 1, N, D] added to the queries (and keys of the self-attention).
            self_attn_mask: Over [B, heads, N, N], as in MultiheadAttention.
            cross_attn_mask: Over [B, heads, N, S].

        Returns:
            [B, N, D]
        """

        def with_pos(y: Tensor) -> Tensor:
            return y if query_pos is None else y + query_pos

        def attend_queries(y: Tensor) -> Tensor:
            query = with_pos(y)
            return self.self_attn(query, query, y, self_attn_mask)

        def attend_memory(y: Tensor) -> Tensor:
            return self.cross_attn(with_pos(y), memory_key, memory, cross_attn_mask)

        x = self._residual(x, self.norm1, attend_queries)
        x = self._residual(x, self.norm2, attend_memory)
        if self.has_feedforward:
            x = self._residual(x, self.norm3, self._feedforward)
        return x
