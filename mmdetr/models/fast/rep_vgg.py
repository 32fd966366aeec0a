"""Real-time detectors for inference: one convolution for several operations.

Legend: B images, C channels, h w feature size.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmdetr.models.layers.conv_norm import ConvNorm
from mmdetr.models.layers.csp import RepVGGBlock

from .conv_norm import fold
from .winograd import WinogradConv2d


class FoldedRepVGGBlock(RepVGGBlock):
    """RepVGGBlock whose two convolutions have become the first."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, h, w]."""
        return self.activation(self.conv1(x))


@torch.no_grad()
def fold_conv_norms(model: nn.Module, winograd_channels: int | None = None) -> None:
    """Fold batch norms into convolutions, then RepVGG's pairs into one, for good.

    Args:
        model: A model whose ConvNorms and RepVGGBlocks then only infer.
        winograd_channels: From so many channels on, 3x3 convolutions take Winograd's form; None
            for never.

    Source: Ding et al., RepVGG, section 3.3 (re-parameterization).
    """
    for module in model.modules():
        if isinstance(module, ConvNorm) and not isinstance(module.norm, nn.Identity):
            fold(module, 'conv', 'norm')
    for module in model.modules():
        if type(module) is RepVGGBlock:
            _merge(module)
    if winograd_channels is None:
        return
    for module in model.modules():
        if isinstance(module, ConvNorm):
            conv = module.conv
            if conv.in_channels >= winograd_channels and WinogradConv2d.fits(conv):
                module.add_module('conv', WinogradConv2d(conv))


def _merge(block: RepVGGBlock) -> None:
    """Add the 1x1 convolution to the middle of the 3x3 one."""
    large, small = block.conv1.conv, block.conv2.conv
    assert large.bias is not None
    assert small.bias is not None
    large.weight.add_(F.pad(small.weight, (1, 1, 1, 1)))
    large.bias.add_(small.bias)
    block.add_module('conv2', nn.Identity())
    block.__class__ = FoldedRepVGGBlock
