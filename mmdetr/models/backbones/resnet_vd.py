"""ResNet-vd: three convolutions as stem, shortcuts that average before they project.

Legend: B images, C input and O output channels, H W input and h w output size.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from mmdetr.models.layers.conv_norm import ConvNorm
from mmdetr.registry import MODELS

from .staged import StagedBackbone

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
_EXPANSION = 4


class ResidualBlock(nn.Module):
    """Convolutions beside a shortcut.

    Two 3x3 convolutions, or 1x1, 3x3 and 1x1 in a bottleneck; the stride is that of a 3x3.

    Args:
        in_channels: C.
        width: Channels inside; O is four times as many in a bottleneck.
        stride: 1 or 2.
        bottleneck: Which of the two forms.
        projected: Whether the shortcut has a convolution; else C must be O and the stride 1.
        norm: Class of the batch norm.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        bottleneck: bool,
        projected: bool,
        norm: type[nn.Module],
    ) -> None:
        super().__init__()
        if bottleneck:
            out_channels = width * _EXPANSION
            self.convs = nn.Sequential(
                ConvNorm(in_channels, width, 1, activation=nn.ReLU, norm=norm),
                ConvNorm(width, width, 3, stride, activation=nn.ReLU, norm=norm),
                ConvNorm(width, out_channels, 1, norm=norm),
            )
        else:
            out_channels = width
            self.convs = nn.Sequential(
                ConvNorm(in_channels, width, 3, stride, activation=nn.ReLU, norm=norm),
                ConvNorm(width, width, 3, norm=norm),
            )
        self.pool = nn.AvgPool2d(2, 2, ceil_mode=True) if stride == 2 else nn.Identity()
        self.shortcut: nn.Module = nn.Identity()
        if projected:
            self.shortcut = ConvNorm(in_channels, out_channels, 1, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, O, h, w]."""
        return (self.convs(x) + self.shortcut(self.pool(x))).relu()


@MODELS.register_module()
class ResNetVd(StagedBackbone):
    """ResNet feature extractor, variant d.

    Args:
        depth: 18, 34, 50 or 101.
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

    Source: He et al., Bag of Tricks for Image Classification, figure 2 (ResNet-C and -D); RT-DETR,
        whose first block of the first stage projects its shortcut even where the width stays.
    """

    def __init__(
        self,
        depth: int = 50,
        frozen_stages: int = -1,
        norm_frozen: bool = False,
        out_indices: Sequence[int] = (1, 2, 3),
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        if depth not in DEPTHS:
            raise ValueError(f'ResNetVd depth must be 18, 34, 50 or 101, not {depth}')
        if with_cp and not norm_frozen:
            raise ValueError('ResNetVd: with_cp=True needs norm_frozen=True')
        norm = FrozenBatchNorm2d if norm_frozen else nn.BatchNorm2d
        stem = nn.Sequential(
            ConvNorm(3, 32, 3, 2, activation=nn.ReLU, norm=norm),
            ConvNorm(32, 32, 3, activation=nn.ReLU, norm=norm),
            ConvNorm(32, 64, 3, activation=nn.ReLU, norm=norm),
            nn.MaxPool2d(3, 2, padding=1),
        )
        stages, widths = [], []
        channels, bottleneck = 64, depth >= 50
        for i, num_blocks in enumerate(DEPTHS[depth]):
            width = 64 * 2**i
            blocks = []
            for j in range(num_blocks):
                stride = 2 if i and not j else 1
                blocks.append(ResidualBlock(channels, width, stride, bottleneck, not j, norm))
                channels = width * (_EXPANSION if bottleneck else 1)
            stages.append(nn.Sequential(*blocks))
            widths.append(channels)
        super().__init__(stem, stages, widths, frozen_stages, out_indices, with_cp, init_cfg)
