"""The content of a checkpoint that a training can be resumed from."""

import time
from typing import TYPE_CHECKING, Any

import mmengine
from mmengine.config import Config
from mmengine.runner import weights_to_cpu
from mmengine.utils import apply_to
from torch import Tensor

from mmdetr import __version__
from mmdetr.utils.model import unwrap

from .hook_states import hook_states
from .state import plain_message_hub, to_plain_data

if TYPE_CHECKING:
    from ..runner import DetectionRunner


class ConfigText:
    """The text of a config, laid out anew only when the content has changed.

    Laying out the config of DETR takes a second or two, comparing it less than a millisecond.
    """

    def __init__(self) -> None:
        self._content: str | None = None
        self._text = ''

    def get(self, cfg: Config) -> str:
        content = repr(cfg)  # hooks and users may change a config at any time
        if content != self._content:
            self._content, self._text = content, cfg.pretty_text
        return self._text


def training_checkpoint(
    runner: 'DetectionRunner',
    gradients: dict[str, Tensor],
    meta: dict,
    by_epoch: bool,
    save_optimizer: bool,
    save_param_scheduler: bool,
) -> dict[str, Any]:
    """Collect weights and state of a training as plain data on the CPU.

    Args:
        runner: The training.
        gradients: Those of :func:`~mmdetr.engine.resume.state.pending_gradients`.
        meta: Entries to add to the meta information.
        by_epoch: Whether the current epoch is complete, or else the current iteration.
        save_optimizer: Whether to add the optimiser's state and the gradients.
        save_param_scheduler: Whether to add the state of the learning rate schedule.
    """
    checkpoint: dict[str, Any] = dict(
        meta=_checkpoint_meta(runner, meta, by_epoch),
        state_dict=weights_to_cpu(unwrap(runner.model).state_dict()),
        message_hub=plain_message_hub(runner.message_hub, runner.logger),
    )
    if save_optimizer:
        checkpoint['optimizer'] = _to_cpu(runner.optim_wrapper.state_dict())
        if gradients:
            checkpoint['gradients'] = _to_cpu(gradients)
    if save_param_scheduler and runner.param_schedulers is not None:
        # OneCycle's holds a function.
        checkpoint['param_schedulers'] = [
            {key: value for key, value in schedule.state_dict().items() if not callable(value)}
            for schedule in runner.param_schedulers
        ]
    if hooks := hook_states(runner):
        checkpoint['hooks'] = hooks
    return checkpoint


def _checkpoint_meta(runner: 'DetectionRunner', meta: dict, by_epoch: bool) -> dict:
    loop: Any = runner.train_loop
    done = 0 if by_epoch else getattr(loop, 'batches_done', -1) + 1
    dataset_meta = getattr(runner.train_dataloader.dataset, 'metainfo', None)
    return (
        dict(
            epoch=runner.epoch + int(by_epoch),
            iter=runner.iter + int(not by_epoch),
            batches_done=done,
            batches_per_epoch=len(runner.train_dataloader),
            cfg=runner.config_text.get(runner.cfg),
            seed=runner.shared_seed,
            experiment_name=runner.experiment_name,
            time=time.strftime('%Y%m%d_%H%M%S'),
            mmengine_version=mmengine.__version__,
            mmdetr_version=__version__,
            dataset_meta=to_plain_data(dataset_meta),
            data_files=runner.data_files,
        )
        | meta
    )


def _to_cpu(tensors: Any) -> Any:
    return apply_to(tensors, lambda value: hasattr(value, 'cpu'), lambda value: value.cpu())
