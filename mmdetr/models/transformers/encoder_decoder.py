"""The paper's two boxes: a stack of encoder layers and a stack of decoder layers.

Legend: B images, S pixels of the feature map, N queries, D channels, L decoder layers.
"""

import torch
from torch import Tensor, nn

from mmdetr.models.layers import TransformerDecoderLayer, TransformerEncoderLayer
from mmdetr.models.layers.checkpointing import call_checkpointed
from mmdetr.registry import MODELS
from mmdetr.utils.arguments import check_at_least

from .records import Refine


def xavier_init(module: nn.Module) -> None:
    """Draw every weight matrix from Xavier's uniform distribution (paper, appendix A.4)."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)


@MODELS.register_module()
class TransformerEncoder(nn.Module):
    """Encoder layers one after the other; a pre-norm encoder ends with a normalisation.

    Args:
        num_layers: 0 returns the input as it is.
        embed_dims: D; the transformer passes this and what follows.
        num_heads: Attention heads.
        feedforward_channels: Hidden width of the feed-forward parts; 0 leaves them out.
        dropout: Dropout of attention weights, hidden units and sub-layer outputs.
        norm_first: Pre-norm instead of post-norm.
        with_cp: Activation checkpointing of each layer.
        activation: Of the feed-forward parts: ``relu``, ``prelu`` or ``gelu``.

    Source: paper section 3.2 "transformer encoder", figure 10 left.
    """

    def __init__(
        self,
        num_layers: int,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        dropout: float,
        norm_first: bool,
        with_cp: bool = False,
        activation: str = 'relu',
    ) -> None:
        super().__init__()
        check_at_least(0, 'TransformerEncoder', num_layers=num_layers)
        self.with_cp = with_cp
        sizes = (embed_dims, num_heads, feedforward_channels, dropout, norm_first, activation)
        self.layers = nn.ModuleList(TransformerEncoderLayer(*sizes) for _ in range(num_layers))
        self.norm = nn.LayerNorm(embed_dims) if norm_first else nn.Identity()
        xavier_init(self)

    def forward(
        self, x: Tensor, pos: Tensor | None = None, attn_mask: Tensor | None = None
    ) -> Tensor:
        """Encode.

        Args:
            x: [B, S, D].
            pos: [B or 1, S, D] added to queries and keys of every layer, or None.
            attn_mask: Over [B, heads, S, S]; bool with True where attention is allowed.

        Returns:
            [B, S, D], the memory.
        """
        for layer in self.layers:
            x = call_checkpointed(layer, x, pos, attn_mask, enabled=self.with_cp)
        return self.norm(x)


@MODELS.register_module()
class TransformerDecoder(nn.Module):
    """Decoder layers one after the other; one normalisation serves every layer's output.

    Args:
        num_layers: L, at least 1.
        embed_dims: D; the transformer passes this and what follows.
        num_heads: Attention heads.
        feedforward_channels: Hidden width of the feed-forward parts; 0 leaves them out.
        dropout: Dropout of attention weights, hidden units and sub-layer outputs.
        norm_first: Pre-norm instead of post-norm.
        with_cp: Activation checkpointing of each layer.

    Source: paper section 3.2 "transformer decoder" and "auxiliary decoding losses" (the shared
        normalisation), figure 10 right.
    """

    def __init__(
        self,
        num_layers: int,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        dropout: float,
        norm_first: bool,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        check_at_least(1, 'TransformerDecoder', num_layers=num_layers)
        self.with_cp = with_cp
        sizes = (embed_dims, num_heads, feedforward_channels, dropout, norm_first)
        self.layers = nn.ModuleList(TransformerDecoderLayer(*sizes) for _ in range(num_layers))
        self.norm = nn.LayerNorm(embed_dims)
        xavier_init(self)

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
    ) -> tuple[Tensor, Tensor | None]:
        """Decode all objects in parallel.

        Args:
            x: [B, N, D] start of the stream.
            memory_key: [B, S, D] the memory with its positions.
            memory: [B, S, D] the memory as values.
            memory_pos: [B or 1, S, D] the positions alone, for decoders that project them apart.
            query_pos: [B or 1, N, D] added to queries (and keys of the self-attention), or None.
            self_attn_mask: Over [B, heads, N, N]; bool with True where attention is allowed.
            cross_attn_mask: Over [B, heads, N, S].
            reference_points: For decoders that refine; not for this one.
            refine: For decoders that refine; not for this one.
            all_layers: Return every layer's output, not the last one's alone.

        Returns:
            Hidden states [L, B, N, D], L = 1 unless ``all_layers``, and the reference points that
            each of these layers worked with; None here.

        Raises:
            ValueError: Reference points are given.
        """
        if reference_points is not None or refine is not None:
            raise ValueError(
                f'{type(self).__name__} refines no reference points: set transformer.decoder to a '
                'decoder that does'
            )
        outputs = []
        for layer in self.layers:
            x = call_checkpointed(
                layer,
                x,
                memory_key,
                memory,
                query_pos,
                self_attn_mask,
                cross_attn_mask,
                enabled=self.with_cp,
            )
            outputs.append(x)
        return self.norm(torch.stack(outputs if all_layers else outputs[-1:])), None
