"""Start values of the prediction branches of DETR's successors."""

import math
from collections.abc import Iterable
from typing import Any

from torch import nn

# What a fresh model gives each class: the focal loss starts small.
_PRIOR = 0.01


def init_branches(cls_branches: Iterable[Any], reg_branches: Iterable[Any]) -> None:
    """Let every class start improbable and every box where its reference is.

    Args:
        cls_branches: Linear layers.
        reg_branches: MLPs.

    Source: Lin et al., Focal Loss for Dense Object Detection, section 4.1; Deformable DETR,
        authors' code.
    """
    for branch in cls_branches:
        nn.init.constant_(branch.bias, -math.log((1 - _PRIOR) / _PRIOR))
    for mlp in reg_branches:
        nn.init.zeros_(mlp.layers[-1].weight)
        nn.init.zeros_(mlp.layers[-1].bias)
