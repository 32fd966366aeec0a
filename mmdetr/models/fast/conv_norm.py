"""Convolution and fixed batch norm as one operation, shortcut and ReLU in place.

Legend: B images, C input and O output channels, H W input and h w output size.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d

from mmdetr.models.layers.conv_norm import ConvNorm


def conv_norm(
    conv: nn.Module, norm: nn.Module, x: Tensor, shortcut: Tensor | None = None, relu: bool = True
) -> Tensor:
    """Convolve, normalise, add a shortcut and rectify.

    A batch norm with fixed statistics is a scale and shift per channel, which the convolution can
    do itself: exact, differentiable, and without another pass over the feature map.

    Args:
        conv: The convolution, or what computes it in another form.
        norm: Its batch norm, or an identity after :func:`fold`.
        x: [B, C, H, W].
        shortcut: [B, O, h, w], added before the ReLU.
        relu: Whether the result is rectified.

    Returns:
        [B, O, h, w]
    """
    if isinstance(conv, nn.Conv2d) and has_fixed_statistics(norm):
        weight, bias = fold_weights(conv, norm)
        x = F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)
    else:
        x = norm(conv(x))
    # In place: no gradient needs what convolution and batch norm return, and fresh memory for maps
    # this large costs more than the sum.
    if shortcut is not None:
        x += shortcut
    return x.relu_() if relu else x


class FastConvNorm(ConvNorm):
    """ConvNorm with a fixed batch norm as part of its convolution, and ReLU in place."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, O, h, w]."""
        if x.device.type != 'cpu':
            return super().forward(x)
        relu = type(self.activation) is nn.ReLU
        x = conv_norm(self.conv, self.norm, x, relu=relu)
        return x if relu else self.activation(x)


def has_fixed_statistics(norm: nn.Module) -> bool:
    """Whether a batch norm is a constant scale and shift at the moment."""
    if isinstance(norm, nn.BatchNorm2d):
        return not norm.training and norm.track_running_stats
    return isinstance(norm, FrozenBatchNorm2d | nn.Identity)


def fold_weights(conv: nn.Conv2d, norm: Any) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of the convolution that does the work of its batch norm as well."""
    if isinstance(norm, nn.Identity):
        return conv.weight, conv.bias
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


@torch.no_grad()
def fold(owner: nn.Module, conv_name: str, norm_name: str) -> None:
    """Fold a batch norm into its convolution for good, for inference.

    Args:
        owner: The module that holds both.
        conv_name: Name of the convolution in ``owner``.
        norm_name: Name of the batch norm, which becomes an identity.
    """
    conv = getattr(owner, conv_name)
    weight, bias = fold_weights(conv, getattr(owner, norm_name))
    conv.weight = nn.Parameter(
        weight.contiguous(memory_format=torch.channels_last), requires_grad=False
    )
    conv.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
    setattr(owner, norm_name, nn.Identity())
