"""Stacks of deformable layers: the encoder, and decoders of points and of boxes.

Legend: B images, S pixels of all levels, L levels, N queries, D channels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmdetr.models.layers import (
    MLP,
    MultiScaleDeformableAttention,
    as_boxes,
    sine_embedding,
)
from mmdetr.models.layers.checkpointing import call_checkpointed
from mmdetr.models.layers.deformable_layers import DeformableDecoderLayer, DeformableEncoderLayer
from mmdetr.registry import MODELS
from mmdetr.utils.arguments import check_at_least

from .encoder_decoder import xavier_init
from .records import Memory, Refine


def init_deformable(module: nn.Module) -> None:
    """Xavier's uniform distribution, except for where deformable attention looks at first."""
    xavier_init(module)
    for each in module.modules():
        if isinstance(each, MultiScaleDeformableAttention):
            each.init_weights()


@MODELS.register_module()
class DeformableEncoder(nn.Module):
    """Deformable encoder layers one after the other.

    Args:
        num_layers: 0 returns the input as it is.
        embed_dims: D; the transformer passes this and what follows.
        num_heads: Attention heads.
        feedforward_channels: Hidden width of the feed-forward parts.
        dropout: Dropout of hidden units and sub-layer outputs.
        num_levels: L.
        num_points: Points of each head on every level, or one number for each level.
        with_cp: Activation checkpointing of each layer.

    Source: Deformable DETR, section 4.1 "deformable transformer encoder".
    """

    def __init__(
        self,
        num_layers: int,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        dropout: float,
        num_levels: int,
        num_points: int | Sequence[int] = 4,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        check_at_least(0, 'DeformableEncoder', num_layers=num_layers)
        self.with_cp = with_cp
        sizes = (embed_dims, num_heads, feedforward_channels, dropout, num_levels, num_points)
        self.layers = nn.ModuleList(DeformableEncoderLayer(*sizes) for _ in range(num_layers))
        init_deformable(self)

    def forward(self, memory: Memory, pos: Tensor) -> Memory:
        """Encode the pixels of all levels; each looks around its own place on every level.

        Args:
            memory: The pixels, ``tokens`` [B, S, D].
            pos: [B or 1, S, D] added to the queries of every layer.

        Returns:
            The same with other ``tokens``.
        """
        x = memory.tokens
        reference_points = memory.on_levels(memory.centres)
        for layer in self.layers:
            x = call_checkpointed(
                layer,
                x,
                pos,
                reference_points,
                memory.shapes,
                memory.padding_mask,
                enabled=self.with_cp,
            )
        return memory._replace(tokens=x)


@MODELS.register_module()
class DeformableDecoder(nn.Module):
    """Deformable decoder layers one after the other, around points or boxes.

    Args:
        num_layers: At least 1.
        embed_dims: D; the transformer passes this and what follows.
        num_heads: Attention heads.
        feedforward_channels: Hidden width of the feed-forward parts.
        dropout: Dropout of self-attention weights, hidden units and sub-layer outputs.
        num_levels: L.
        num_points: Points of each head on every level, or one number for each level.
        with_cp: Activation checkpointing of each layer.
        norm: Normalise what the prediction branches see; what refines the references and goes to
            the next layer stays as it is.
        look_forward_twice: Let the box of a layer, in training, teach the layer before it as well,
            through the references that it starts from. False stops the gradient there.

    Source: Deformable DETR, section 4.1 "deformable transformer decoder", appendix A.4 "iterative
        bounding box refinement". Look forward twice: DINO, section 3.5.
    """

    def __init__(
        self,
        num_layers: int,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        dropout: float,
        num_levels: int,
        num_points: int | Sequence[int] = 4,
        with_cp: bool = False,
        norm: bool = False,
        look_forward_twice: bool = False,
    ) -> None:
        super().__init__()
        check_at_least(1, 'DeformableDecoder', num_layers=num_layers)
        self.with_cp = with_cp
        self.look_forward_twice = look_forward_twice
        sizes = (embed_dims, num_heads, feedforward_channels, dropout, num_levels, num_points)
        self.layers = nn.ModuleList(DeformableDecoderLayer(*sizes) for _ in range(num_layers))
        self.norm = nn.LayerNorm(embed_dims) if norm else nn.Identity()
        init_deformable(self)

    def forward(
        self,
        x: Tensor,
        memory: Memory,
        query_pos: Tensor | None,
        reference_points: Tensor,
        self_attn_mask: Tensor | None = None,
        refine: Refine | None = None,
        all_layers: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Decode all objects in parallel.

        Args:
            x: [B, N, D] start of the stream.
            memory: Output of the encoder.
            query_pos: [B or 1, N, D] added to queries (and keys of the self-attention).
            reference_points: [B, N, 2 or 4] in 0..1 of the unpadded image.
            self_attn_mask: Over [B, heads, N, N]; bool with True where attention is allowed.
            refine: Gives the references of the next layer; None keeps those of the first.
            all_layers: Return every layer's output, not the last one's alone.

        Returns:
            Hidden states [layers, B, N, D], of the last layer alone unless ``all_layers``, and the
            reference points [layers, B, N, 2 or 4] that each of these layers starts from; points
            that become boxes are returned as boxes, see :func:`as_boxes`.
        """
        outputs, references = [], []
        start = reference_points
        for i, layer in enumerate(self.layers):
            on_levels = memory.on_levels(reference_points)
            x = call_checkpointed(
                layer,
                x,
                self.position(i, x, on_levels[:, :, 0], query_pos),
                on_levels,
                memory.tokens,
                memory.shapes,
                memory.padding_mask,
                self_attn_mask,
                enabled=self.with_cp,
            )
            outputs.append(x)
            references.append(start)
            if refine is not None and i + 1 < len(self.layers):
                # Detached: each layer learns its own step.
                start = refine(i, x, reference_points)
                reference_points = start.detach()
                start = start if self.look_forward_twice else reference_points
        kept = slice(None if all_layers else -1, None)
        if refine is not None:
            references = [as_boxes(each) for each in references]
        return self.norm(torch.stack(outputs[kept])), torch.stack(references[kept])

    def position(
        self, layer: int, x: Tensor, reference_points: Tensor, query_pos: Tensor | None
    ) -> Tensor:
        """Return what is added to the queries of a layer.

        Args:
            layer: Number of the layer.
            x: [B, N, D] the stream before it.
            reference_points: [B, N, 2 or 4] on the first level.
            query_pos: As in :meth:`forward`.
        """
        if query_pos is None:
            raise ValueError(
                'DeformableDecoder needs queries with a position: set transformer.decoder to '
                'AnchorDeformableDecoder for queries that are boxes'
            )
        return query_pos


@MODELS.register_module()
class AnchorDeformableDecoder(DeformableDecoder):
    """A deformable decoder whose queries are at the place of their boxes.

    Args:
        embed_dims: D.
        query_scale: Scale the position by what the stream says, from the second layer on.
        **kwargs: As in DeformableDecoder.

    Source: DAB-DETR, equations 2 and 3 (position of a box, and its scale); DINO takes the position
        alone. Boxes are encoded in the frame of the padded image, as in the authors' code, so
        padding changes the predictions a little.
    """

    def __init__(self, embed_dims: int, query_scale: bool = False, **kwargs: Any) -> None:
        super().__init__(embed_dims=embed_dims, **kwargs)
        self.ref_point_head = MLP(2 * embed_dims, embed_dims, embed_dims, 2)
        self.query_scale = MLP(embed_dims, embed_dims, embed_dims, 2) if query_scale else None
        for part in (self.ref_point_head, self.query_scale):
            if part is not None:
                xavier_init(part)

    def position(
        self, layer: int, x: Tensor, reference_points: Tensor, query_pos: Tensor | None
    ) -> Tensor:
        """Encode the boxes [B, N, 4], see DeformableDecoder."""
        position = self.ref_point_head(sine_embedding(reference_points, x.shape[-1] // 2).to(x))
        if layer == 0 or self.query_scale is None:
            return position
        return position * self.query_scale(x)
