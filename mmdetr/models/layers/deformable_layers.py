"""Encoder and decoder layer with deformable attention.

Legend: B images, S pixels of all levels, L levels, N queries, D channels.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from .attention import MultiheadAttention
from .deformable_attention import MultiScaleDeformableAttention
from .transformer_layers import _TransformerLayer


class DeformableEncoderLayer(_TransformerLayer):
    """Deformable self-attention of the pixels of all levels, then a feed-forward part.

    Args:
        embed_dims: D.
        num_heads: Attention heads.
        feedforward_channels: Hidden width of the feed-forward part.
        dropout: Dropout of hidden units and sub-layer outputs.
        num_levels: L.
        num_points: Points of each head on every level, or one number for each level.

    Source: Deformable DETR, section 4.1 "deformable transformer encoder".
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        dropout: float,
        num_levels: int,
        num_points: int | Sequence[int],
    ) -> None:
        super().__init__(embed_dims, feedforward_channels, dropout, norm_first=False)
        self.self_attn = MultiScaleDeformableAttention(
            embed_dims, num_heads, num_levels, num_points
        )
        self.norm1 = nn.LayerNorm(embed_dims)
        self.norm2 = nn.LayerNorm(embed_dims)

    def forward(
        self,
        x: Tensor,
        pos: Tensor,
        reference_points: Tensor,
        shapes: Sequence[tuple[int, int]],
        padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Encode.

        Args:
            x: [B, S, D].
            pos: [B or 1, S, D] added to the queries.
            reference_points: [B, S, L, 2] each pixel's place on every level.
            shapes: (h, w) of each level.
            padding_mask: bool [B, S], True on padding.

        Returns:
            [B, S, D]
        """
        attended = self.self_attn(x + pos, reference_points, x, shapes, padding_mask)
        x = self._after(self.norm1, x, attended)
        return self._after(self.norm2, x, self._feedforward(x))


class DeformableDecoderLayer(_TransformerLayer):
    """Self-attention among the queries, deformable attention to the image, a feed-forward part.

    Args:
        embed_dims: D.
        num_heads: Attention heads.
        feedforward_channels: Hidden width of the feed-forward part.
        dropout: Dropout of self-attention weights, hidden units and sub-layer outputs.
        num_levels: L.
        num_points: Points of each head on every level, or one number for each level.

    Source: Deformable DETR, section 4.1 "deformable transformer decoder".
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        dropout: float,
        num_levels: int,
        num_points: int | Sequence[int],
    ) -> None:
        super().__init__(embed_dims, feedforward_channels, dropout, norm_first=False)
        self.self_attn = MultiheadAttention(embed_dims, num_heads, dropout)
        self.cross_attn = MultiScaleDeformableAttention(
            embed_dims, num_heads, num_levels, num_points
        )
        self.norm1 = nn.LayerNorm(embed_dims)
        self.norm2 = nn.LayerNorm(embed_dims)
        self.norm3 = nn.LayerNorm(embed_dims)

    def forward(
        self,
        x: Tensor,
        query_pos: Tensor,
        reference_points: Tensor,
        memory: Tensor,
        shapes: Sequence[tuple[int, int]],
        padding_mask: Tensor | None = None,
        self_attn_mask: Tensor | None = None,
    ) -> Tensor:
        """Decode.

        Args:
            x: [B, N, D].
            query_pos: [B or 1, N, D] added to the queries (and keys of the self-attention).
            reference_points: [B, N, L, 2 or 4] points or boxes on every level.
            memory: [B, S, D].
            shapes: (h, w) of each level.
            padding_mask: bool [B, S], True on padding.
            self_attn_mask: Over [B, heads, N, N], as in MultiheadAttention.

        Returns:
            [B, N, D]
        """
        q = k = x + query_pos
        x = self._after(self.norm1, x, self.self_attn(q, k, x, self_attn_mask))
        q = x + query_pos
        attended = self.cross_attn(q, reference_points, memory, shapes, padding_mask)
        x = self._after(self.norm2, x, attended)
        return self._after(self.norm3, x, self._feedforward(x))
