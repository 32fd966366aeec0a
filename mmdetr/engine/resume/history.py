"""Which validations a run has completed."""

import json
from pathlib import Path

import numpy as np
from mmengine.logging import MessageHub

from mmdetr.checkpoint.io import atomic_write

from .state import to_plain_data

_FILE = 'validation_history.json'
_KEY = 'completed_validations'  # what begins with val goes into mmengine's log of metrics


class ValidationHistory:
    """The completed validations of a run, kept in its message hub and in a file.

    The checkpoint of an epoch is written before its validation, so the message hub in it lacks that
    one. The file beside the checkpoints holds it without a second write of the whole checkpoint,
    and a resumed run knows whether to validate first.

    Args:
        message_hub: The runner's; whoever has the runner sees the same history.

    Attributes:
        entries: One dict per validation: ``epoch``, ``iter``, ``metrics`` and ``best``, the message
            hub's ``best_*`` entries after it.
    """

    def __init__(self, message_hub: MessageHub) -> None:
        self._message_hub = message_hub

    @property
    def entries(self) -> list[dict]:
        return self._message_hub.get_info(_KEY, [])

    def _set(self, entries: list[dict]) -> None:
        self._message_hub.update_info(_KEY, entries)

    def read(self, folder: str | Path, until_iter: int) -> None:
        """Take up the file in ``folder`` up to an iteration, if it is readable."""
        try:
            entries = json.loads((Path(folder) / _FILE).read_text())
        except (OSError, ValueError):
            return
        self._set([entry for entry in entries if entry['iter'] <= until_iter])

    def has(self, iteration: int) -> bool:
        return any(entry['iter'] == iteration for entry in self.entries)

    def add(self, epoch: int, iteration: int, metrics: dict) -> None:
        """Add the validation that has just been completed."""
        numbers = {
            k: float(v) for k, v in metrics.items() if isinstance(v, int | float | np.number)
        }
        info = self._message_hub.runtime_info
        best = to_plain_data({k: v for k, v in info.items() if k.startswith('best_')})
        earlier = [entry for entry in self.entries if entry['iter'] < iteration]
        self._set([*earlier, dict(epoch=epoch, iter=iteration, metrics=numbers, best=best)])

    def write(self, folder: str | Path) -> None:
        """Replace the file in ``folder`` atomically."""
        with atomic_write(Path(folder) / _FILE) as file:
            file.write(json.dumps(self.entries, indent=1).encode())
