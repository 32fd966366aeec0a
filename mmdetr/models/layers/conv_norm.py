"""Convolution, batch norm, shortcut and ReLU as one operation wherever they can be one.

Legend: B images, C input and O output channels, H W input and h w output size.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d

from .onednn import has_fused_kernels
from .winograd import WinogradConv2d


def conv_norm(
    conv: nn.Module,
    norm: nn.Module,
    x: Tensor,
    shortcut: Tensor | None = None,
    relu: bool = True,
    overwrite: bool = False,
    inner: bool = False,
) -> Tensor:
    """Convolve, normalise, add a shortcut and rectify.

    A batch norm with fixed statistics is a scale and shift per channel, which the convolution can
    do itself: exact, differentiable, and without another pass over the feature map.

    Args:
        conv: The convolution.
        norm: Its batch norm; identity where the convolution has taken it in for good.
        x: [B, C, H, W].
        shortcut: [B, O, h, w], added before the ReLU.
        relu: Whether the result is rectified.
        overwrite: Whether the memory of the shortcut may take the result: nobody else, no forward
            hook either, looks at it again.
        inner: Whether the result goes into convolutions and a shortcut, nowhere else, and no hook
            looks: the gradient which comes back is nobody else's then, and is rectified where it
            lies. It cannot be differentiated again.

    Returns:
        [B, O, h, w]
    """
    if isinstance(conv, nn.Conv2d) and has_fixed_statistics(norm):
        weight, bias = folded(conv, norm)
        if has_fused_kernels(x):
            return _fused(conv, weight, bias, x, shortcut, relu, overwrite)
        x = F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)
    else:
        x = norm(conv(x))
    # In place: no gradient needs what convolution and batch norm return, and fresh memory for maps
    # this large costs more than the sum.
    if shortcut is not None:
        x += shortcut
    if not relu:
        return x
    if inner and x.requires_grad and not torch.compiler.is_compiling():
        return _InnerReLU.apply(x)
    return x.relu_()


class _InnerReLU(torch.autograd.Function):
    """ReLU in place, in the backward pass too: fresh memory for maps this large takes its time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        ctx.save_for_backward(x.relu_())
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (output,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward.grad_input(
            gradient, output, 0, grad_input=gradient
        )


def has_fixed_statistics(norm: nn.Module) -> bool:
    """Whether a batch norm is a constant scale and shift at the moment."""
    if isinstance(norm, nn.BatchNorm2d):
        return not norm.training and norm.track_running_stats
    return isinstance(norm, FrozenBatchNorm2d | nn.Identity)


def folded(conv: nn.Conv2d, norm: Any) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of the convolution that does the batch norm's work, too."""
    if isinstance(norm, nn.Identity):
        return conv.weight, conv.bias
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


@torch.no_grad()
def fold(owner: nn.Module, conv_name: str, norm_name: str, winograd: bool = False) -> None:
    """Let a convolution take in its batch norm for good, for inference.

    Args:
        owner: The module that holds both.
        conv_name: Name of the convolution in ``owner``.
        norm_name: Name of the batch norm, which becomes an identity.
        winograd: Use Winograd's form where the convolution has one.
    """
    conv = getattr(owner, conv_name)
    weight, bias = folded(conv, getattr(owner, norm_name))
    conv.weight = nn.Parameter(
        weight.contiguous(memory_format=torch.channels_last), requires_grad=False
    )
    conv.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
    setattr(owner, norm_name, nn.Identity())
    if winograd and WinogradConv2d.fits(conv):
        setattr(owner, conv_name, WinogradConv2d(conv))


def _fused(
    conv: nn.Conv2d,
    weight: Tensor,
    bias: Tensor | None,
    x: Tensor,
    shortcut: Tensor | None,
    relu: bool,
    overwrite: bool,
) -> Tensor:
    """One pass: what is in the cache is added to and rectified before it is written."""
    geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
    kernels = torch.ops.mkldnn
    if shortcut is None:
        activation = 'relu' if relu else 'none'
        return kernels._convolution_pointwise(x, weight, bias, *geometry, activation, [], '')
    tail: Any = (*geometry, 'add', 1.0, 'relu' if relu else None, [], '')
    if overwrite:
        return kernels._convolution_pointwise_(shortcut, x, weight, bias, *tail)
    return kernels._convolution_pointwise(x, shortcut, weight, bias, *tail)
