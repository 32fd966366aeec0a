"""Where oneDNN's kernels that do more than one operation at a time can be called."""

import torch
from torch import Tensor


def has_fused_kernels(x: Tensor) -> bool:
    """Whether they serve for ``x``: on a CPU, without gradients."""
    if torch.compiler.is_compiling():  # the compiler fuses by itself
        return False
    return (
        x.device.type == 'cpu'
        and x.dtype in (torch.float32, torch.bfloat16)
        and torch.backends.mkldnn.is_available()
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled('cpu')
    )
