"""Keep mmengine's log history from growing with the run."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdetr.registry import HOOKS
from mmdetr.utils.arguments import check_at_least


@HOOKS.register_module()
class HistoryLimitHook(Hook):
    """Bound the values that the message hub keeps of each logged scalar.

    mmengine keeps a million and copies them on every update. With DETR's 25 scalars that is 40 ms
    per iteration after 100,000 iterations and 400 MB per checkpoint at the end of a long run, while
    the log averages over the last 50. A ``log_processor`` with a window over a whole epoch needs a
    ``max_length`` of that many iterations.

    Args:
        max_length: Values to keep of each scalar.
    """

    def __init__(self, max_length: int = 10_000) -> None:
        check_at_least(1, 'HistoryLimitHook', max_length=max_length)
        self.max_length = max_length

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if not self.every_n_train_iters(runner, 1000):
            return
        for buffer in runner.message_hub.log_scalars.values():
            buffer.max_length = min(buffer.max_length, self.max_length)
