"""Let a metric score with the annotations of the data that the model sees, and no others."""

import hashlib
import os.path as osp
from typing import Any

from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdetr.datasets import CocoDataset, CocoPanopticDataset
from mmdetr.datasets.check import DatasetError
from mmdetr.datasets.coco_json import read_coco_json
from mmdetr.datasets.local_files import read_file
from mmdetr.datasets.panoptic_json import read_panoptic_json
from mmdetr.datasets.wrappers import leaf_datasets
from mmdetr.engine.refusal import refuse_on_all_ranks
from mmdetr.evaluation import CocoMetric
from mmdetr.registry import HOOKS
from mmdetr.utils.text import shorten


@HOOKS.register_module()
class MetricDataHook(Hook):
    """Compare the annotation file of each CocoMetric with that of the dataset, before any step.

    A metric without a file takes the dataset's, whose boxes and areas are then scored as stated.
    Two files with the same content are one; others must have the dataset's images and classes. Of a
    panoptic dataset, whose file has no boxes to score, the things are compared.

    Raises:
        DatasetError: The metric's file has other images, or other categories under their ids.
    """

    def __init__(self) -> None:
        self._compared: set[tuple[int, int]] = set()

    def before_train(self, runner: Runner) -> None:
        if runner.val_loop is not None:
            self._check(runner.val_dataloader.dataset, runner.val_evaluator, 'val')

    def before_val(self, runner: Runner) -> None:
        self._check(runner.val_dataloader.dataset, runner.val_evaluator, 'val')

    def before_test(self, runner: Runner) -> None:
        self._check(runner.test_dataloader.dataset, runner.test_evaluator, 'test')

    def _check(self, dataset: Any, evaluator: Evaluator, stage: str) -> None:
        for metric in getattr(evaluator, 'metrics', ()):
            pair = (id(dataset), id(metric))
            if isinstance(metric, CocoMetric) and pair not in self._compared:
                self._compared.add(pair)
                problem = _check_metric(metric, leaf_datasets(dataset), stage)
                refuse_on_all_ranks(problem, DatasetError)


def _check_metric(metric: CocoMetric, leaves: list, stage: str) -> str | None:
    files = [leaf.ann_file for leaf in leaves if _is_boxes(leaf)]
    if metric.ann_file is None:
        if len(files) == len(leaves) == 1 and not metric.format_only:
            metric.ann_file = files[0]
        return None
    for leaf in leaves:
        if not isinstance(leaf, CocoDataset) or _same_content(leaf.ann_file, metric.ann_file):
            continue
        problem = _difference(leaf, metric.ann_file)
        if problem:
            return (
                f'{stage}_evaluator.ann_file {metric.ann_file} is not of the data that are '
                f'evaluated, {stage}_dataloader.dataset.ann_file {leaf.ann_file}: {problem}. Set '
                f'both to the same file, or leave out {stage}_evaluator.ann_file'
            )
    return None


def _is_boxes(dataset: Any) -> bool:
    """Whether a dataset has a COCO file of boxes."""
    return isinstance(dataset, CocoDataset) and not isinstance(dataset, CocoPanopticDataset)


def _same_content(first: str, second: str) -> bool:
    if osp.abspath(first) == osp.abspath(second):
        return True
    digests = {hashlib.blake2b(read_file(path)).digest() for path in (first, second)}
    return len(digests) == 1


def _difference(dataset: CocoDataset, metric_file: str) -> str | None:
    """Say how the metric's file contradicts the dataset; more images and classes do not."""
    own: Any
    if isinstance(dataset, CocoPanopticDataset):
        own = read_panoptic_json(dataset.ann_file, need_annotations=False)
    else:
        own = read_coco_json(dataset.ann_file, need_annotations=False)
    other = read_coco_json(metric_file, need_annotations=False)
    used = {dataset.get_data_info(index)['img_id'] for index in range(len(dataset))}
    others = {image['id']: image for image in other.images}
    wrong = [
        image['id']
        for image in own.images
        if image['id'] in used and not _same_image(image, others.get(image['id']))
    ]
    if wrong:
        return f'{len(wrong)} of {len(used)} images are others there, ids {shorten(wrong)}'
    names = other.placeholders | other.categories
    meta = dataset.metainfo
    isthing = meta.get('isthing', [True] * len(meta['classes']))
    for name, cat_id, thing in zip(meta['classes'], meta['cat_ids'], isthing, strict=True):
        if thing and name != names.get(cat_id, f'unused {cat_id}'):
            return (
                f'category id {cat_id} is {name!r} of the dataset and {names.get(cat_id)!r} there'
            )
    return None


def _same_image(image: dict, other: dict | None) -> bool:
    """Compare sizes and names; one of the names may leave out folders."""
    if other is None or (image['width'], image['height']) != (other['width'], other['height']):
        return False
    parts = [each['file_name'].replace('\\', '/').split('/') for each in (image, other)]
    common = min(map(len, parts))
    return parts[0][-common:] == parts[1][-common:]
