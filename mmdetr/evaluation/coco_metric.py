"""COCO box metric for mmengine's evaluator."""

import json
import logging
import sys
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmdetr.registry import METRICS

from .box_scores import paused_garbage_collection, resolve_backend, score_boxes
from .coco_annotations import CocoAnnotations, ScoredObject, read_annotations
from .detections import Detections


@METRICS.register_module()
class CocoMetric(BaseMetric):
    """Score detections as the COCO evaluation does: twelve numbers, per class on request.

    Reports ``coco/bbox_mAP``, ``bbox_mAP_50``, ``bbox_mAP_75``, ``bbox_mAP_s``, ``bbox_mAP_m``,
    ``bbox_mAP_l``, ``bbox_AR@1``, ``bbox_AR@10``, ``bbox_AR@100``, ``bbox_AR_s@100``,
    ``bbox_AR_m@100`` and ``bbox_AR_l@100`` (the numbers behind @ follow ``max_dets``), unrounded;
    -1 stands for "no such object in the ground truth". Only images that were processed count, so
    a dataset cut down by ``indices`` is scored on its own images.

    Args:
        ann_file: Path or address of the COCO annotation file, which has to be that of the dataset.
            None takes the dataset's own (a runner's MetricDataHook sees to that), and for datasets
            without a file the data samples' ``instances``: a list of dict(bbox=[x1, y1, x2, y2] in
            the frame of the original image, bbox_label, ignore_flag, area), the last one optional.
        classwise: Also report AP per class as ``coco/bbox_mAP/<class>`` and log a table; nan for
            a class without ground truth.
        max_dets: Three ascending limits on the detections scored per image and class. AP is
            taken at the largest.
        outfile_prefix: Write the detections in COCO's result format to ``{prefix}.bbox.json``.
        format_only: Only write that file, as for test sets with hidden ground truth.
        backend: ``'pycocotools'``, ``'faster_coco_eval'`` (the same numbers in a fraction of the
            time) or ``'auto'``: the latter where it is installed.
        collect_device: ``'cpu'`` gathers results over a folder all ranks share, ``'gpu'`` over the
            process group.
        prefix: First part of the names of the numbers.

    Raises:
        FileNotFoundError: ``ann_file`` does not exist.
        ValueError: ``format_only`` without ``outfile_prefix``, or ``max_dets`` not ascending.
    """

    def __init__(
        self,
        ann_file: str | None = None,
        classwise: bool = False,
        max_dets: Sequence[int] = (1, 10, 100),
        outfile_prefix: str | None = None,
        format_only: bool = False,
        backend: str = 'auto',
        collect_device: str = 'cpu',
        prefix: str = 'coco',
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if len(max_dets) != 3 or not 0 < max_dets[0] < max_dets[1] < max_dets[2]:
            raise ValueError(f'max_dets must be three ascending numbers, got {tuple(max_dets)}')
        if format_only and outfile_prefix is None:
            raise ValueError('format_only=True writes a file: set outfile_prefix')
        # Before the first epoch rather than after it; addresses are only known once asked.
        if ann_file is not None and '://' not in ann_file and not Path(ann_file).is_file():
            raise FileNotFoundError(f'CocoMetric: ann_file {ann_file} does not exist')
        resolve_backend(backend)
        self.ann_file = ann_file
        self.classwise = classwise
        self.max_dets = tuple(max_dets)
        self.outfile_prefix = outfile_prefix
        self.format_only = format_only
        self.backend = backend
        self._annotations: CocoAnnotations | None = None
        self._dataset_size: int | None = None
        self._warned_max_dets = False

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the predictions of one batch.

        Args:
            data_batch: Unused.
            data_samples: Per image a dict with ``img_id`` and ``pred_instances``: ``bboxes``
                [N, 4] absolute xyxy in the frame of the original image, ``scores`` [N], ``labels``
                [N]; without ``ann_file`` also ``instances``.

        Raises:
            ValueError: A box or score is not finite, or there is neither ``ann_file`` nor
                ``instances``.
        """
        for sample in data_samples:
            img_id, pred = sample['img_id'], sample['pred_instances']
            result = dict(
                img_id=img_id,
                bboxes=_to_numpy(pred['bboxes']).reshape(-1, 4),
                scores=_to_numpy(pred['scores']),
                labels=pred['labels'].cpu().numpy(),
            )
            if not (np.isfinite(result['bboxes']).all() and np.isfinite(result['scores']).all()):
                raise ValueError(f'image id {img_id}: a predicted box or score is not finite')
            if self.ann_file is None and not self.format_only:
                if 'instances' not in sample:
                    raise ValueError(
                        f'image id {img_id}: no ground truth to score with. Set ann_file of '
                        "CocoMetric, or let the dataset supply 'instances' and name it in "
                        'meta_keys of PackDetInputs'
                    )
                result['instances'] = sample['instances']
            self.results.append(result)

    def evaluate(self, size: int) -> dict[str, float]:
        """Gather the results of all ranks and compute the numbers.

        mmengine would cut the gathered list to ``size`` and so rely on its order. Samplers repeat
        images to fill the last batch; here repeats are known by their image id instead.
        """
        self._dataset_size = size
        return super().evaluate(sys.maxsize)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Compute the numbers by name; results come in any order, repeats included."""
        results = self._unique(results)
        names, cat_ids = self._categories()
        detections = Detections.stack(results, len(names))
        self._warn_of_counts(detections.per_image(len(results)))
        if self.outfile_prefix is not None:
            self._write(detections.for_submission([r['img_id'] for r in results], cat_ids))
        if self.format_only:
            return {}

        with paused_garbage_collection():
            scores = score_boxes(
                self._ground_truth(results, cat_ids),
                detections,
                num_images=len(results),
                num_classes=len(names),
                max_dets=self.max_dets,
                backend=self.backend,
            )
        print_log(f'bbox evaluation of {len(results)} images:\n{scores.table()}', logger='current')
        metrics = scores.summary()
        if self.classwise:
            print_log(f'bbox AP per class:\n{scores.class_table(names)}', logger='current')
            for k, name in enumerate(names):
                metrics[f'bbox_mAP/{name}'] = scores.class_average_precision(k)['bbox_mAP']
        return metrics

    def _unique(self, results: list[dict]) -> list[dict]:
        """Keep one result per image, by ascending id: scores must not depend on the order."""
        by_id: dict[Hashable, dict] = {}
        for result in results:
            by_id.setdefault(result['img_id'], result)
        if not by_id:
            raise ValueError('CocoMetric got no image to score: is the dataset empty?')
        if self._dataset_size is not None and len(by_id) < self._dataset_size:
            print_log(
                f'the dataset has {self._dataset_size} images, but results came with only '
                f'{len(by_id)} different image ids: the others are not scored',
                logger='current',
                level=logging.WARNING,
            )
        # Numbers and names do not compare, and a file may have both.
        return sorted(by_id.values(), key=lambda r: (isinstance(r['img_id'], str), r['img_id']))

    def _load_annotations(self) -> CocoAnnotations | None:
        """Return the annotation file, read at the first scoring, or None without one."""
        if self._annotations is None and self.ann_file is not None:
            self._annotations = read_annotations(self.ann_file, not self.format_only)
        return self._annotations

    def _categories(self) -> tuple[list[str], list[int]]:
        """Return name and category id of each label."""
        annotations = self._load_annotations()
        meta = self.dataset_meta or {}
        names, cat_ids = meta.get('classes'), meta.get('cat_ids')
        if annotations is None:
            if names is None:
                raise ValueError(
                    'CocoMetric has neither ann_file nor classes: the dataset must state '
                    "'classes' in its metainfo"
                )
            return list(names), list(cat_ids or range(1, len(names) + 1))
        return annotations.match_categories(names, cat_ids)

    def _ground_truth(self, results: list[dict], cat_ids: list[int]) -> list[dict]:
        """Return the objects of the processed images as :func:`score_boxes` takes them."""
        annotations = self._load_annotations()
        image_of = {result['img_id']: i for i, result in enumerate(results, start=1)}
        class_of = {cat_id: k for k, cat_id in enumerate(cat_ids, start=1)}
        if annotations is None:
            objects = [
                ScoredObject.from_instance(result['img_id'], instance, cat_ids)
                for result in results
                for instance in result['instances']
            ]
        else:
            unknown = image_of.keys() - annotations.img_ids
            if unknown:
                raise ValueError(
                    f'{len(unknown)} predicted image ids are not in {annotations.path}, the first '
                    f'is {next(iter(unknown))!r}: ann_file of CocoMetric and of the dataset '
                    'must be the same'
                )
            objects = annotations.objects
        return [
            dict(
                image_id=image_of[obj.img_id],
                category_id=class_of[obj.cat_id],
                bbox=obj.bbox_xywh,
                area=obj.area,
                iscrowd=obj.iscrowd,
            )
            for obj in objects
            if obj.img_id in image_of and obj.cat_id in class_of
        ]

    def _warn_of_counts(self, per_image: np.ndarray) -> None:
        """Warn once of what would otherwise surprise in the numbers."""
        most = self.max_dets[-1]
        over = int((per_image > most).sum())
        if over and not self._warned_max_dets:
            self._warned_max_dets = True
            print_log(
                f'the model returned up to {per_image.max()} detections in {over} of '
                f'{per_image.size} images, more than the largest max_dets={most}: beyond it the '
                f'lowest scores of each class are ignored. Limit the model by max_per_img={most}, '
                f'or set max_dets of CocoMetric (published numbers use {most})',
                logger='current',
                level=logging.WARNING,
            )
        if not per_image.any():
            print_log(
                f'no detections in any of {per_image.size} images: all scores are zero',
                logger='current',
                level=logging.WARNING,
            )

    def _write(self, detections: list[dict]) -> None:
        path = Path(f'{self.outfile_prefix}.bbox.json')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(detections), encoding='utf-8')
        print_log(f'wrote {len(detections)} detections to {path}', logger='current')


def _to_numpy(values: torch.Tensor) -> np.ndarray:
    # numpy has no bfloat16.
    return values.detach().float().cpu().numpy()
