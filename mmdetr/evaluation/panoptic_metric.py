"""COCO's panoptic metric for mmengine's evaluator."""

import json
import sys
from collections.abc import Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmdetr.datasets.panoptic_maps import find_contradiction, write_panoptic_png
from mmdetr.datasets.transforms import load_segment_ids
from mmdetr.registry import METRICS
from mmdetr.structures import PanopticResult

from .panoptic_quality import ImageSegments, PanopticScores, compare
from .unique import one_per_image

GROUPS = {'': 'all', '_th': 'things', '_st': 'stuff'}
NAMES = ('PQ', 'SQ', 'RQ')


@METRICS.register_module()
class CocoPanopticMetric(BaseMetric):
    """Score panoptic segmentations: panoptic, segmentation and recognition quality in 0..1.

    Reports ``coco_panoptic/PQ``, ``SQ`` and ``RQ`` over all classes, the same with ``_th`` over
    things and with ``_st`` over stuff; -1 stands for "no such class in ground truth or
    predictions". Averages are over classes that are annotated or predicted in the images that were
    processed.

    The ground truth comes with the data samples: ``segments`` and ``seg_map_path`` of a
    CocoPanopticDataset (its PNG is read here), or ``segments`` and ``segment_ids``, the map itself.
    ``meta_keys`` of PackDetInputs name them.

    Args:
        classwise: Also report PQ per class as ``coco_panoptic/PQ/<class>``, nan for a class never
            seen, and log a table.
        outfile_prefix: Write the predictions as the COCO server takes them:
            ``{prefix}.panoptic.json`` and a PNG per image in ``{prefix}.panoptic/``; several ranks
            need a folder that all share.
        format_only: Only write these files, as for test sets with hidden ground truth.
        collect_device: ``'cpu'`` gathers results over a folder all ranks share, ``'gpu'`` over the
            process group.
        prefix: First part of the names of the numbers.

    Raises:
        ValueError: ``format_only`` without ``outfile_prefix``.
    """

    def __init__(
        self,
        classwise: bool = False,
        outfile_prefix: str | None = None,
        format_only: bool = False,
        collect_device: str = 'cpu',
        prefix: str = 'coco_panoptic',
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if format_only and outfile_prefix is None:
            raise ValueError('format_only=True writes files: set outfile_prefix')
        self.classwise = classwise
        self.outfile_prefix = outfile_prefix
        self.format_only = format_only
        self._dataset_size: int | None = None

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Compare one batch with its ground truth, and write its PNGs.

        Args:
            data_batch: Unused.
            data_samples: Per image a dict with ``img_id``, ``ori_shape``, ``pred_panoptic`` (a
                PanopticResult) and the ground truth.

        Raises:
            ValueError: There is no prediction or no ground truth, or the map of a prediction
                has other segments, classes or another size than it should.
            UnreadableImageError: The PNG of the ground truth is missing or contradicts its file.
        """
        meta = self._meta()
        for sample in data_samples:
            found = _checked_prediction(sample, len(meta['classes']))
            result: dict[str, Any] = dict(img_id=sample['img_id'])
            if self.outfile_prefix is not None:
                result['annotation'] = self._write_map(sample['img_id'], found, meta['cat_ids'])
            if not self.format_only:
                scores = compare(
                    _ground_truth(sample),
                    ImageSegments(
                        found.ids,
                        [segment['id'] for segment in found.segments],
                        [segment['label'] for segment in found.segments],
                    ),
                    len(meta['classes']),
                )
                result['scores'] = scores
            self.results.append(result)

    def evaluate(self, size: int) -> dict[str, float]:
        """Gather the results of all ranks and compute the numbers.

        As in CocoMetric, repeated images are known by their id.
        """
        self._dataset_size = size
        return super().evaluate(sys.maxsize)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Compute the numbers by name; results come in any order, repeats included."""
        results = one_per_image(results, self._dataset_size, 'CocoPanopticMetric')
        if self.outfile_prefix is not None:
            self._write_json([result['annotation'] for result in results])
        if self.format_only:
            return {}
        scores: PanopticScores = reduce(add, (result['scores'] for result in results))
        isthing = np.array(self._meta()['isthing'], dtype=bool)
        metrics: dict[str, float] = {}
        lines = [f' {"":<6} |    PQ    SQ    RQ  classes']
        for (suffix, title), chosen in zip(
            GROUPS.items(), (np.ones_like(isthing), isthing, ~isthing), strict=True
        ):
            *values, count = scores.means(chosen)
            metrics |= {f'{name}{suffix}': v for name, v in zip(NAMES, values, strict=True)}
            lines.append(f' {title:<6} | {_percent(values)}  {count:>7d}')
        table = '\n'.join(lines)
        print_log(f'panoptic evaluation of {len(results)} images:\n{table}', logger='current')
        if self.classwise:
            metrics |= self._by_class(scores)
        return metrics

    def _by_class(self, scores: PanopticScores) -> dict[str, float]:
        classes = self._meta()['classes']
        width = max(len('class'), *map(len, classes))
        lines = [f' {"class":<{width}} |    PQ    SQ    RQ']
        metrics = {}
        for name, row in zip(classes, scores.qualities().tolist(), strict=True):
            lines.append(f' {name:<{width}} | {_percent(row)}')
            metrics[f'PQ/{name}'] = row[0]
        print_log('panoptic quality per class:\n' + '\n'.join(lines), logger='current')
        return metrics

    def _meta(self) -> dict:
        meta = self.dataset_meta or {}
        if not {'classes', 'cat_ids', 'isthing'} <= meta.keys():
            raise ValueError(
                "CocoPanopticMetric needs 'classes', 'cat_ids' and 'isthing' in the metainfo of "
                'the dataset: take CocoPanopticDataset, or a dataset of your own that states them'
            )
        return meta

    def _write_map(self, img_id: Any, found: PanopticResult, cat_ids: Sequence[int]) -> dict:
        # COCO's own names, and unique for other ids.
        stem = f'{img_id:012d}' if isinstance(img_id, int) else str(img_id).replace('/', '_')
        folder = Path(f'{self.outfile_prefix}.panoptic')
        folder.mkdir(parents=True, exist_ok=True)
        write_panoptic_png(folder / f'{stem}.png', found.ids)
        segments = [
            dict(id=segment['id'], category_id=cat_ids[segment['label']])
            for segment in found.segments
        ]
        return dict(image_id=img_id, file_name=f'{stem}.png', segments_info=segments)

    def _write_json(self, annotations: list[dict]) -> None:
        path = Path(f'{self.outfile_prefix}.panoptic.json')
        path.write_text(json.dumps(dict(annotations=annotations)), encoding='utf-8')
        print_log(
            f'wrote the segments of {len(annotations)} images to {path} and the folder '
            f'{path.with_suffix("")}',
            logger='current',
        )


def _percent(values: Sequence[float]) -> str:
    return ' '.join('    -' if not value >= 0 else f'{100 * value:5.1f}' for value in values)


def _checked_prediction(sample: dict, num_classes: int) -> PanopticResult:
    img_id, found = sample['img_id'], sample.get('pred_panoptic')
    if found is None:
        raise ValueError(
            f'image id {img_id}: the model predicts no panoptic segmentation: set '
            "model.bbox_head.panoptic=dict(type='PanopticSegmentation', ...)"
        )
    if found.ids.shape != tuple(sample['ori_shape'][:2]):
        raise ValueError(
            f'image id {img_id}: the predicted map has {found.ids.shape} pixels (height, width), '
            f'the original image {tuple(sample["ori_shape"][:2])}'
        )
    problem = find_contradiction(found.ids, [segment['id'] for segment in found.segments])
    if problem:
        raise ValueError(
            f'image id {img_id}: the predicted map contradicts its segments: '
            + problem.replace('the annotation file does not know', 'have no segment')
        )
    labels = [segment['label'] for segment in found.segments]
    if labels and not 0 <= min(labels) <= max(labels) < num_classes:
        raise ValueError(
            f'image id {img_id}: predicted labels {min(labels)}..{max(labels)} but the dataset has '
            f'{num_classes} classes: num_classes of the model must be the same'
        )
    return found


def _ground_truth(sample: dict) -> ImageSegments:
    if 'segments' not in sample or not {'segment_ids', 'seg_map_path'} & sample.keys():
        raise ValueError(
            f'image id {sample["img_id"]}: no ground truth to score with. Name segments and '
            'seg_map_path, which a CocoPanopticDataset supplies, in meta_keys of PackDetInputs'
        )
    height, width = sample['ori_shape'][:2]
    ids = sample.get('segment_ids')
    if ids is None:
        keys = ('img_id', 'seg_map_path', 'segments')
        ids = load_segment_ids(dict({k: sample[k] for k in keys}, height=height, width=width))
    segments = sample['segments']
    return ImageSegments(
        ids,
        [each['id'] for each in segments],
        [each['label'] for each in segments],
        [each['iscrowd'] for each in segments],
    )
