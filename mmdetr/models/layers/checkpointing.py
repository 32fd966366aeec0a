"""Activation checkpointing: less memory in training for more time."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint


def run(module: Callable[..., Any], *args: Any, checkpointing: bool) -> Any:
    """Call ``module``; with ``checkpointing``, keep its inputs alone for the backward pass.

    Random numbers are drawn again as they were, so that results do not change.

    Source: Chen et al., Training Deep Nets with Sublinear Memory Cost.
    """
    if checkpointing and torch.is_grad_enabled():
        return checkpoint(module, *args, use_reentrant=False)
    return module(*args)
