"""When oneDNN's fused kernels can be called."""

import torch
from torch import Tensor


def has_fused_kernels(x: Tensor) -> bool:
    """Whether oneDNN's fused kernels take ``x``: on a CPU, without gradients.

    torch's public operations fall back where a CPU lacks the instructions for bfloat16 (AVX-512
    or AVX-NE-CONVERT); these kernels raise instead.
    """
    if torch.compiler.is_compiling():  # the compiler fuses by itself
        return False
    return (
        x.device.type == 'cpu'
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
        and _takes(x.dtype)
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled('cpu')
    )


def _takes(dtype: torch.dtype) -> bool:
    if dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return dtype == torch.float32
