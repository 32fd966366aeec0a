"""Which validations a run has completed."""

import json
from logging import Logger
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import MessageHub

from mmdetr.checkpoint.io import atomic_write
from mmdetr.utils.operating_point import META_KEY

from .state import to_plain_data

_FILE = 'validation_history.json'
_KEY = 'completed_validations'  # what begins with val goes into mmengine's log of metrics
_KEYS = {'epoch', 'iter', 'metrics', 'best'}
_POINT = META_KEY


class ValidationHistory:
    """The completed validations of a run, kept in its message hub and in a file.

    The checkpoint of an epoch is written before its validation, so the message hub in it lacks that
    one. The file beside the checkpoints holds it without a second write of the whole checkpoint,
    and a resumed run knows whether to validate first.

    Args:
        message_hub: The runner's; whoever has the runner sees the same history.

    Attributes:
        entries: One dict per validation: ``epoch``, ``iter``, ``metrics`` and ``best``, the message
            hub's ``best_*`` entries after it. The newest may have an ``operating_point``, as
            :meth:`~mmdetr.utils.operating_point.OperatingPoint.to_dict` gives it.
    """

    def __init__(self, message_hub: MessageHub) -> None:
        self._message_hub = message_hub

    @property
    def entries(self) -> list[dict]:
        return self._message_hub.get_info(_KEY, [])

    def _set(self, entries: list[dict]) -> None:
        self._message_hub.update_info(_KEY, entries)

    def read(self, folder: str | Path, until_iter: int, logger: Logger) -> None:
        """Take up the file in ``folder`` up to an iteration, unless it is missing or damaged."""
        path = Path(folder) / _FILE
        try:
            if not path.is_file():  # reading a pipe would wait
                return
            entries = json.loads(path.read_text(encoding='utf-8'))
        except (OSError, RecursionError, ValueError) as error:
            logger.warning(f'{path} is damaged and not used: {error}')
            return
        if not isinstance(entries, list) or not all(map(_is_entry, entries)):
            logger.warning(f'{path} is damaged and not used: it is no list of validations')
            return
        self._set([entry for entry in entries if entry['iter'] <= until_iter])

    def has(self, iteration: int) -> bool:
        return any(entry['iter'] == iteration for entry in self.entries)

    def add(
        self, epoch: int, iteration: int, metrics: dict, operating_point: dict | None = None
    ) -> None:
        """Add the validation that has just been completed."""
        numbers = {
            k: float(v) for k, v in metrics.items() if isinstance(v, int | float | np.number)
        }
        info = self._message_hub.runtime_info
        best = to_plain_data({k: v for k, v in info.items() if k.startswith('best_')})
        earlier = [
            {key: value for key, value in entry.items() if key != _POINT}  # long for many classes
            for entry in self.entries
            if entry['iter'] < iteration
        ]
        newest = dict(epoch=epoch, iter=iteration, metrics=numbers, best=best)
        if operating_point is not None:
            newest[_POINT] = operating_point
        self._set([*earlier, newest])

    def write(self, folder: str | Path) -> None:
        """Replace the file in ``folder`` atomically."""
        with atomic_write(Path(folder) / _FILE) as file:
            file.write(json.dumps(self.entries, indent=1).encode())


def _is_entry(entry: Any) -> bool:
    """Whether this is what :meth:`ValidationHistory.add` adds."""
    if not isinstance(entry, dict) or entry.keys() - {_POINT} != _KEYS:
        return False
    metrics, best = entry['metrics'], entry['best']
    return (
        all(type(entry[key]) is int for key in ('epoch', 'iter'))
        and isinstance(metrics, dict)
        and all(type(value) in (int, float) for value in metrics.values())
        and isinstance(best, dict)
        and all(
            type(value) is str if key.startswith('best_ckpt') else type(value) in (int, float)
            for key, value in best.items()
        )
    )
