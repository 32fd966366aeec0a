"""Make dropout and everything else random in a training step a function of the step."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdetr.registry import HOOKS

from ..randomness import derive_seed, seed_all


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Seed all generators from (seed, rank, iteration) before every training step.

    A resumed run then draws what the interrupted one would have drawn, with no generator state
    stored in checkpoints. It runs last of all hooks, so that what others draw does not matter.
    """

    priority = 'LOWEST'

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        seed_all(derive_seed('step', runner.seed, runner.rank, runner.iter))
