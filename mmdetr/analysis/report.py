"""One page that shows a run: what it learned, what it gets wrong, and on which data."""

import json
import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import mmengine
import numpy as np
import torch
import torchvision
from mmengine.config import Config

from mmdetr.apis.named_models import config_in
from mmdetr.checkpoint import CheckpointError, load_file, read_checkpoint
from mmdetr.config.reading import ConfigError, load_config
from mmdetr.datasets.check import DatasetError, named_leaves
from mmdetr.datasets.check_scan import check_scan
from mmdetr.datasets.transforms import UnreadableImageError
from mmdetr.version import __version__

from .evaluation import Evaluation, build_dataset, evaluate_run
from .evaluation_sections import evaluation_sections
from .page import Section, missing, note, page, table
from .run_files import Curve, find_checkpoint, find_config, read_curves, read_warnings
from .statistics import LARGE, MEDIUM, DataStatistics, count_data
from .svg import Series, bar_chart, line_chart

# What is wrong with files and data, not with this code.
MENDABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    CheckpointError,
    DatasetError,
    UnreadableImageError,
)
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
    sections = [_curves(run)]
    if evaluation is None:
        sections.append(Section('results', 'Results on the validation data', missing(problem)))
    else:
        sections += evaluation_sections(evaluation, run.score_thr)
    sections += [_data(run), _warnings(run), _versions(run)]
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
        f'<p><b>AP {summary["bbox_mAP"]:.3f}</b>, AP50 {summary["bbox_mAP_50"]:.3f}, '
        f'AP75 {summary["bbox_mAP_75"]:.3f} on {len(evaluation.images)} validation images, of '
        f'{escape(Path(evaluation.checkpoint).name)}.</p>'
    )


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


# Data


def _data(run: Run) -> Section:
    parts, datasets = [], {}
    for loader, name in (('train_dataloader', 'training'), ('val_dataloader', 'validation')):
        if run.config is None:
            parts = [missing('Without a config nothing is known of the data.')]
            break
        try:
            datasets[name] = build_dataset(run.config, loader)
        except MENDABLE as error:
            parts.append(missing(f'The {name} data cannot be read any more: {error}'))
    counts = {name: count_data(dataset) for name, dataset in datasets.items()}
    if counts:
        parts += [_data_table(counts), _class_table(datasets, counts)]
        parts += [_data_charts(counts), _findings(datasets)]
    return Section('data', 'Data', ''.join(parts))


def _data_table(counts: dict[str, DataStatistics]) -> str:
    heads = ['data', 'images', 'without object', 'objects', 'per image', 'most in one', 'crowds']
    heads += ['small', 'medium', 'large']
    rows = []
    for name, each in counts.items():
        sizes = np.histogram(each.sides, [0, MEDIUM, LARGE, np.inf])[0].tolist()
        row = [name, each.num_images, int((each.per_image == 0).sum()), len(each.sides)]
        row += [float(each.per_image.mean()) if each.num_images else None]
        rows.append([*row, int(each.per_image.max(initial=0)), each.crowds, *sizes])
    remark = (
        f'Small boxes have less than {MEDIUM} x {MEDIUM} pixels of the original image, large ones '
    )
    return table(heads, rows, digits=2) + note(f'{remark}more than {LARGE} x {LARGE}.')


def _class_table(datasets: dict[str, Any], counts: dict[str, DataStatistics]) -> str:
    heads = ['class', *(f'{what}, {name}' for name in counts for what in ('objects', 'images'))]
    classes = next(iter(datasets.values())).metainfo['classes']
    rows = [
        [name]
        + [
            int(column[k]) if k < len(column) else None
            for each in counts.values()
            for column in (each.per_class, each.images_per_class)
        ]
        for k, name in enumerate(classes)
    ]
    return '<h3>Classes</h3>' + table(heads, rows)


def _data_charts(counts: dict[str, DataStatistics]) -> str:
    charts = []
    for name, each in counts.items():
        if not len(each.sides):
            continue
        most = int(each.per_image.max())
        width = max(1, -(-(most + 1) // 20))
        edges = np.arange(0, most + width + 1, width)
        labels = [str(low) if width == 1 else f'{low}-{low + width - 1}' for low in edges[:-1]]
        heights = np.histogram(each.per_image, edges)[0].tolist()
        charts.append(bar_chart(labels, heights, f'images by number of objects, {name}'))
        edges = np.geomspace(max(each.sides.min(), 1), max(each.sides.max(), 2) * 1.001, 13)
        heights = np.histogram(each.sides, edges)[0].tolist()
        labels = [f'{edge:.0f}' for edge in edges[:-1]]
        charts.append(bar_chart(labels, heights, f'boxes by root of their area in pixels, {name}'))
    return f'<div class="charts">{"".join(f"<div>{chart}</div>" for chart in charts)}</div>'


def _findings(datasets: dict[str, Any]) -> str:
    head = '<h3>Files: copies, broken and turned images</h3>'
    leaves = [leaf for name, each in datasets.items() for leaf in named_leaves(each, name)]
    files = sum('img_path' in leaf.get_data_info(0) for leaf, _ in leaves if len(leaf))
    if not files:
        return head + note('The images are generated: there are no files to compare.')
    try:
        findings = check_scan(leaves)
    except MENDABLE as error:
        return head + missing(f'The image files could not be looked at: {error}')
    if not findings:
        return head + note(
            'Nothing found. No picture of the training is among those of the validation, by the '
            'hash of its file; the same picture saved anew is not noticed.'
        )
    return head + _list([f'{each.level}: {each.text}' for each in findings])


# The rest


def _warnings(run: Run) -> Section:
    found = read_warnings(run.work_dir)
    if not list(run.work_dir.glob('*/*.log')):
        body = missing(f'{run.work_dir} has no */*.log.')
    elif not found:
        body = note('The training warned of nothing.')
    else:
        body = _list(
            [
                text if count == 1 else f'{text} (and {count - 1} more like it)'
                for text, count in found
            ]
        )
    return Section('warnings', 'Warnings of the training', body)


def _list(texts: Sequence[str]) -> str:
    items = ''.join(f'<li>{escape(text)}</li>' for text in texts)
    return f'<ul class="plain">{items}</ul>'


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
