"""Convolutional blocks that fuse two feature maps in real-time detectors.

Legend: B images, C input and O output channels, h w feature size.
"""

import torch
from torch import Tensor, nn

from .conv_norm import ConvNorm


class RepVGGBlock(nn.Module):
    """A 3x3 and a 1x1 convolution, added; one 3x3 convolution after training.

    Args:
        channels: C, and O.

    Source: Ding et al., RepVGG, section 3.3; without the identity, with SiLU, as in RT-DETR.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels, channels, 3)
        self.conv2 = ConvNorm(channels, channels, 1)
        self.activation = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, h, w]."""
        return self.activation(self.conv1(x) + self.conv2(x))


class CSPRepLayer(nn.Module):
    """Two 1x1 paths, of which one goes through RepVGG blocks, added.

    Args:
        in_channels: C.
        out_channels: O.
        num_blocks: RepVGG blocks.
        expansion: Width of both paths, as a share of O.

    Source: RT-DETR, figure 5 (fusion block).
    """

    def __init__(
        self, in_channels: int, out_channels: int, num_blocks: int, expansion: float = 1.0
    ) -> None:
        super().__init__()
        width = int(out_channels * expansion)
        self.conv1 = ConvNorm(in_channels, width, activation=nn.SiLU)
        self.conv2 = ConvNorm(in_channels, width, activation=nn.SiLU)
        self.bottlenecks = nn.Sequential(*(RepVGGBlock(width) for _ in range(num_blocks)))
        self.conv3: nn.Module = nn.Identity()
        if width != out_channels:
            self.conv3 = ConvNorm(width, out_channels, activation=nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, O, h, w]."""
        return self.conv3(self.bottlenecks(self.conv1(x)) + self.conv2(x))


class RepNCSPELAN4(nn.Module):
    """Halves of a 1x1 convolution, of which the second goes through two stages, all aggregated.

    Args:
        in_channels: C.
        out_channels: O; the first convolution has twice as many.
        width: Channels of the stages.
        num_blocks: RepVGG blocks of each stage.

    Source: D-FINE, appendix A.3 (the GELAN layer of YOLOv9 in place of RT-DETR's fusion block).
    """

    def __init__(self, in_channels: int, out_channels: int, width: int, num_blocks: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(in_channels, 2 * out_channels, activation=nn.SiLU)
        self.stages = nn.ModuleList(
            nn.Sequential(
                CSPRepLayer(channels, width, num_blocks),
                ConvNorm(width, width, 3, activation=nn.SiLU),
            )
            for channels in (out_channels, width)
        )
        self.conv2 = ConvNorm(2 * (out_channels + width), out_channels, activation=nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, O, h, w]."""
        parts = list(self.conv1(x).chunk(2, dim=1))
        for stage in self.stages:
            parts.append(stage(parts[-1]))
        return self.conv2(torch.cat(parts, dim=1))
