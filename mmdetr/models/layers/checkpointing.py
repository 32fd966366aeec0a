"""Activation checkpointing: less memory in training for more time."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from mmdetr.utils.memory import trim_memory


def call_checkpointed(module: Callable[..., Any], *args: Any, enabled: bool) -> Any:
    """Call ``module``; if ``enabled``, keep only its inputs and recompute the rest in backward.

    The state of the random number generators is restored for the recomputation, so results do not
    change. On a CPU, glibc's free memory is trimmed before it, else the process grows.

    Source: Chen et al., Training Deep Nets with Sublinear Memory Cost.
    """
    if enabled and torch.is_grad_enabled():
        return checkpoint(module, *args, use_reentrant=False, context_fn=_contexts)
    return module(*args)


def _contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
    """Return the contexts of the first computation and of the recomputation."""
    return nullcontext(), _trimmed_memory()


@contextmanager
def _trimmed_memory() -> Iterator[None]:
    if not torch.cuda.is_available():
        trim_memory()
    yield
