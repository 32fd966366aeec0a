"""The decoder of Conditional DETR.

Legend: B images, S pixels of the feature map, N queries, D channels, L decoder layers.
"""

import torch
from torch import Tensor, nn

from mmdetr.models.layers import MLP, ConditionalDecoderLayer, sine_embedding
from mmdetr.models.layers.checkpointing import call_checkpointed
from mmdetr.registry import MODELS
from mmdetr.utils.arguments import check_at_least

from .encoder_decoder import xavier_init
from .records import Refine


@MODELS.register_module()
class ConditionalDecoder(nn.Module):
    """Each query looks around a reference point; what it has decoded so far says where exactly.

    The reference point follows from the query's position, and is the same for every layer. The
    spatial query is its encoding, scaled from the second layer on by what the stream holds.

    Args:
        num_layers: L, at least 1.
        embed_dims: D; the transformer passes this and what follows.
        num_heads: Attention heads.
        feedforward_channels: Hidden width of the feed-forward parts; 0 leaves them out.
        dropout: Dropout of attention weights, hidden units and sub-layer outputs.
        norm_first: Only False.
        with_cp: Activation checkpointing of each layer.
        activation: Of the feed-forward parts: ``relu``, ``prelu`` or ``gelu``.

    Source: Conditional DETR, sections 3.2 and 3.3.
    """

    def __init__(
        self,
        num_layers: int,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        dropout: float,
        norm_first: bool = False,
        with_cp: bool = False,
        activation: str = 'relu',
    ) -> None:
        super().__init__()
        name = type(self).__name__
        check_at_least(1, name, num_layers=num_layers)
        if norm_first:
            raise ValueError(f'{name} is post-norm: set norm_first=False')
        self.with_cp = with_cp
        self.num_feats = embed_dims // 2
        sizes = (embed_dims, num_heads, feedforward_channels, dropout, activation)
        self.layers = nn.ModuleList(
            ConditionalDecoderLayer(*sizes, position_in_content=i == 0) for i in range(num_layers)
        )
        self.norm = nn.LayerNorm(embed_dims)
        self.build_heads(embed_dims)
        if num_layers > 1:
            self.spatial_scale = MLP(embed_dims, embed_dims, embed_dims, 2)
        xavier_init(self)

    def build_heads(self, embed_dims: int) -> None:
        """Build what says where the queries are."""
        self.reference_head = MLP(embed_dims, embed_dims, 2, 2)

    def forward(
        self,
        x: Tensor,
        memory_key: Tensor,
        memory: Tensor,
        memory_pos: Tensor | None = None,
        query_pos: Tensor | None = None,
        self_attn_mask: Tensor | None = None,
        cross_attn_mask: Tensor | None = None,
        reference_points: Tensor | None = None,
        refine: Refine | None = None,
        all_layers: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Decode all objects in parallel.

        Args:
            x: [B, N, D] start of the stream.
            memory_key: Not used; contents and positions are projected apart.
            memory: [B, S, D].
            memory_pos: [B or 1, S, D] positions of the pixels.
            query_pos: [B or 1, N, D] positions of the queries.
            self_attn_mask: Over [B, heads, N, N]; bool with True where attention is allowed.
            cross_attn_mask: Over [B, heads, N, S].
            reference_points: Only None; they follow from ``query_pos``.
            refine: Only None.
            all_layers: Return every layer's output, not the last one's alone.

        Returns:
            Hidden states [L, B, N, D], L = 1 unless ``all_layers``, and the reference points
            [L, B, N, 2], x and y in 0..1.

        Raises:
            ValueError: The queries have no position, or reference points of their own.
        """
        if query_pos is None or reference_points is not None or refine is not None:
            raise ValueError(
                'ConditionalDecoder needs queries that are positions alone: take ConditionalHead '
                "and query_pos='attention'"
            )
        reference_points = self.reference_head(query_pos).sigmoid()
        centre = sine_embedding(reference_points, self.num_feats)
        outputs = []
        for i, layer in enumerate(self.layers):
            spatial_query = centre if i == 0 else centre * self.spatial_scale(x)
            inputs = (x, query_pos, spatial_query, memory, memory_pos)
            x = call_checkpointed(
                layer, *inputs, self_attn_mask, cross_attn_mask, enabled=self.with_cp
            )
            outputs.append(x)
        hidden = self.norm(torch.stack(outputs if all_layers else outputs[-1:]))
        return hidden, reference_points.expand(*hidden.shape[:3], 2)
