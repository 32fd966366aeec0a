"""One page that shows a run: what it learned, what it gets wrong, and on which data."""

import json
import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path

import mmengine
import torch
import torchvision
from mmengine.config import Config

from mmdetr.apis.named_models import config_in
from mmdetr.checkpoint import CheckpointError, load_file, read_checkpoint
from mmdetr.config.reading import ConfigError, load_config
from mmdetr.recipes.start import PREPARATION
from mmdetr.version import __version__

from .data_section import MENDABLE, data_section
from .evaluation import Evaluation, evaluate_run
from .evaluation_sections import evaluation_sections
from .page import Section, bullets, missing, note, page, table
from .run_files import Curve, find_checkpoint, find_config, read_curves, read_warnings
from .svg import Series, line_chart

_MAIN_LOSSES = ('loss', 'loss_cls', 'loss_bbox', 'loss_giou', 'loss_mask', 'loss_dice')


@dataclass(frozen=True)
class Run:
    """What a report is made of.

    Attributes:
        work_dir: Folder of the run.
        config: Its config; None where there is none that can be read.
        checkpoint: What is evaluated; None where there is none.
        score_thr: Least score of what is shown; None takes the operating point.
        config_problem: Why there is no config.
    """

    work_dir: Path
    config: Config | None
    checkpoint: str | None
    score_thr: float | None = None
    config_problem: str = ''


def open_run(
    work_dir: str | Path,
    config: str | None = None,
    checkpoint: str | None = None,
    score_thr: float | None = None,
) -> Run:
    """Find config and checkpoint of a run.

    Args:
        work_dir: Folder of the run.
        config: Instead of the one in the folder, or else of the one that the checkpoint carries.
        checkpoint: Instead of the best, or else the last, in the folder.
        score_thr: As in :class:`Run`.

    Raises:
        FileNotFoundError: There is no such folder, or a file that is named.
        ConfigError: The config that is named cannot be read.
    """
    folder = Path(work_dir)
    if not folder.is_dir():
        raise FileNotFoundError(f'no such folder: {folder}')
    chosen = checkpoint or find_checkpoint(folder)
    read, problem = None, f'{folder} has no config file'
    found = config or find_config(folder)
    try:
        if found:
            read = load_config(found)
        elif chosen:
            read = config_in(read_checkpoint(chosen))
    except (CheckpointError, ConfigError) as error:
        if config is not None:
            raise
        problem = str(error) if found else f'{problem}, and {error}'
    return Run(folder, read, str(chosen) if chosen else None, score_thr, problem)


def make_report(run: Run, progress: Callable[[int, int], None] | None = None) -> str:
    """Write the page; what is missing is said in it.

    Args:
        run: From :func:`open_run`.
        progress: As in :func:`~.evaluation.evaluate_run`.

    Returns:
        HTML that loads nothing.
    """
    evaluation, problem = _evaluate(run, progress)
    sections = [*_preparation(run), _curves(run)]
    if evaluation is None:
        sections.append(Section('results', 'Results on the validation data', missing(problem)))
    else:
        sections += evaluation_sections(evaluation, run.score_thr)
    sections += [data_section(run.config), _warnings(run), _versions(run)]
    name = run.work_dir.resolve().name
    lead = note(f'Made on {time.strftime("%Y-%m-%d %H:%M")} by mmdetr {__version__}.')
    if evaluation is not None:
        lead += _headline(evaluation)
    return page(f'Run {name}', lead, sections)


def _evaluate(
    run: Run, progress: Callable[[int, int], None] | None
) -> tuple[Evaluation | None, str]:
    if run.config is None:
        return None, f'Nothing can be evaluated: {run.config_problem}.'
    if run.checkpoint is None:
        return None, f'{run.work_dir} has no checkpoint, so nothing can be evaluated.'
    try:
        return evaluate_run(run.config, run.checkpoint, progress), ''
    except MENDABLE as error:
        return None, f'{run.checkpoint} could not be evaluated: {error}'


def _headline(evaluation: Evaluation) -> str:
    tables, _ = evaluation.scores()
    summary = tables.summary()
    return (
        f'<p><b>Box AP {summary["bbox_mAP"]:.3f}</b>, AP50 {summary["bbox_mAP_50"]:.3f}, '
        f'AP75 {summary["bbox_mAP_75"]:.3f} on {len(evaluation.images)} validation images, of '
        f'{escape(Path(evaluation.checkpoint).name)}.</p>'
    )


def _preparation(run: Run) -> list[Section]:
    """What was found in a folder of data, and chosen for it; nothing for other runs."""
    try:
        text = (run.work_dir / PREPARATION).read_text(encoding='utf-8')
    except FileNotFoundError:
        return []
    chosen, _, data = text.partition('\n\n')
    body = note('As the folder of data was prepared; an edited config may differ.')
    body += bullets(chosen.splitlines())
    body += (
        f'<details><summary>Data, as they were read</summary><pre>{escape(data)}</pre></details>'
    )
    return [Section('start', 'What it started from', body)]


# Curves


def _curves(run: Run) -> Section:
    training, validation = read_curves(run.work_dir)
    if not training and not validation:
        sentence = f'{run.work_dir} has no */vis_data/scalars.json with logged numbers.'
        return Section('curves', 'Training', missing(sentence))
    charts = []
    losses = [_series(name, training) for name in _MAIN_LOSSES if name in training]
    if losses:
        charts.append(line_chart(losses, 'iteration', 'losses of the last layer, and their sum'))
    others = [name for name in sorted(training) if _is_further_loss(name)]
    if others:
        series = [_series(name, training) for name in others[:12]]
        charts.append(line_chart(series, 'iteration', 'losses of the other layers'))
    rates = [_series(name, training) for name in ('base_lr', 'lr') if name in training]
    if rates:
        charts.append(line_chart(rates, 'iteration', 'learning rate'))
    if 'grad_norm' in training:
        gradient = [_series('grad_norm', training)]
        charts.append(line_chart(gradient, 'iteration', 'norm of the gradient'))
    scores = [_series(name, validation, dots=True) for name in validation if _is_ap(name)]
    if scores:
        unit = 'epoch, or iteration of a run without epochs'
        best = max((value for each in scores for value in each.y if value > 0), default=0.1)
        top = min(1.0, math.ceil(best * 10) / 10)
        charts.append(line_chart(scores, unit, 'AP on the validation data', y_range=(0, top)))
    body = ''.join(f'<div>{chart}</div>' for chart in charts)
    return Section('curves', 'Training', f'<div class="charts">{body}</div>')


def _series(name: str, curves: dict[str, Curve], dots: bool = False) -> Series:
    # COCO's -1 says that there was nothing to be measured.
    values = [float('nan') if dots and value < 0 else value for value in curves[name].values]
    return Series(name, curves[name].steps, values, dots)


def _is_further_loss(name: str) -> bool:
    return 'loss' in name and name not in _MAIN_LOSSES


def _is_ap(name: str) -> bool:
    return name.rpartition('/')[2] in (
        *(f'{kind}_mAP{end}' for kind in ('bbox', 'segm') for end in ('', '_50', '_75')),
        'PQ',
    )


# The rest


def _warnings(run: Run) -> Section:
    found = read_warnings(run.work_dir)
    if not list(run.work_dir.glob('*/*.log')):
        body = missing(f'{run.work_dir} has no */*.log.')
    elif not found:
        body = note('The training warned of nothing.')
    else:
        body = bullets(
            [
                text if count == 1 else f'{text} (and {count - 1} more like it)'
                for text, count in found
            ]
        )
    return Section('warnings', 'Warnings of the training', body)


def _versions(run: Run) -> Section:
    rows = [
        ('this page', f'mmdetr {__version__}, torch {torch.__version__}'),
        ('', f'torchvision {torchvision.__version__}, mmengine {mmengine.__version__}'),
        ('', f'Python {platform.python_version()}, {platform.platform()}'),
    ]
    body = ''
    if run.checkpoint is not None:
        try:
            rows += _checkpoint_rows(run.checkpoint)
        except MENDABLE as error:
            body += missing(f'{run.checkpoint} cannot be read: {error}')
    body += table(['what', 'value'], rows)
    if run.config is None:
        body += missing(f'There is no config: {run.config_problem}.')
    else:
        if run.config.get('load_from'):
            start = f'The training started from the weights of {run.config.load_from}.'
        else:
            start = 'The config names no load_from: no trained detector was the start.'
        text = escape(run.config.pretty_text)
        body += note(start) + f'<details><summary>Config</summary><pre>{text}</pre></details>'
    return Section('versions', 'Config and versions', body)


def _checkpoint_rows(checkpoint: str) -> list[tuple[str, str]]:
    meta = load_file(checkpoint).get('meta') or {}
    rows = [('checkpoint', checkpoint)]
    for key in ('epoch', 'iter', 'time', 'seed', 'mmdetr_version', 'mmengine_version'):
        if key in meta:
            rows.append((key, str(meta[key])))
    if meta.get('data_files'):
        rows.append(('hashes of the data', json.dumps(meta['data_files'])))
    return rows
