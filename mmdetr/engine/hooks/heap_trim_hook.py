"""Keeps a training on a CPU from growing with the image sizes it has seen."""

from typing import Any

import torch
from mmengine.hooks import Hook

from mmdetr.registry import HOOKS
from mmdetr.utils.memory import held_memory, return_freed_memory

_GROWTH = 1.4
_NUM_AVERAGED = 50


@HOOKS.register_module()
class HeapTrimHook(Hook):
    """Returns what the C library keeps of freed tensors, whenever it is two fifths of a step.

    A DETR trains on images of hundreds of sizes. On a CPU each batch's feature maps leave pieces of
    memory behind into which those of the next do not fit, and the process grows for hours although
    its tensors do not. Pages that are given back have to be cleared again, which makes the next
    step slower by a tenth or two; so this waits until the process is 1.4 times as large as it was
    on average after the steps that followed a return. With images of one size that is never.

    On a GPU, whose allocator is another, and outside Linux the hook does nothing.
    """

    def __init__(self) -> None:
        self._needed = 0.0
        self._num_measured = 0
        self._returned = False

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if torch.cuda.is_available():
            return
        held = held_memory()
        if self._returned:
            # An average, as a maximum would creep upwards as long as sizes are drawn.
            self._num_measured = min(self._num_measured + 1, _NUM_AVERAGED)
            self._needed += (held - self._needed) / self._num_measured
        self._returned = held > _GROWTH * self._needed and return_freed_memory()
