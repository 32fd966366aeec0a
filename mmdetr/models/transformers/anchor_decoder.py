"""Encoder and decoder of DAB-DETR.

Legend: B images, S pixels of the feature map, N queries, D channels, L decoder layers.
"""

from typing import Any

import torch
from torch import Tensor

from mmdetr.models.layers import MLP, sine_embedding
from mmdetr.models.layers.checkpointing import call_checkpointed
from mmdetr.registry import MODELS
from mmdetr.utils.arguments import check_at_least

from .conditional_decoder import ConditionalDecoder
from .encoder_decoder import TransformerEncoder, xavier_init
from .records import Refine


@MODELS.register_module()
class ScaledPositionEncoder(TransformerEncoder):
    """Encoder whose positions are scaled by what each pixel holds, anew before each layer.

    Args:
        num_layers: At least 1.
        embed_dims: D; the transformer passes this.
        **sizes: As in TransformerEncoder.

    Source: DAB-DETR, authors' code.
    """

    def __init__(self, num_layers: int, embed_dims: int, **sizes: Any) -> None:
        check_at_least(1, 'ScaledPositionEncoder', num_layers=num_layers)
        super().__init__(num_layers, embed_dims, **sizes)
        self.position_scale = MLP(embed_dims, embed_dims, embed_dims, 2)
        xavier_init(self.position_scale)

    def forward(
        self, x: Tensor, pos: Tensor | None = None, attn_mask: Tensor | None = None
    ) -> Tensor:
        """Encode, see TransformerEncoder."""
        for layer in self.layers:
            scaled = None if pos is None else pos * self.position_scale(x)
            x = call_checkpointed(layer, x, scaled, attn_mask, enabled=self.with_cp)
        return self.norm(x)


@MODELS.register_module()
class AnchorDecoder(ConditionalDecoder):
    """Each query is an anchor box, which every layer moves.

    The encoding of the box is the query's position; the encoding of its centre is where the query
    looks. How far it looks in x and y follows its width and height (modulated attention).

    Args:
        num_layers: L, at least 1.
        embed_dims: D; the transformer passes this.
        activation: Of the feed-forward parts: ``relu``, ``prelu`` or ``gelu``.
        **sizes: As in ConditionalDecoder.

    Source: DAB-DETR, section 4.
    """

    def __init__(
        self, num_layers: int, embed_dims: int, activation: str = 'prelu', **sizes: Any
    ) -> None:
        super().__init__(num_layers, embed_dims, activation=activation, **sizes)

    def build_heads(self, embed_dims: int) -> None:
        """Build what encodes the anchors, and what says how far a query wants to look."""
        self.position_head = MLP(2 * embed_dims, embed_dims, embed_dims, 2)
        self.size_head = MLP(embed_dims, embed_dims, 2, 2)

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
            query_pos: Only None; positions follow from the anchors.
            self_attn_mask: Over [B, heads, N, N]; bool with True where attention is allowed.
            cross_attn_mask: Over [B, heads, N, S].
            reference_points: [B, N, 4] anchors cxcywh in 0..1.
            refine: Says how a layer's output, before the normalisation, moves the anchors; None
                keeps them.
            all_layers: Return every layer's output, not the last one's alone.

        Returns:
            Hidden states [L, B, N, D], L = 1 unless ``all_layers``, and the anchors [L, B, N, 4]
            that each of these layers worked with. Within the decoder they carry no gradient from
            layer to layer, in the output they do.

        Raises:
            ValueError: There are no anchors.
        """
        if reference_points is None or reference_points.shape[-1] != 4 or query_pos is not None:
            raise ValueError('AnchorDecoder needs queries that are anchors: take AnchorHead')
        anchors, outputs, references = reference_points, [], [reference_points]
        for i, layer in enumerate(self.layers):
            box = sine_embedding(anchors, self.num_feats)
            inputs = (x, self.position_head(box), self._spatial_query(i, x, box, anchors))
            x = call_checkpointed(
                layer,
                *inputs,
                memory,
                memory_pos,
                self_attn_mask,
                cross_attn_mask,
                enabled=self.with_cp,
            )
            outputs.append(x)
            if i + 1 < len(self.layers):
                moved = anchors if refine is None else refine(i, x, anchors)
                references.append(moved)
                anchors = moved.detach()
        kept = slice(None if all_layers else -1, None)
        return self.norm(torch.stack(outputs[kept])), torch.stack(references[kept])

    def _spatial_query(self, layer: int, x: Tensor, box: Tensor, anchors: Tensor) -> Tensor:
        """Stream [B, N, D], encoding of the box [B, N, 2 D], box [B, N, 4] -> [B, N, D]."""
        centre = box[..., : 2 * self.num_feats]  # y, then x
        if layer > 0:
            centre = centre * self.spatial_scale(x)
        wanted, actual = self.size_head(x).sigmoid(), anchors[..., 2:]
        x_scale, y_scale = (wanted / actual).unsqueeze(-1).unbind(-2)
        y_part, x_part = centre.split(self.num_feats, dim=-1)
        return torch.cat((y_part * y_scale, x_part * x_scale), dim=-1)
