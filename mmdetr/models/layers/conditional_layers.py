"""Decoder layer whose attention compares contents with contents and positions with positions.

Legend: B images, S pixels of the feature map, N queries, D channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmdetr.utils.arguments import check_at_least

from .transformer_layers import _TransformerLayer


class _HeadsOfLinear(nn.Module):
    """What both attentions share: projections apart from each other, heads, output projection."""

    def __init__(self, embed_dims: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        check_at_least(1, type(self).__name__, num_heads=num_heads)
        if embed_dims % num_heads:
            raise ValueError(f'embed_dims {embed_dims} is not a multiple of num_heads {num_heads}')
        self.num_heads = num_heads
        self.dropout = dropout
        self.out_proj = nn.Linear(embed_dims, embed_dims)
        nn.init.zeros_(self.out_proj.bias)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None) -> Tensor:
        """Heads [B, heads, N or S, ...] -> [B, N, D]."""
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask, dropout_p=dropout)
        return self.out_proj(attended.transpose(1, 2).flatten(2))

    def _split_heads(self, x: Tensor) -> Tensor:
        """[B, S, D] -> [B, heads, S, D / heads]."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class SeparateSelfAttention(_HeadsOfLinear):
    """Self-attention that projects contents and positions of the queries apart, then adds them.

    Args:
        embed_dims: D.
        num_heads: Number of heads; divides D.
        dropout: Dropout of the attention weights in training.

    Source: Conditional DETR, authors' code.
    """

    def __init__(self, embed_dims: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__(embed_dims, num_heads, dropout)
        self.query_content = nn.Linear(embed_dims, embed_dims)
        self.query_position = nn.Linear(embed_dims, embed_dims)
        self.key_content = nn.Linear(embed_dims, embed_dims)
        self.key_position = nn.Linear(embed_dims, embed_dims)
        self.value = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor, query_pos: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """Attend among the queries.

        Args:
            x: [B, N, D] contents.
            query_pos: [B or 1, N, D] positions.
            attn_mask: Broadcastable to [B, heads, N, N], True where attention is allowed.

        Returns:
            [B, N, D]
        """
        q = self.query_content(x) + self.query_position(query_pos)
        k = self.key_content(x) + self.key_position(query_pos)
        q, k, v = (self._split_heads(part) for part in (q, k, self.value(x)))
        return self._attend(q, k, v, attn_mask)


class ConditionalCrossAttention(_HeadsOfLinear):
    """Attention to the image in which every head has a content part and a spatial part.

    The parts stand side by side in each head, so their products are added without mixing: a query's
    content meets the memory's, its spatial query meets the positions of the pixels.

    Args:
        embed_dims: D.
        num_heads: Number of heads; divides D.
        dropout: Dropout of the attention weights in training.
        position_in_content: Also add the positions of queries and pixels to the content parts.

    Source: Conditional DETR, section 3.2, equations 2 to 4; ``position_in_content`` in the first
        layer as in the authors' code.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        dropout: float = 0.0,
        position_in_content: bool = False,
    ) -> None:
        super().__init__(embed_dims, num_heads, dropout)
        self.query_content = nn.Linear(embed_dims, embed_dims)
        self.query_spatial = nn.Linear(embed_dims, embed_dims)
        self.query_position = nn.Linear(embed_dims, embed_dims) if position_in_content else None
        self.key_content = nn.Linear(embed_dims, embed_dims)
        self.key_position = nn.Linear(embed_dims, embed_dims)
        self.value = nn.Linear(embed_dims, embed_dims)

    def forward(
        self,
        x: Tensor,
        query_pos: Tensor,
        spatial_query: Tensor,
        memory: Tensor,
        memory_pos: Tensor,
        attn_mask: Tensor | None = None,
    ) -> Tensor:
        """Attend from the queries to the image.

        Args:
            x: [B, N, D] contents of the queries.
            query_pos: [B or 1, N, D] their positions; read only with ``position_in_content``.
            spatial_query: [B, N, D] where the queries look, as an encoding of positions.
            memory: [B, S, D] contents of the pixels.
            memory_pos: [B or 1, S, D] their positions.
            attn_mask: Broadcastable to [B, heads, N, S], True where attention is allowed.

        Returns:
            [B, N, D]
        """
        q, k, k_pos = self.query_content(x), self.key_content(memory), self.key_position(memory_pos)
        if self.query_position is not None:
            q, k = q + self.query_position(query_pos), k + k_pos
        q = self._side_by_side(q, self.query_spatial(spatial_query))
        k = self._side_by_side(k, k_pos.expand_as(k))
        return self._attend(q, k, self._split_heads(self.value(memory)), attn_mask)

    def _side_by_side(self, content: Tensor, spatial: Tensor) -> Tensor:
        """[B, S, D] both -> [B, heads, S, 2 * D / heads]."""
        return torch.cat((self._split_heads(content), self._split_heads(spatial)), dim=-1)


class ConditionalDecoderLayer(_TransformerLayer):
    """Self-attention among the queries, conditional attention to the image, feed-forward part.

    Args:
        embed_dims: D.
        num_heads: Attention heads.
        feedforward_channels: Hidden width of the feed-forward part; 0 leaves it out.
        dropout: Dropout of attention weights, hidden units and sub-layer outputs.
        activation: Of the feed-forward part, see :func:`build_activation`.
        position_in_content: As in :class:`ConditionalCrossAttention`; the first layer's.

    Source: Conditional DETR, figure 3; post-norm as in the authors' code.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int = 2048,
        dropout: float = 0.1,
        activation: str = 'relu',
        position_in_content: bool = False,
    ) -> None:
        super().__init__(embed_dims, feedforward_channels, dropout, False, activation)
        self.self_attn = SeparateSelfAttention(embed_dims, num_heads, dropout)
        self.cross_attn = ConditionalCrossAttention(
            embed_dims, num_heads, dropout, position_in_content
        )
        self.norm1 = nn.LayerNorm(embed_dims)
        self.norm2 = nn.LayerNorm(embed_dims)
        if self.has_feedforward:
            self.norm3 = nn.LayerNorm(embed_dims)

    def forward(
        self,
        x: Tensor,
        query_pos: Tensor,
        spatial_query: Tensor,
        memory: Tensor,
        memory_pos: Tensor,
        self_attn_mask: Tensor | None = None,
        cross_attn_mask: Tensor | None = None,
    ) -> Tensor:
        """Decode.

        Args:
            x: [B, N, D].
            query_pos: [B or 1, N, D] positions of the queries.
            spatial_query: [B, N, D] where they look.
            memory: [B, S, D].
            memory_pos: [B or 1, S, D] positions of the pixels.
            self_attn_mask: Over [B, heads, N, N], True where attention is allowed.
            cross_attn_mask: Over [B, heads, N, S].

        Returns:
            [B, N, D]
        """
        x = self._after(self.norm1, x, self.self_attn(x, query_pos, self_attn_mask))
        attended = self.cross_attn(x, query_pos, spatial_query, memory, memory_pos, cross_attn_mask)
        x = self._after(self.norm2, x, attended)
        return self._after(self.norm3, x, self._feedforward(x)) if self.has_feedforward else x
