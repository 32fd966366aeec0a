"""The end of a training of one command: the test of its best checkpoint, and what comes next."""

import os
import shlex
from pathlib import Path

from mmengine.config import Config

from mmdetr.cli import COMMANDS

CLOCK = 0.1  # s; file systems round the time
SHOWN = ('coco/bbox_mAP', 'coco/bbox_mAP_50')


def score_and_tell(cfg: Config, since: float) -> None:
    """Test the best checkpoint of a finished training, print its scores and the next commands.

    Args:
        cfg: Of the training.
        since: See :func:`best_checkpoint`.
    """
    from mmdetr.engine import DetectionRunner

    work_dir = Path(cfg.work_dir)
    checkpoint = best_checkpoint(work_dir, since)
    if checkpoint is None:
        return
    cfg = cfg.copy()
    cfg.load_from, cfg.resume = str(checkpoint), False
    scores = DetectionRunner.from_cfg(cfg).test()
    # A score of -1 is that of nothing to be found.
    said = ', '.join(
        f'{name.rpartition("/")[2]} {scores[name]:.3f}'
        for name in SHOWN
        if scores.get(name, -1) >= 0
    )
    said = said or 'no score, since there is no object to be found,'
    file = cfg.test_dataloader['dataset']['ann_file']
    # As short as the user would type it.
    checkpoint = Path(min(str(checkpoint), os.path.relpath(checkpoint), key=len))
    print(f'result: {said} on {Path(file).name} with {checkpoint}')
    print('\n'.join(next_commands(checkpoint)), flush=True)


def best_checkpoint(work_dir: Path, since: float = 0) -> Path | None:
    """Return the checkpoint of the best validation, else the last one; None without any.

    Args:
        work_dir: Of the training.
        since: When it began, in seconds as ``time.time``: best ones of an earlier training in the
            same folder are none of it. 0 for one that goes on with an earlier one.
    """
    times = {path: path.stat().st_mtime for path in work_dir.glob('best_*.pth')}
    best = [path for path, written in times.items() if written > since - CLOCK]
    if best:
        return max(best, key=lambda path: times[path])
    pointer = work_dir / 'last_checkpoint'
    last = Path(pointer.read_text().strip()) if pointer.is_file() else None
    return last if last is not None and last.is_file() else None


def next_commands(checkpoint: Path) -> list[str]:
    """Return the commands that a person may want next, of those that the package has.

    The checkpoint carries its config.
    """
    folder, weights = (shlex.quote(str(path)) for path in (checkpoint.parent, checkpoint))
    possible = {
        'report': f'mmdetr report {folder}',
        'infer': f'mmdetr infer PHOTOS {weights} --out-dir out',
        'serve': f'mmdetr serve {weights}',
    }
    return [f'next: {text}' for name, text in possible.items() if name in COMMANDS]
