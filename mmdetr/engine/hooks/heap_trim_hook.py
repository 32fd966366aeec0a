"""Keeps a training on a CPU from growing with the image sizes it has seen."""

from typing import Any

import torch
from mmengine.hooks import Hook

from mmdetr.allocator import return_freed_memory
from mmdetr.registry import HOOKS


@HOOKS.register_module()
class HeapTrimHook(Hook):
    """Returns what the C library keeps of freed tensors to the system, every 100 iterations.

    A DETR trains on images of hundreds of sizes. On a CPU each batch's feature maps then leave
    pieces of memory behind into which the next batch's do not fit, and the process grows for hours
    although its tensors do not. On a GPU, whose allocator is another, the hook does nothing.
    """

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if self.every_n_train_iters(runner, 100) and not torch.cuda.is_available():
            return_freed_memory()
