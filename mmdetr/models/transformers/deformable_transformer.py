"""The encoder-decoder of Deformable DETR.

Legend: B images, L levels (feature maps), h w size of a level, S pixels of all levels, N queries, D
channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmdetr.models.layers import pixels_of
from mmdetr.registry import MODELS
from mmdetr.utils.arguments import check_at_least

from .records import Memory, Queries, Refine, TransformerOutput


@MODELS.register_module()
class DeformableTransformer(nn.Module):
    """Encode the pixels of several maps, and decode queries that look around points or boxes.

    The two halves are public: a head that makes queries of the encoder's output calls them one
    after the other.

    Args:
        embed_dims: D; the head passes the width of the features.
        num_heads: Attention heads.
        num_encoder_layers: 0 hands the features to the decoder as they are.
        num_decoder_layers: At least 1.
        feedforward_channels: Hidden width of the feed-forward parts.
        dropout: Dropout of self-attention weights, hidden units and sub-layer outputs.
        num_levels: L.
        with_cp: Activation checkpointing: keep only the input of each layer and compute the rest
            again in the backward pass.
        encoder: Config of the encoder; the sizes above are passed to it.
        decoder: Config of the decoder; the sizes above are passed to it.

    Source: Deformable DETR, section 4.1, figure 2.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        feedforward_channels: int = 1024,
        dropout: float = 0.1,
        num_levels: int = 4,
        with_cp: bool = False,
        encoder: dict | None = None,
        decoder: dict | None = None,
    ) -> None:
        super().__init__()
        check_at_least(
            1, 'DeformableTransformer', num_decoder_layers=num_decoder_layers, num_levels=num_levels
        )
        sizes = dict(
            embed_dims=embed_dims,
            num_heads=num_heads,
            feedforward_channels=feedforward_channels,
            dropout=dropout,
            num_levels=num_levels,
            with_cp=with_cp,
        )
        self.encoder = MODELS.build(
            encoder or dict(type='DeformableEncoder'),
            default_args=dict(sizes, num_layers=num_encoder_layers),
        )
        self.decoder = MODELS.build(
            decoder or dict(type='DeformableDecoder'),
            default_args=dict(sizes, num_layers=num_decoder_layers),
        )
        self.level_embed = nn.Parameter(torch.randn(num_levels, embed_dims))

    def forward(
        self,
        features: Sequence[Tensor],
        padding_masks: Sequence[Tensor | None],
        positions: Sequence[Tensor],
        queries: Queries,
        refine: Refine | None = None,
        all_layers: bool = False,
    ) -> TransformerOutput:
        """Encode and decode, see :meth:`encode` and :meth:`decode`."""
        memory = self.encode(features, padding_masks, positions)
        return self.decode(memory, queries, refine, all_layers)

    def encode(
        self,
        features: Sequence[Tensor],
        padding_masks: Sequence[Tensor | None],
        positions: Sequence[Tensor],
    ) -> Memory:
        """Encode the pixels of all levels.

        Args:
            features: L maps [B, D, h, w].
            padding_masks: Of each bool [B, h, w], True on padding, or None when nothing is padded.
            positions: Of each the spatial encoding [B or 1, D, h, w].

        Raises:
            ValueError: There are more or fewer than L maps.
        """
        if len(features) != len(self.level_embed):
            raise ValueError(
                f'DeformableTransformer has num_levels={len(self.level_embed)}, the neck gives '
                f'{len(features)} maps'
            )
        pairs = zip(positions, self.level_embed, strict=True)
        pos = torch.cat([pixels_of(each).to(level) + level for each, level in pairs], dim=1)
        return self.encoder(Memory.of(features, padding_masks), pos)

    def decode(
        self,
        memory: Memory,
        queries: Queries,
        refine: Refine | None = None,
        all_layers: bool = False,
    ) -> TransformerOutput:
        """Turn queries into one embedding each.

        Args:
            memory: Output of the encoder.
            queries: The object queries, with content and reference points.
            refine: Gives the reference points of the next layer; None keeps those of the first.
            all_layers: Return every decoder layer's output, not the last one's alone.

        Raises:
            ValueError: The queries have no content or no reference points.
        """
        if queries.content is None or queries.reference_points is None:
            raise ValueError(
                'DeformableTransformer needs queries with content and reference points'
            )
        batch_size, _, embed_dims = memory.tokens.shape
        shape = (batch_size, queries.content.shape[-2], embed_dims)
        position = queries.position
        hidden, reference_points = self.decoder(
            queries.content.to(memory.tokens.dtype).expand(shape),
            memory,
            None if position is None else position.to(memory.tokens.dtype).expand(shape),
            queries.reference_points.float().expand(*shape[:2], -1),
            self_attn_mask=queries.self_attn_mask,
            refine=refine,
            all_layers=all_layers,
        )
        return TransformerOutput(hidden, reference_points, memory.tokens)
