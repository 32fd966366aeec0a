"""The decoder of RT-DETR: queries with boxes attend to points of all maps.

Legend: B images, h w feature size, S pixels of all maps, N queries, D channels, L decoder layers.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmdetr.models.layers import MLP, MultiheadAttention, pixels_of
from mmdetr.models.layers.checkpointing import call_checkpointed
from mmdetr.models.layers.conv_norm import ConvNorm
from mmdetr.models.layers.deformable_attention_v2 import DeformableAttentionV2
from mmdetr.registry import MODELS
from mmdetr.utils.arguments import check_at_least

from .encoder_decoder import xavier_init
from .records import Queries, Refine, TransformerOutput


class Memory(NamedTuple):
    """Pixels of all maps.

    Attributes:
        pixels: [B, S, D], one map after the other, each row by row.
        shapes: Height and width of each map.
    """

    pixels: Tensor
    shapes: Sequence[tuple[int, int]]


class RTDETRDecoderLayer(nn.Module):
    """Self-attention among the queries, deformable attention to the maps, feed-forward part.

    Args:
        embed_dims: D.
        num_heads: Attention heads.
        feedforward_channels: Hidden width of the feed-forward part.
        num_points: Points of each level and head.
        sampling: See DeformableAttentionV2.

    Source: RT-DETR, section 4.1; the decoder layer of Deformable DETR.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        num_points: Sequence[int],
        sampling: str,
    ) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(embed_dims, num_heads)
        self.norm1 = nn.LayerNorm(embed_dims)
        self.build_cross_attention(embed_dims, num_heads, num_points, sampling)
        self.linear1 = nn.Linear(embed_dims, feedforward_channels)
        self.linear2 = nn.Linear(feedforward_channels, embed_dims)
        self.build_last_norm(embed_dims)
        nn.init.xavier_uniform_(self.linear1.weight)
        nn.init.xavier_uniform_(self.linear2.weight)

    def build_cross_attention(
        self, embed_dims: int, num_heads: int, num_points: Sequence[int], sampling: str
    ) -> None:
        """Build the attention to the maps and what adds its output to the stream."""
        self.cross_attn = DeformableAttentionV2(embed_dims, num_heads, num_points, sampling)
        self.norm2 = nn.LayerNorm(embed_dims)

    def build_last_norm(self, embed_dims: int) -> None:
        """Build the normalisation after the feed-forward part."""
        self.norm3 = nn.LayerNorm(embed_dims)

    def add_attended(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add what was seen in the maps to the stream, [B, N, D] both."""
        return self.norm2(x + attended)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        shapes: Sequence[tuple[int, int]],
        bboxes: Tensor,
        query_pos: Tensor,
        self_attn_mask: Tensor | None = None,
    ) -> Tensor:
        """Decode.

        Args:
            x: [B, N, D].
            memory: [B, S, D].
            shapes: Height and width of each map.
            bboxes: [B, N, 4] reference boxes, cxcywh in 0..1.
            query_pos: [B, N, D] added to queries and keys.
            self_attn_mask: Over [B, heads, N, N]; bool with True where attention is allowed.

        Returns:
            [B, N, D]
        """
        q = k = x + query_pos
        x = self.norm1(x + self.self_attn(q, k, x, self_attn_mask))
        x = self.add_attended(x, self.cross_attn(x + query_pos, bboxes[:, :, None], memory, shapes))
        return self.norm3(x + self.linear2(F.relu(self.linear1(x))))


@MODELS.register_module()
class RTDETRDecoder(nn.Module):
    """Decoder layers that each move the reference boxes.

    Args:
        num_layers: L, at least 1.
        embed_dims: D; the transformer passes this and what follows.
        num_heads: Attention heads.
        feedforward_channels: Hidden width of the feed-forward parts.
        num_points: Points of each level and head.
        sampling: See DeformableAttentionV2.
        eval_idx: Last layer in evaluation, negative from the end; layers after it are for training
            alone.
        with_cp: Activation checkpointing of each layer.

    Source: RT-DETR, section 4.1; RT-DETRv2.
    """

    layer_type: type[RTDETRDecoderLayer] = RTDETRDecoderLayer

    def __init__(
        self,
        num_layers: int,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        num_points: Sequence[int],
        sampling: str = 'bilinear',
        eval_idx: int = -1,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        check_at_least(1, type(self).__name__, num_layers=num_layers)
        if not -num_layers <= eval_idx < num_layers:
            raise ValueError(f'eval_idx {eval_idx} names none of {num_layers} decoder layers')
        self.with_cp = with_cp
        # Layers that evaluation needs.
        self.num_eval_layers = eval_idx % num_layers + 1
        sizes = (embed_dims, num_heads, feedforward_channels, num_points, sampling)
        self.layers = nn.ModuleList(self.layer_type(*sizes) for _ in range(num_layers))
        self.query_pos_head = MLP(4, 2 * embed_dims, embed_dims, 2)
        xavier_init(self.query_pos_head)

    def forward(
        self, queries: Queries, memory: Memory, refine: Refine, all_layers: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Decode all objects in parallel.

        Args:
            queries: Content [B, N, D] and reference boxes [B, N, 4].
            memory: Pixels of all maps.
            refine: Moves the boxes, by the index and the output of a layer.
            all_layers: Run all L layers and return all outputs, not the last evaluated alone.

        Returns:
            Hidden states [L, B, N, D], L = 1 unless ``all_layers``, and the reference boxes that
            each of these layers worked with [L, B, N, 4].
        """
        x, bboxes = queries.content, queries.reference_points
        assert x is not None
        assert bboxes is not None
        outputs, references = [], []
        count = len(self.layers) if all_layers else self.num_eval_layers
        for i, layer in enumerate(self.layers[:count]):
            x = call_checkpointed(
                layer,
                x,
                memory.pixels,
                memory.shapes,
                bboxes,
                self.query_positions(bboxes.to(x.dtype)),
                queries.self_attn_mask,
                enabled=self.with_cp,
            )
            outputs.append(x)
            references.append(bboxes)
            if i + 1 < count:
                # Detached: each layer learns its own step.
                with torch.no_grad():
                    bboxes = refine(i, x, bboxes)
        kept = slice(None if all_layers else -1, None)
        return torch.stack(outputs[kept]), torch.stack(references[kept])

    def query_positions(self, bboxes: Tensor) -> Tensor:
        """Reference boxes [B, N, 4] -> what is added to queries and keys [B, N, D]."""
        return self.query_pos_head(bboxes)


@MODELS.register_module()
class RTDETRTransformer(nn.Module):
    """A projection of each map and the decoder; the encoder is the neck (HybridEncoder).

    Args:
        in_channels: Width of the maps; the head passes it.
        embed_dims: D; by default the width of the maps.
        num_heads: Attention heads.
        num_layers: Decoder layers.
        feedforward_channels: Hidden width of their feed-forward parts.
        num_points: Points of each level and head; one level for each map of the neck.
        project_same_width: Project maps that have the width D already, too; D-FINE does not.
        decoder: Config of the decoder; the sizes above are passed to it.

    Source: RT-DETR, section 4.1.
    """

    def __init__(
        self,
        in_channels: int,
        embed_dims: int | None = None,
        num_heads: int = 8,
        num_layers: int = 6,
        feedforward_channels: int = 1024,
        num_points: Sequence[int] = (4, 4, 4),
        project_same_width: bool = True,
        decoder: dict | None = None,
    ) -> None:
        super().__init__()
        self.embed_dims = embed_dims or in_channels
        self.projections = nn.ModuleList(nn.Identity() for _ in num_points)
        if project_same_width or self.embed_dims != in_channels:
            projections = [ConvNorm(in_channels, self.embed_dims) for _ in num_points]
            for projection in projections:
                nn.init.xavier_uniform_(projection.conv.weight)
            self.projections = nn.ModuleList(projections)
        self.decoder = MODELS.build(
            decoder or dict(type='RTDETRDecoder'),
            default_args=dict(
                num_layers=num_layers,
                embed_dims=self.embed_dims,
                num_heads=num_heads,
                feedforward_channels=feedforward_channels,
                num_points=num_points,
            ),
        )

    def encode(self, features: Sequence[Tensor]) -> Memory:
        """Project maps [B, C, h, w] and lay out their pixels.

        Raises:
            ValueError: The number of maps is not that of ``num_points``.
        """
        if len(features) != len(self.projections):
            raise ValueError(
                f'RTDETRTransformer has num_points for {len(self.projections)} maps, the neck '
                f'gives {len(features)}'
            )
        maps = [p(each) for p, each in zip(self.projections, features, strict=True)]
        pixels = torch.cat([pixels_of(each) for each in maps], dim=1)
        return Memory(pixels, [(each.shape[-2], each.shape[-1]) for each in maps])

    def forward(
        self, memory: Memory, queries: Queries, refine: Refine, all_layers: bool = False
    ) -> TransformerOutput:
        """Decode, see RTDETRDecoder.

        Returns:
            Hidden states, the reference boxes that each layer worked with, and the memory.
        """
        hidden, references = self.decoder(queries, memory, refine, all_layers)
        return TransformerOutput(hidden, references, memory.pixels)
