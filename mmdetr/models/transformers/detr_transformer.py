"""The encoder-decoder of DETR.

Legend: B images, h w feature size, S = h * w, N queries, D channels, L decoder layers.
"""

import torch
from torch import Tensor, nn

from mmdetr.models.layers import TransformerDecoderLayer, TransformerEncoderLayer
from mmdetr.models.layers.checkpointing import run
from mmdetr.registry import MODELS
from mmdetr.utils.arguments import check_at_least

_PLACES = ('attention', 'input', 'none')


class _LayerStack(nn.Module):
    """Layers and the normalisation after the last; holds them under the field's names."""

    def __init__(self, layers: list[nn.Module], norm: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = norm


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
        query_pos: Where the queries enter the decoder: ``'attention'`` (added in every layer to a
            stream that starts at zero), ``'input'`` (they are the stream's start) or ``'none'``.
        with_cp: Activation checkpointing: keep only the input of each layer and compute the rest
            again in the backward pass.

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
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
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
        sizes = (embed_dims, num_heads, feedforward_channels, dropout, norm_first)
        self.encoder = _LayerStack(
            [TransformerEncoderLayer(*sizes) for _ in range(num_encoder_layers)],
            nn.LayerNorm(embed_dims) if norm_first else nn.Identity(),
        )
        self.decoder = _LayerStack(
            [TransformerDecoderLayer(*sizes) for _ in range(num_decoder_layers)],
            nn.LayerNorm(embed_dims),
        )
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(
        self,
        features: Tensor,
        padding_mask: Tensor | None,
        pos: Tensor,
        queries: Tensor,
        all_layers: bool = False,
        self_attn_mask: Tensor | None = None,
        cross_attn_mask: Tensor | None = None,
    ) -> Tensor:
        """Turn features and queries into one embedding per query.

        Args:
            features: [B, D, h, w].
            padding_mask: bool [B, h, w], True on padding; None when nothing is padded.
            pos: [B or 1, D, h, w] spatial encoding.
            queries: [N, D] object queries.
            all_layers: Return every decoder layer's output, not the last one's alone.
            self_attn_mask: Over [B, heads, N, N]; bool with True where a query may see another.
            cross_attn_mask: Over [B, heads, N, S]; bool with True where a query may see a pixel.
                Padding is masked in addition.

        Returns:
            [L, B, N, D], normalised, L = 1 unless ``all_layers``.
        """
        memory = features.flatten(2).transpose(1, 2)
        pos = pos.flatten(2).transpose(1, 2).to(memory.dtype)
        valid = None if padding_mask is None else ~padding_mask.flatten(1)[:, None, None]
        memory = self._encode(memory, pos, valid)
        if cross_attn_mask is None:
            cross_attn_mask = valid
        elif valid is not None:
            cross_attn_mask = cross_attn_mask & valid
        return self._decode(memory, pos, queries, all_layers, self_attn_mask, cross_attn_mask)

    def _encode(self, memory: Tensor, pos: Tensor, valid: Tensor | None) -> Tensor:
        if self.encoder_pos == 'input':
            memory = memory + pos
        layer_pos = pos if self.encoder_pos == 'attention' else None
        for layer in self.encoder.layers:
            memory = run(layer, memory, layer_pos, valid, checkpointing=self.with_cp)
        return self.encoder.norm(memory)

    def _decode(
        self,
        memory: Tensor,
        pos: Tensor,
        queries: Tensor,
        all_layers: bool,
        self_attn_mask: Tensor | None,
        cross_attn_mask: Tensor | None,
    ) -> Tensor:
        memory_key = memory if self.decoder_pos == 'none' else memory + pos
        if self.decoder_pos == 'input':
            memory = memory_key
        queries = queries.to(memory.dtype).expand(len(memory), -1, -1)
        x = queries if self.query_pos == 'input' else queries.new_zeros(queries.shape)
        query_pos = queries if self.query_pos == 'attention' else None
        outputs = []
        for layer in self.decoder.layers:
            x = run(
                layer,
                x,
                memory_key,
                memory,
                query_pos,
                self_attn_mask,
                cross_attn_mask,
                checkpointing=self.with_cp,
            )
            outputs.append(x)
        if not all_layers:
            outputs = outputs[-1:]
        return self.decoder.norm(torch.stack(outputs))
