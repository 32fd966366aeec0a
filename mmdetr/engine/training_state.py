"""What a checkpoint of a running training holds besides weights, and how it is found again."""

import json
from collections.abc import Mapping
from logging import Logger
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mmdetr.checkpoint import CheckpointError, load_file
from mmdetr.checkpoint.io import atomic_write

_HISTORY_FILE = 'validation_history.json'


def plain(value: Any) -> Any:
    """The value in types that torch loads with ``weights_only=True``.

    Raises:
        TypeError: There is no plain form of it.
    """
    if isinstance(value, np.generic):  # first, since numpy's float64 is a float, too
        return value.item()
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, np.ndarray) and value.dtype.kind in 'biuf':
        return value.tolist()
    if isinstance(value, HistoryBuffer):
        log, count = (torch.from_numpy(np.array(part)) for part in value.data)
        return dict(log=log, count=count, max_length=value.max_length)
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return type(value)(plain(item) for item in value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f'{type(value).__name__} has no plain form')


def plain_message_hub(message_hub: MessageHub, logger: Logger) -> dict:
    """State of a message hub; what has no plain form is left out with a warning."""
    state: dict[str, dict] = {}
    for part, items in message_hub.state_dict().items():
        state[part] = {}
        for key, value in items.items():
            try:
                state[part][key] = plain(value)
            except TypeError as error:
                logger.warning(f'{key} is not saved in the checkpoint: {error}')
    return state


def restore_message_hub(message_hub: MessageHub, state: dict) -> None:
    """Load what :func:`plain_message_hub` or mmengine saved."""
    scalars = {
        key: HistoryBuffer(value['log'].numpy(), value['count'].numpy(), value['max_length'])
        if isinstance(value, dict)
        else value
        for key, value in state['log_scalars'].items()
    }
    message_hub.load_state_dict({**state, 'log_scalars': scalars})


def pending_gradients(model: nn.Module, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
    """Gradients that wait for the rest of their accumulation, by parameter name."""
    accumulated = optim_wrapper._inner_count % optim_wrapper._accumulative_counts
    if accumulated == 0 or optim_wrapper._inner_count == optim_wrapper._max_counts:
        return {}
    return {
        name: parameter.grad.detach().clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def find_checkpoint(work_dir: str | Path, logger: Logger) -> tuple[str, dict] | None:
    """Path and content of the newest intact checkpoint that training can resume from.

    Returns:
        None where no training has left a checkpoint.

    Raises:
        CheckpointError: There are checkpoints, but none is intact.
    """
    candidates = _checkpoints(Path(work_dir))
    for path in candidates:
        try:
            checkpoint = load_file(path, verify=True)
        except CheckpointError as error:
            logger.warning(f'{error}; trying the checkpoint before it')
            continue
        if isinstance(checkpoint, dict) and 'optimizer' in checkpoint:
            return str(path), checkpoint
    if candidates:
        names = ', '.join(path.name for path in candidates)
        raise CheckpointError(f'no checkpoint in {work_dir} is intact and resumable: {names}')
    return None


def _checkpoints(work_dir: Path) -> list[Path]:
    """Checkpoints of a run: first the one ``last_checkpoint`` names, then the newest first."""
    candidates, folders = [], [work_dir]
    pointer = work_dir / 'last_checkpoint'
    if pointer.is_file():
        last = Path(pointer.read_text().strip())
        candidates = [last, work_dir / last.name]  # the second for a folder that was moved
        folders = [last.parent, work_dir]
    for folder in folders:
        paths = [path for path in folder.glob('*.pth') if not path.name.startswith('best_')]
        candidates += sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)
    return [path for path in dict.fromkeys(candidates) if path.is_file()]


class ValidationHistory:
    """Which validations a run has completed, kept beside its checkpoints.

    The checkpoint of an epoch is written before its validation. Kept here, the outcome needs no
    second write of the whole checkpoint, and a resumed run knows whether to validate first.

    Args:
        entries: One dict per validation: ``epoch``, ``iter``, ``metrics`` and ``best``, the message
            hub's ``best_*`` entries after it.
    """

    def __init__(self, entries: list[dict] | None = None) -> None:
        self.entries = entries or []

    @classmethod
    def read(cls, folder: str | Path, until_iter: int) -> 'ValidationHistory':
        """What the file in ``folder`` holds up to an iteration; nothing if it is unreadable."""
        try:
            entries = json.loads((Path(folder) / _HISTORY_FILE).read_text())
        except (OSError, ValueError):
            return cls()
        return cls([entry for entry in entries if entry['iter'] <= until_iter])

    def has(self, iteration: int) -> bool:
        return any(entry['iter'] == iteration for entry in self.entries)

    def add(self, epoch: int, iteration: int, metrics: dict, best: dict) -> None:
        self.entries = [entry for entry in self.entries if entry['iter'] < iteration]
        numbers = {
            k: float(v) for k, v in metrics.items() if isinstance(v, int | float | np.number)
        }
        entry = dict(epoch=epoch, iter=iteration, metrics=numbers, best=plain(best))
        self.entries.append(entry)

    def write(self, folder: str | Path) -> None:
        with atomic_write(Path(folder) / _HISTORY_FILE) as file:
            file.write(json.dumps(self.entries, indent=1).encode())
