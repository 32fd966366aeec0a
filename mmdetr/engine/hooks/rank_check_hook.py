"""Find early what would let the ranks of a distributed training wait for each other for ever."""

import logging
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from torch import nn
from torch.optim import Optimizer

from mmdetr.registry import HOOKS
from mmdetr.utils.model import unwrap
from mmdetr.utils.text import shorten


@HOOKS.register_module()
class RankCheckHook(Hook):
    """Compare the ranks' batches before the first step, and look for gradients at the first.

    A rank with more batches than another would wait for it. A parameter without a gradient lets
    DistributedDataParallel wait likewise, or complain of indices in the next step; in one process
    it is merely never trained, which is worth a warning.

    Raises:
        ValueError: The ranks have different numbers of batches.
        RuntimeError: Parameters got no gradient in distributed training without
            ``find_unused_parameters=True``; names them.
    """

    def __init__(self) -> None:
        self._runner: Any = None
        self._handle: Any = None

    def before_train(self, runner: Runner) -> None:
        counts = all_gather_object(len(runner.train_dataloader))
        if len(set(counts)) > 1:
            raise ValueError(
                f'the ranks would train on {counts} batches: those with more would wait for ever '
                "for the others. Use a sampler that deals out equally, as 'DefaultSampler' does "
                'with round_up=True (train_dataloader.sampler)'
            )
        self._runner = runner
        wrapper = runner.optim_wrapper
        if isinstance(wrapper, OptimWrapper) and not isinstance(wrapper, OptimWrapperDict):
            optimizer = wrapper.optimizer
            self._handle = optimizer.register_step_pre_hook(self._before_step)

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        lacking = without_gradient(self._runner.model)
        if lacking is None:  # NonFiniteGuardHook has cleared the gradients; check at the next step
            return
        self._handle.remove()
        if not lacking:
            return
        problem = f'{len(lacking)} parameters got no gradient in the first step: {shorten(lacking)}'
        model = self._runner.model
        if is_model_wrapper(model) and not getattr(model, 'find_unused_parameters', True):
            raise RuntimeError(
                f'rank {self._runner.rank}: {problem}. Give every part of the model a loss on '
                'every rank, freeze what is not to be trained, or set find_unused_parameters=True '
                'in the config'
            )
        self._runner.logger.log(logging.WARNING, f'{problem}; they are not trained')


def without_gradient(model: nn.Module) -> list[str] | None:
    """List trainable parameters that have none by name; None where no parameter has one."""
    trainable = {name: p for name, p in unwrap(model).named_parameters() if p.requires_grad}
    lacking = [name for name, parameter in trainable.items() if parameter.grad is None]
    return None if len(lacking) == len(trainable) else lacking
