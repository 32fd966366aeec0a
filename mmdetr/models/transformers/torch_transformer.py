"""The encoder-decoder of the short DETR, made of torch.nn's stacks.

Legend: B images, h w feature size, S = h * w, N queries, D channels, L decoder layers.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmdetr.models.layers import pixels_of
from mmdetr.registry import MODELS
from mmdetr.utils.arguments import check_at_least

from .encoder_decoder import xavier_init
from .records import Queries, Refine, TransformerOutput


@MODELS.register_module()
class TorchTransformer(nn.Module):
    """``torch.nn.TransformerEncoder`` and ``TransformerDecoder`` with DETRTransformer's interface.

    Positions are added once to the encoder's input, the queries are the decoder's input, and
    there is no final normalisation, as in the short form of DETR.

    Args:
        embed_dims: D; the head passes the width of the features.
        num_heads: Attention heads.
        num_encoder_layers: At least 1.
        num_decoder_layers: At least 1.
        feedforward_channels: Hidden width of the feed-forward parts; 4 * D by default.
        dropout: Dropout of attention weights, hidden units and sub-layer outputs.

    Source: paper section 3.2; the layout is that of the authors' notebook detr_demo.ipynb, with the
        positions of the row "at input" of table 3.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        feedforward_channels: int | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_at_least(
            1,
            'TorchTransformer',
            num_heads=num_heads,
            num_encoder_layers=num_encoder_layers,
            num_decoder_layers=num_decoder_layers,
            feedforward_channels=feedforward_channels,
        )
        sizes = (embed_dims, num_heads, feedforward_channels or 4 * embed_dims, dropout)
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(*sizes, batch_first=True),
            num_encoder_layers,
            enable_nested_tensor=False,
        )
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(*sizes, batch_first=True), num_decoder_layers
        )
        # torch clones one layer, so without this all layers would start with equal weights.
        xavier_init(self)

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
            queries: Object queries with a ``position`` part alone.
            refine: Only None: the layers refine no reference points.
            all_layers: Return every decoder layer's output, not the last one's alone.

        Returns:
            Hidden states [L, B, N, D], L = 1 unless ``all_layers``, and the memory [B, S, D].

        Raises:
            ValueError: There is more than one feature map, or the queries have other parts.
        """
        others = (queries.content, queries.reference_points, queries.self_attn_mask, refine)
        if len(features) != 1 or queries.position is None or any(o is not None for o in others):
            raise ValueError(
                'TorchTransformer attends to one feature map with queries that are positions alone'
            )
        mask = None if padding_masks[0] is None else padding_masks[0].flatten(1)
        tokens = pixels_of(features[0] + positions[0])
        memory = self.encoder(tokens, src_key_padding_mask=mask)
        x = queries.position.expand(memory.shape[0], -1, -1)
        outputs = []
        for layer in self.decoder.layers:
            x = layer(x, memory, memory_key_padding_mask=mask)
            outputs.append(x)
        return TransformerOutput(torch.stack(outputs if all_layers else outputs[-1:]), None, memory)
