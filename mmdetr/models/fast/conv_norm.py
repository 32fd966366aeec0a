"""Convolution and fixed batch norm as one operation, shortcut and ReLU in place.

Legend: B images, C input and O output channels, H W input and h w output size.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d


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
        x = _convolve(conv, x, *fold_weights(conv, norm))
    else:
        x = norm(conv(x))
    # In place: no gradient needs what convolution and batch norm return, and fresh memory for maps
    # this large costs more than the sum.
    if shortcut is not None:
        x += shortcut
    return x.relu_() if relu else x


def _convolve(conv: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The convolution with other weights, in a form whose backward pass is fast."""
    stride = conv.stride
    if conv.kernel_size == (1, 1) and conv.padding == (0, 0) and stride != (1, 1):
        # A product with a smaller matrix; oneDNN takes 2 to 12 times as long for the strided form.
        x = x[:, :, :: stride[0], :: stride[1]].contiguous(memory_format=torch.channels_last)
        stride = (1, 1)
    options: tuple[Any, ...] = (stride, conv.padding, conv.dilation, conv.groups)
    if _slow_weight_gradient(conv, x, weight):
        return _Convolution.apply(x, weight, bias, options)
    return F.conv2d(x, weight, bias, *options)


def _slow_weight_gradient(conv: nn.Conv2d, x: Tensor, weight: Tensor) -> bool:
    """Whether :class:`_Convolution` is worth it."""
    return (
        conv.kernel_size != (1, 1)
        and weight.requires_grad
        and torch.is_grad_enabled()
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled('cpu')
        and not torch.compiler.is_compiling()
        and 'AVX512' not in torch.backends.cpu.get_cpu_capability()
    )


class _Convolution(torch.autograd.Function):
    """A convolution in channels-last layout whose weights get their gradient in the other one.

    Without AVX-512, oneDNN takes 2 to 6 times as long for that gradient in channels-last layout;
    all else is faster in it. The copies cost a tenth of what they save.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, options: tuple[Any, ...]
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.options = options
        return F.conv2d(x, weight, bias, *options)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.options

        def gradients(*tensors: Tensor, mask: tuple[bool, bool, bool]) -> list[Tensor | None]:
            return torch.ops.aten.convolution_backward(
                *tensors, [len(weight)], stride, padding, dilation, False, (0, 0), groups, mask
            )

        of_x, of_weight, of_bias = ctx.needs_input_grad[:3]
        grad_x = gradients(grad, x, weight, mask=(True, False, False))[0] if of_x else None
        plain = (each.contiguous() for each in (grad, x, weight))
        _, grad_weight, grad_bias = gradients(*plain, mask=(False, of_weight, of_bias))
        return grad_x, grad_weight, grad_bias, None


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
