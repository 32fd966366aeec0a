"""All maps of the backbone in one width, and smaller ones after them.

Legend: B images, C widths of the backbone, D embedding width, h w size of a level, L levels.
"""

from collections import OrderedDict
from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdetr.registry import MODELS
from mmdetr.utils.arguments import check_at_least


@MODELS.register_module()
class ChannelMapper(BaseModule):
    """A 1x1 convolution and group norm for each map; more levels by 3x3 convolutions of stride 2.

    The first of the further levels is made of the backbone's last map, not of its projection.

    Args:
        in_channels: Widths C of the backbone's maps; the detector passes them.
        out_channels: D.
        num_outs: L; as many as the backbone has maps by default.
        num_groups: Groups of each group norm.
        strides: Input pixels per pixel of the backbone's maps; the detector passes them.

    Source: Deformable DETR, appendix A.2 and figure 4. Weights start by Xavier's uniform
        distribution, biases at 0, as in the authors' code.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int = 256,
        num_outs: int | None = None,
        num_groups: int = 32,
        strides: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        num_maps = len(in_channels)
        num_more = (num_outs or num_maps) - num_maps
        check_at_least(num_maps, 'ChannelMapper', num_outs=num_outs)
        if out_channels % num_groups:
            raise ValueError(
                f'out_channels {out_channels} of ChannelMapper is not a multiple of num_groups '
                f'{num_groups}'
            )
        self.out_channels = out_channels
        if strides is not None:
            strides = *strides, *(strides[-1] * 2**i for i in range(1, num_more + 1))
        self.strides = strides
        widths = [in_channels[-1], *[out_channels] * num_more]
        self.convs = nn.ModuleList(
            _conv_norm(nn.Conv2d(width, out_channels, 1), num_groups) for width in in_channels
        )
        self.extra_convs = nn.ModuleList(
            _conv_norm(nn.Conv2d(width, out_channels, 3, stride=2, padding=1), num_groups)
            for width in widths[:num_more]
        )

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps of the backbone [B, C, h, w] -> L maps [B, D, h, w], each half as large."""
        levels = [conv(each) for conv, each in zip(self.convs, features, strict=True)]
        last = features[-1]
        for conv in self.extra_convs:
            last = conv(last)
            levels.append(last)
        return tuple(levels)


def _conv_norm(conv: nn.Conv2d, num_groups: int) -> nn.Sequential:
    nn.init.xavier_uniform_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    norm = nn.GroupNorm(num_groups, conv.out_channels)
    return nn.Sequential(OrderedDict(conv=conv, norm=norm))
