"""RT-DETR's efficient hybrid encoder: attention on the coarsest map, convolutions between maps.

Legend: B images, C backbone channels, D width, h w feature size of a map.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from mmdetr.models.layers import TransformerEncoderLayer, pixels_of
from mmdetr.models.layers.conv_norm import ConvNorm
from mmdetr.models.layers.csp import CSPRepLayer, RepNCSPELAN4
from mmdetr.registry import MODELS
from mmdetr.utils.arguments import check_at_least


class GELUEncoderLayer(TransformerEncoderLayer):
    """DETR's encoder layer with GELU."""

    def _feedforward(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(F.gelu(self.linear1(x))))


@MODELS.register_module()
class HybridEncoder(BaseModule):
    """Attention within the coarsest map, then fusion of all maps, downwards and upwards.

    Args:
        in_channels: Widths of the backbone's maps, finest first; the detector passes them.
        out_channels: D, of every map.
        strides: Input pixels per pixel of the backbone's maps; the detector passes them.
        num_encoder_layers: Transformer layers on the coarsest map.
        num_heads: Their attention heads.
        feedforward_channels: Hidden width of their feed-forward parts.
        num_blocks: RepVGG blocks of a fusion block.
        expansion: Width inside a fusion block, as a share of D.

    Source: RT-DETR, section 4.2, figure 4.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int = 256,
        strides: Sequence[int] | None = None,
        num_encoder_layers: int = 1,
        num_heads: int = 8,
        feedforward_channels: int = 1024,
        num_blocks: int = 3,
        expansion: float = 1.0,
    ) -> None:
        super().__init__()
        self._check(in_channels, out_channels, strides)
        check_at_least(0, 'HybridEncoder', num_encoder_layers=num_encoder_layers)
        check_at_least(1, 'HybridEncoder', num_blocks=num_blocks)
        self.out_channels = out_channels
        self.strides = None if strides is None else tuple(strides)
        self.num_blocks, self.expansion = num_blocks, expansion
        self.projections = nn.ModuleList(ConvNorm(width, out_channels) for width in in_channels)
        self.encoder = nn.ModuleList(
            GELUEncoderLayer(out_channels, num_heads, feedforward_channels, dropout=0.0)
            for _ in range(num_encoder_layers)
        )
        steps = range(len(in_channels) - 1)
        # From the coarsest map to the finest, and back.
        self.laterals = nn.ModuleList(self.build_lateral() for _ in steps)
        self.fpn_blocks = nn.ModuleList(self.build_block() for _ in steps)
        self.downsamples = nn.ModuleList(self.build_downsample() for _ in steps)
        self.pan_blocks = nn.ModuleList(self.build_block() for _ in steps)

    @staticmethod
    def _check(
        in_channels: Sequence[int], out_channels: int, strides: Sequence[int] | None
    ) -> None:
        if out_channels < 4 or out_channels % 4:
            raise ValueError(
                f'out_channels of HybridEncoder must be a multiple of 4, not {out_channels}'
            )
        if len(in_channels) < 2:
            raise ValueError(
                'HybridEncoder fuses two maps or more: set out_indices of the backbone'
            )
        if strides is not None and any(b != 2 * a for a, b in pairwise(strides)):
            raise ValueError(
                f'HybridEncoder needs maps of strides that double, not {tuple(strides)}: set '
                'backbone.out_indices'
            )

    def build_lateral(self) -> nn.Module:
        """What a coarser map goes through before it is fused with a finer one."""
        return ConvNorm(self.out_channels, self.out_channels, activation=nn.SiLU)

    def build_downsample(self) -> nn.Module:
        """What halves a map on the way back."""
        return ConvNorm(self.out_channels, self.out_channels, 3, 2, activation=nn.SiLU)

    def build_block(self) -> nn.Module:
        """What fuses two maps, [B, 2 D, h, w] -> [B, D, h, w]."""
        dims = self.out_channels
        return CSPRepLayer(2 * dims, dims, self.num_blocks, self.expansion)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps of the backbone [B, C, h, w], finest first -> as many maps [B, D, h, w]."""
        maps = [p(each) for p, each in zip(self.projections, features, strict=True)]
        maps[-1] = self._encode(maps[-1])

        fused = [maps[-1]]
        for lateral, block, finer in zip(self.laterals, self.fpn_blocks, maps[-2::-1], strict=True):
            # The paths upwards and downwards both go on from here.
            fused[0] = lateral(fused[0])
            upsampled = F.interpolate(fused[0], size=finer.shape[-2:], mode='nearest')
            fused.insert(0, block(torch.cat((upsampled, finer), dim=1)))

        outputs = fused[:1]
        for downsample, block, coarser in zip(
            self.downsamples, self.pan_blocks, fused[1:], strict=True
        ):
            outputs.append(block(torch.cat((downsample(outputs[-1]), coarser), dim=1)))
        return tuple(outputs)

    def _encode(self, features: Tensor) -> Tensor:
        """[B, D, h, w] -> [B, D, h, w]."""
        if not self.encoder:
            return features
        height, width = features.shape[-2:]
        pos = transposed_sine_encoding(height, width, self.out_channels, features.device)
        x, pos = pixels_of(features), pos.to(features.dtype)
        for layer in self.encoder:
            x = layer(x, pos)
        return x.transpose(1, 2).unflatten(2, (height, width)).contiguous()


def transposed_sine_encoding(
    height: int, width: int, dims: int, device: torch.device | None = None
) -> Tensor:
    """Encode the pixels of a map by sines and cosines of column and row.

    The original lists the pixels column by column where the features are listed row by row. All
    published weights are trained so, and it must stay; for a square map it swaps the axes.

    Args:
        height: Rows.
        width: Columns.
        dims: D, a multiple of 4.
        device: Where the encoding is wanted.

    Returns:
        float32 [1, height * width, D]: sine and cosine of the column, sine and cosine of the row.

    Source: RT-DETR, authors' code.
    """
    columns, rows = torch.meshgrid(
        torch.arange(width, dtype=torch.float32, device=device),
        torch.arange(height, dtype=torch.float32, device=device),
        indexing='ij',
    )
    quarter = dims // 4
    exponent = torch.arange(quarter, dtype=torch.float32, device=device) / quarter
    frequency = 1.0 / 10000.0**exponent
    angles = [each.flatten()[:, None] * frequency for each in (columns, rows)]
    return torch.cat([wave for a in angles for wave in (a.sin(), a.cos())], dim=1)[None]


@MODELS.register_module()
class DFINEHybridEncoder(HybridEncoder):
    """HybridEncoder with the lighter convolutions and the heavier fusion blocks of D-FINE.

    Its arguments are those of HybridEncoder.

    Source: D-FINE, appendix A.3.
    """

    def build_lateral(self) -> nn.Module:
        """1x1 convolution without activation."""
        return ConvNorm(self.out_channels, self.out_channels)

    def build_downsample(self) -> nn.Module:
        """1x1, then depthwise 3x3 of stride 2, both without activation."""
        dims = self.out_channels
        return nn.Sequential(ConvNorm(dims, dims), ConvNorm(dims, dims, 3, 2, groups=dims))

    def build_block(self) -> nn.Module:
        """GELAN layer."""
        dims = self.out_channels
        width = round(self.expansion * dims // 2)
        return RepNCSPELAN4(2 * dims, dims, width, self.num_blocks)
