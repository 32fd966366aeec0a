"""PP-HGNetV2, the backbone of D-FINE.

Legend: B images, C input and O output channels, H W input and h w output size.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d

from mmdetr.models.layers.conv_norm import ConvNorm
from mmdetr.registry import MODELS

from .staged import StagedBackbone


class _Stage(NamedTuple):
    width: int
    out_channels: int
    num_blocks: int


class _Size(NamedTuple):
    stem: tuple[int, int]
    stages: tuple[_Stage, ...]
    layers_per_block: int


SIZES = {
    'B0': _Size(
        (16, 16),
        (_Stage(16, 64, 1), _Stage(32, 256, 1), _Stage(64, 512, 2), _Stage(128, 1024, 1)),
        3,
    ),
    'B2': _Size(
        (24, 32),
        (_Stage(32, 96, 1), _Stage(64, 384, 1), _Stage(128, 768, 3), _Stage(256, 1536, 1)),
        4,
    ),
    'B4': _Size(
        (32, 48),
        (_Stage(48, 128, 1), _Stage(96, 512, 1), _Stage(192, 1024, 3), _Stage(384, 2048, 1)),
        6,
    ),
    'B5': _Size(
        (32, 64),
        (_Stage(64, 128, 1), _Stage(128, 512, 2), _Stage(256, 1024, 5), _Stage(512, 2048, 2)),
        6,
    ),
}


class Affine(nn.Module):
    """One learned scale and one learned shift for a whole map (learnable affine block)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """[...] -> [...]."""
        return self.scale * x + self.bias


class AffineReLU(nn.Sequential):
    """ReLU, then the learnable affine block."""

    def __init__(self) -> None:
        super().__init__(nn.ReLU(), Affine())


class _Kind(NamedTuple):
    """What all convolutions of one backbone have in common."""

    activation: type[nn.Module]
    norm: type[nn.Module]

    def conv(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        groups: int = 1,
        active: bool = True,
    ) -> ConvNorm:
        activation = self.activation if active else None
        sizes = (in_channels, out_channels, kernel_size, stride, groups)
        return ConvNorm(*sizes, activation=activation, norm=self.norm)


class Stem(nn.Module):
    """Two paths of stride 2 side by side, then to stride 4.

    Args:
        width: Channels inside.
        out_channels: O.
        kind: Activation and norm.
    """

    def __init__(self, width: int, out_channels: int, kind: _Kind) -> None:
        super().__init__()
        self.conv1 = kind.conv(3, width, 3, 2)
        self.conv2a = kind.conv(width, width // 2, 2)
        self.conv2b = kind.conv(width // 2, width, 2)
        self.pool = nn.MaxPool2d(2, stride=1)
        self.conv3 = kind.conv(2 * width, width, 3, 2)
        self.conv4 = kind.conv(width, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, O, H / 4, W / 4]."""
        x = _pad(self.conv1(x))
        convolved = self.conv2b(_pad(self.conv2a(x)))
        x = torch.cat((self.pool(x), convolved), dim=1)
        return self.conv4(self.conv3(x))


def _pad(x: Tensor) -> Tensor:
    """A row below and a column to the right, for kernels of two pixels."""
    return F.pad(x, (0, 1, 0, 1))


class HGBlock(nn.Module):
    """Convolutions one after the other, of which all outputs are aggregated by two 1x1 ones.

    Args:
        in_channels: C.
        stage: Width inside and O.
        num_layers: Convolutions.
        kernel_size: Side of their kernels.
        light: Each is a 1x1 convolution without activation and a depthwise one.
        residual: Add the input to the output.
        kind: Activation and norm.
    """

    def __init__(
        self,
        in_channels: int,
        stage: _Stage,
        num_layers: int,
        kernel_size: int,
        light: bool,
        residual: bool,
        kind: _Kind,
    ) -> None:
        super().__init__()
        self.residual = residual
        width, out_channels = stage.width, stage.out_channels
        self.layers = nn.ModuleList()
        for i in range(num_layers):
            channels = width if i else in_channels
            if light:
                layer: nn.Module = nn.Sequential(
                    kind.conv(channels, width, 1, active=False),
                    kind.conv(width, width, kernel_size, groups=width),
                )
            else:
                layer = kind.conv(channels, width, kernel_size)
            self.layers.append(layer)
        total = in_channels + num_layers * width
        self.aggregation = nn.Sequential(
            kind.conv(total, out_channels // 2, 1), kind.conv(out_channels // 2, out_channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, O, H, W]."""
        outputs = [x]
        for layer in self.layers:
            outputs.append(layer(outputs[-1]))
        y = self.aggregation(torch.cat(outputs, dim=1))
        return y + x if self.residual else y


@MODELS.register_module()
class HGNetV2(StagedBackbone):
    """PP-HGNetV2 feature extractor.

    Args:
        size: ``'B0'``, ``'B2'``, ``'B4'`` or ``'B5'``.
        affine: A learned scale and shift after each ReLU; the small models have it.
        frozen_stages: -1 trains everything; 0 freezes the stem, i the stem and stages 1..i.
        norm_frozen: Batch norm with fixed statistics and scale. False trains it.
        out_indices: Stages to return, counted from 0; later stages are not built.
        with_cp: Activation checkpointing of each trained stage. Needs ``norm_frozen``: statistics
            would count twice.
        init_cfg: As ``dict(type='Pretrained', checkpoint=...)``.

    Attributes:
        out_channels: Channels of each returned feature map.
        strides: Input pixels per pixel of each returned feature map.

    Raises:
        ValueError: An argument is outside of what is said above.

    Source: PaddleDetection's PP-HGNetV2, in the form of D-FINE's code.
    """

    def __init__(
        self,
        size: str = 'B0',
        affine: bool = False,
        frozen_stages: int = -1,
        norm_frozen: bool = False,
        out_indices: Sequence[int] = (1, 2, 3),
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        if size not in SIZES:
            raise ValueError(f'HGNetV2 size must be one of {", ".join(SIZES)}, not {size!r}')
        if with_cp and not norm_frozen:
            raise ValueError('HGNetV2: with_cp=True needs norm_frozen=True')
        stem, sizes, num_layers = SIZES[size]
        kind = _Kind(
            AffineReLU if affine else nn.ReLU, FrozenBatchNorm2d if norm_frozen else nn.BatchNorm2d
        )
        stages, channels = [], stem[1]
        for i, stage in enumerate(sizes):
            parts: list[nn.Module] = []
            if i:
                down = kind.conv(channels, channels, 3, 2, groups=channels, active=False)
                parts.append(down)
            light, kernel_size = i >= 2, 5 if i >= 2 else 3
            for j in range(stage.num_blocks):
                parts.append(
                    HGBlock(channels, stage, num_layers, kernel_size, light, bool(j), kind)
                )
                channels = stage.out_channels
            stages.append(nn.Sequential(*parts))
        widths = [stage.out_channels for stage in sizes]
        super().__init__(
            Stem(*stem, kind), stages, widths, frozen_stages, out_indices, with_cp, init_cfg
        )
