"""The checkpoint that a run starts from, and what it means for the initial weights."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from logging import Logger
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mmdetr.checkpoint import CheckpointError, CheckpointFile, load_file, read_checkpoint


@dataclass
class StartCheckpoint:
    """A checkpoint file that was read.

    Attributes:
        filename: Where it is.
        content: What is in it; weights to start from as a ``CheckpointFile``.
        resumes: Whether the run continues the training that the file comes from.
    """

    filename: str
    content: CheckpointFile | dict
    resumes: bool = False

    @property
    def state_dict(self) -> Mapping[str, Tensor]:
        """Weights under the names that the model gives them."""
        if isinstance(self.content, CheckpointFile):
            return self.content.state_dict
        return self.content['state_dict']


_POINTER = 'last_checkpoint'
_LONGEST_PATH = 4096


class _NoTrainingError(CheckpointError):
    """An intact file, but of weights alone."""


def find_start(
    resume: bool | str, load_from: str | None, work_dir: str, model: nn.Module, logger: Logger
) -> StartCheckpoint | None:
    """Read the checkpoint that a run starts from.

    Args:
        resume: Whether to continue a training: that of ``load_from``, or else the newest of
            ``work_dir``. ``'auto'`` prefers ``work_dir``, and begins from the weights of
            ``load_from`` where it has none.
        load_from: Path, or for weights what :func:`mmdetr.checkpoint.load_file` takes.
        work_dir: Folder of the run.
        model: What the weights are for, without a wrapper.
        logger: Is told of damaged files and of a beginning where there is nothing to resume.

    Returns:
        None where the run begins anew.

    Raises:
        FileNotFoundError: No such file.
        CheckpointError: A file cannot be used.
    """
    if resume and load_from is not None and resume != 'auto':
        return read_training(load_from)
    if resume:
        start = newest_training(work_dir, logger)
        if start is not None:
            return start
        source = f'from {load_from}' if load_from else 'anew'
        logger.warning(f'Nothing to resume in {work_dir}: begins {source}')
    return None if load_from is None else read_weights(load_from, model)


def read_training(filename: str) -> StartCheckpoint:
    """Read a checkpoint to resume from and compare its checksums.

    Raises:
        FileNotFoundError: No such file.
        CheckpointError: The file cannot be used; the message names the newest one beside it that
            can.
    """
    try:
        return _load_training(filename)
    except CheckpointError as error:
        other = next(_intact_trainings(Path(filename).parent, damaged=[]), None)
        if other is None:
            raise
        raise CheckpointError(f'{error}. The newest intact one is {other.filename}') from error


def newest_training(work_dir: str | Path, logger: Logger) -> StartCheckpoint | None:
    """Read the newest intact checkpoint that training can resume from.

    Returns:
        None where no training has left a checkpoint.

    Raises:
        CheckpointError: There are checkpoints, but none is intact.
    """
    damaged: list[CheckpointError] = []
    found = next(_intact_trainings(Path(work_dir), damaged), None)
    for error in damaged:
        logger.warning(f'{error}; looking for an older checkpoint')
    if found is None and damaged:
        raise CheckpointError(f'no checkpoint in {work_dir} is intact')
    return found


def read_weights(filename: str, model: nn.Module, map_location: Any = 'cpu') -> StartCheckpoint:
    """Read a checkpoint to take weights from, of any layout that mmdetr.checkpoint knows.

    Raises:
        CheckpointError: The file cannot be used.
    """
    return StartCheckpoint(filename, read_checkpoint(filename, map_location, model))


def _load_training(filename: str) -> StartCheckpoint:
    checkpoint = load_file(filename, verify=True)
    content = set(checkpoint) if isinstance(checkpoint, dict) else set()
    missing = {'meta', 'state_dict', 'message_hub', 'optimizer'} - content
    if missing:
        raise _NoTrainingError(
            f'{filename} cannot be resumed from, it has no {", ".join(sorted(missing))}. To start '
            'a new training from its weights, set load_from instead'
        )
    return StartCheckpoint(filename, checkpoint, resumes=True)


def _intact_trainings(folder: Path, damaged: list[CheckpointError]) -> Iterator[StartCheckpoint]:
    """Read checkpoints of a run, the newest first; errors of others go to ``damaged``."""
    for path in _checkpoints(folder):
        try:
            yield _load_training(str(path))
        except _NoTrainingError:
            continue
        except CheckpointError as error:
            damaged.append(error)


def _checkpoints(work_dir: Path) -> list[Path]:
    """List checkpoints of a run: first the one ``last_checkpoint`` names, then the newest first."""
    candidates, folder, last = [], work_dir, _pointed_at(work_dir)
    if last is not None:
        # A folder that was copied has its own files. Only the hook's out_dir is elsewhere, and
        # has no pointer of its own.
        elsewhere = not (work_dir / last.name).is_file() and last.is_file()
        if elsewhere and not (last.parent / _POINTER).exists():
            folder = last.parent
        candidates = [folder / last.name]
    paths = [path for path in folder.glob('*.pth') if not path.name.startswith('best_')]
    candidates += _newest_first([path for path in paths if path.is_file()])
    return [path for path in dict.fromkeys(candidates) if path.is_file()]


def _pointed_at(work_dir: Path) -> Path | None:
    """What ``last_checkpoint`` names; None where it is missing or damaged."""
    pointer = work_dir / _POINTER
    try:
        if not pointer.is_file():
            return None
        with open(pointer, 'rb') as file:
            path = Path(file.read(_LONGEST_PATH).decode().strip())
        path.stat()
    except FileNotFoundError:
        pass  # of a folder that was moved
    except (OSError, ValueError):
        return None
    return path if path.suffix == '.pth' else None


def _newest_first(paths: list[Path]) -> list[Path]:
    """Sort checkpoints by the iteration they were written at; copying changes clocks."""
    numbers = {path: re.findall(r'\d+', path.stem) for path in paths}
    stems = {re.sub(r'\d+', '', path.stem) for path in paths}
    if len(stems) <= 1 and all(len(found) == 1 for found in numbers.values()):
        return sorted(paths, key=lambda path: int(numbers[path][0]), reverse=True)
    return sorted(paths, key=_iteration, reverse=True)


def _iteration(path: Path) -> int:
    """The iteration that a file was written at; -1 where it cannot be read."""
    try:
        checkpoint = load_file(str(path))
    except CheckpointError:
        return -1
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    iteration = meta.get('iter') if isinstance(meta, dict) else None
    return iteration if isinstance(iteration, int) else -1


def drop_needless_pretraining(model: nn.Module, state_dict: Mapping[str, Tensor]) -> list[str]:
    """Take the pretrained initialisation off modules whose weights a checkpoint brings anyway.

    So that resuming or fine-tuning fetches no backbone weights from the internet. A module of which
    the checkpoint lacks a tensor keeps its ``init_cfg``.

    Returns:
        Names of the modules concerned.
    """
    names = []
    for name, module in model.named_modules():
        init_cfg = getattr(module, 'init_cfg', None)
        if not isinstance(init_cfg, dict) or init_cfg.get('type') != 'Pretrained':
            continue
        keys = (f'{name}.{key}' if name else key for key in module.state_dict())
        if all(key in state_dict or key.endswith('num_batches_tracked') for key in keys):
            module.init_cfg = None
            names.append(name or 'model')
    return names
