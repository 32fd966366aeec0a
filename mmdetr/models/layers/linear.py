"""Linear layer and ReLU as one operation wherever they can be one."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .onednn import has_fused_kernels


def linear(layer: nn.Linear, x: Tensor, relu: bool = False) -> Tensor:
    """[..., in_features] -> [..., out_features], rectified where ``relu``."""
    # What has been put in the place of the layer or hooks on to it is asked for its own result.
    is_plain = type(layer) is nn.Linear and not (layer._forward_hooks or layer._forward_pre_hooks)
    if is_plain and has_fused_kernels(x):
        activation = 'relu' if relu else 'none'
        return torch.ops.mkldnn._linear_pointwise(x, layer.weight, layer.bias, activation, [], '')
    x = layer(x)
    return F.relu(x) if relu else x
