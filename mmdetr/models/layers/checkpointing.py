"""Activation checkpointing: less memory in training for more time."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from mmdetr.utils.memory import trim_memory


def run(module: Callable[..., Any], *args: Any, checkpointing: bool) -> Any:
    """Call ``module``; with ``checkpointing``, keep its inputs alone for the backward pass.

    Random numbers are drawn again as they were, so that results do not change. On a CPU, what the
    C library keeps of freed tensors goes back to the system before each second computation, as the
    process would otherwise grow by it.

    Source: Chen et al., Training Deep Nets with Sublinear Memory Cost.
    """
    if checkpointing and torch.is_grad_enabled():
        return checkpoint(module, *args, use_reentrant=False, context_fn=_contexts)
    return module(*args)


def _contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
    """For the first computation and the second."""
    return nullcontext(), _after_return()


@contextmanager
def _after_return() -> Iterator[None]:
    if not torch.cuda.is_available():
        trim_memory()
    yield
