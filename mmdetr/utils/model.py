"""Models inside of wrappers."""

from typing import Any

from mmengine.model import is_model_wrapper
from torch import nn


def unwrap(model: nn.Module) -> Any:
    """Return the model inside of a wrapper for distributed training, or the model itself."""
    return model.module if is_model_wrapper(model) else model
