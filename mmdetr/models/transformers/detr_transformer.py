"""The encoder-decoder of DETR.

Legend: B images, h w feature size, S = h * w, N queries, D channels, L decoder layers.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from mmdetr.models.layers import pixels_of
from mmdetr.registry import MODELS
from mmdetr.utils.arguments import check_at_least

from .records import Queries, Refine, TransformerOutput

_PLACES = ('attention', 'input', 'none')


@MODELS.register_module()
class DETRTransformer(nn.Module):
    """Transformer that adds positions where the paper's table 3 says.

    Args:
        embed_dims: D; the head passes the width of the features.
        num_heads: Attention heads.
        num_encoder_layers: 0 hands the features to the decoder as they are.
        num_decoder_layers: At least 1.
        feedforward_channels: Hidden width of the feed-forward parts; 0 leaves them out.
        dropout: Dropout of attention weights, hidden units and sub-layer outputs.
        norm_first: Pre-norm; adds a final normalisation to the encoder.
        encoder_pos: Where the encoder gets spatial positions: ``'attention'`` (added to queries
            and keys of every layer), ``'input'`` (added once to the features) or ``'none'``.
        decoder_pos: The same for the decoder's view of the encoder output; ``'input'`` adds them
            to keys and values.
        query_pos: Where the queries' positions enter the decoder: ``'attention'`` (added in every
            layer), ``'input'`` (they start the stream) or ``'none'``.
        with_cp: Activation checkpointing: keep only the input of each layer and compute the rest
            again in the backward pass.
        encoder: Config of the encoder; the sizes above are passed to it.
        decoder: Config of the decoder; the sizes above are passed to it.

    Source: paper section 3.2, appendix A.3 and table 3.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        feedforward_channels: int = 2048,
        dropout: float = 0.1,
        norm_first: bool = False,
        encoder_pos: str = 'attention',
        decoder_pos: str = 'attention',
        query_pos: str = 'attention',
        with_cp: bool = False,
        encoder: dict | None = None,
        decoder: dict | None = None,
    ) -> None:
        super().__init__()
        for name, place in dict(
            encoder_pos=encoder_pos, decoder_pos=decoder_pos, query_pos=query_pos
        ).items():
            if place not in _PLACES:
                raise ValueError(f'{name} must be one of {_PLACES}, not {place!r}')
        check_at_least(1, 'DETRTransformer', num_decoder_layers=num_decoder_layers)
        check_at_least(
            0,
            'DETRTransformer',
            num_encoder_layers=num_encoder_layers,
            feedforward_channels=feedforward_channels,
        )
        self.encoder_pos, self.decoder_pos, self.query_pos = encoder_pos, decoder_pos, query_pos
        sizes = dict(
            embed_dims=embed_dims,
            num_heads=num_heads,
            feedforward_channels=feedforward_channels,
            dropout=dropout,
            norm_first=norm_first,
            with_cp=with_cp,
        )
        self.encoder = MODELS.build(
            encoder or dict(type='TransformerEncoder'),
            default_args=dict(sizes, num_layers=num_encoder_layers),
        )
        self.decoder = MODELS.build(
            decoder or dict(type='TransformerDecoder'),
            default_args=dict(sizes, num_layers=num_decoder_layers),
        )

    def forward(
        self,
        features: Sequence[Tensor],
        padding_masks: Sequence[Tensor | None],
        positions: Sequence[Tensor],
        queries: Queries,
        refine: Refine | None = None,
        all_layers: bool = False,
    ) -> TransformerOutput:
        """Turn features and queries into one embedding per query.

        Args:
            features: One map [B, D, h, w].
            padding_masks: Its bool [B, h, w], True on padding, or None when nothing is padded.
            positions: Its spatial encoding [B or 1, D, h, w].
            queries: The object queries.
            refine: Handed to a decoder that refines reference points.
            all_layers: Return every decoder layer's output, not the last one's alone.

        Returns:
            Hidden states [L, B, N, D], L = 1 unless ``all_layers``, and the memory [B, S, D].

        Raises:
            ValueError: There is more than one feature map.
        """
        if len(features) != 1:
            raise ValueError(
                f'DETRTransformer attends to one feature map, the neck gives {len(features)}'
            )
        x = pixels_of(features[0])
        pos = pixels_of(positions[0]).to(x.dtype)
        mask = padding_masks[0]
        attn_mask = None if mask is None else ~mask.flatten(1)[:, None, None]

        if self.encoder_pos == 'input':
            x = x + pos
        memory = self.encoder(x, pos if self.encoder_pos == 'attention' else None, attn_mask)

        memory_key = memory if self.decoder_pos == 'none' else memory + pos
        stream, query_pos = self._place_queries(queries, memory)
        reference_points = queries.reference_points
        if reference_points is not None:
            reference_points = reference_points.expand(*stream.shape[:2], -1)
        hidden, reference_points = self.decoder(
            stream,
            memory_key,
            memory_key if self.decoder_pos == 'input' else memory,
            memory_pos=pos,
            query_pos=query_pos,
            self_attn_mask=queries.self_attn_mask,
            cross_attn_mask=attn_mask,
            reference_points=reference_points,
            refine=refine,
            all_layers=all_layers,
        )
        return TransformerOutput(hidden, reference_points, memory)

    def _place_queries(self, queries: Queries, memory: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the start of the decoder's stream [B, N, D] and what is added in its layers."""
        every = (queries.position, queries.content, queries.reference_points)
        parts = [part for part in every if part is not None]
        shape = (memory.shape[0], parts[0].shape[-2], memory.shape[-1])
        position, content = (
            None if part is None else part.to(memory.dtype).expand(shape)
            for part in (queries.position, queries.content)
        )
        stream = memory.new_zeros(shape) if content is None else content
        if position is not None and self.query_pos == 'input':
            stream = position if content is None else content + position
        return stream, position if self.query_pos == 'attention' else None
