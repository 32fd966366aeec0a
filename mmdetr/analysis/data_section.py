"""What the data of a run are: counts, sizes, classes, and what is wrong with their files."""

from typing import Any

import numpy as np
from mmengine.config import Config

from mmdetr.checkpoint import CheckpointError
from mmdetr.datasets.check import DatasetError, named_leaves
from mmdetr.datasets.check_scan import check_scan
from mmdetr.datasets.transforms import UnreadableImageError

from .evaluation import build_dataset
from .page import Section, bullets, missing, note, table
from .statistics import LARGE, MEDIUM, DataStatistics, count_data
from .svg import bar_chart

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


def data_section(config: Config | None) -> Section:
    """What the training and validation data are, and what is wrong with their files.

    Args:
        config: Of the run; None where there is none.
    """
    parts, datasets = [], {}
    for loader, name in (('train_dataloader', 'training'), ('val_dataloader', 'validation')):
        if config is None:
            parts = [missing('Without a config nothing is known of the data.')]
            break
        try:
            datasets[name] = build_dataset(config, loader)
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
    return head + bullets([f'{each.level}: {each.text}' for each in findings])
