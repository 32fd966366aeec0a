"""COCO's metric of boxes and masks for mmengine's evaluator."""

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmdetr.registry import METRICS
from mmdetr.utils.operating_point import OperatingPoint

from .box_scores import paused_garbage_collection, resolve_backend, score_boxes
from .coco_annotations import CocoAnnotations, read_annotations
from .detections import Detections, IouType
from .ground_truth import check_images, ground_truth, listed_objects
from .matching import match_detections
from .operating_point import measure_operating_point
from .unique import one_per_image

IOU_TYPES: tuple[IouType, ...] = ('bbox', 'segm')


@METRICS.register_module()
class CocoMetric(BaseMetric):
    """Score detections as the COCO evaluation does: twelve numbers, per class on request.

    Reports ``coco/bbox_mAP``, ``bbox_mAP_50``, ``bbox_mAP_75``, ``bbox_mAP_s``, ``bbox_mAP_m``,
    ``bbox_mAP_l``, ``bbox_AR@1``, ``bbox_AR@10``, ``bbox_AR@100``, ``bbox_AR_s@100``,
    ``bbox_AR_m@100`` and ``bbox_AR_l@100`` (the numbers behind @ follow ``max_dets``), unrounded;
    -1 stands for "no such object in the ground truth". Only images that were processed count, so
    a dataset cut down by ``indices`` is scored on its own images.

    With ``metric=['bbox', 'segm']`` masks are scored, too: ``coco/segm_mAP`` and its companions.
    Of a dataset with things and stuff (``metainfo['isthing']``) the things are scored.

    Attributes:
        operating_point: Of the boxes of the last scoring, on the main process: the score thresholds
            of the best F1 at IoU 0.5, which go into checkpoints. None before.

    Args:
        ann_file: Path or address of the COCO annotation file, which has to be that of the dataset.
            None takes the dataset's own (a runner's MetricDataHook sees to that), and for datasets
            without a file the data samples' ``instances``: a list of dict(bbox=[x1, y1, x2, y2] in
            the frame of the original image, bbox_label, ignore_flag, area, mask), the last two
            optional.
        metric: ``'bbox'``, ``'segm'`` or both.
        classwise: Also report AP per class as ``coco/bbox_mAP/<class>`` and log a table; nan for
            a class without ground truth.
        max_dets: Three ascending limits on the detections scored per image and class. AP is
            taken at the largest.
        outfile_prefix: Write the detections in COCO's result format to ``{prefix}.bbox.json`` and
            ``{prefix}.segm.json``, masks as run lengths.
        format_only: Only write these files, as for test sets with hidden ground truth.
        backend: ``'pycocotools'``, ``'faster_coco_eval'`` (the same numbers in a fraction of the
            time) or ``'auto'``: the latter where it is installed.
        collect_device: ``'cpu'`` gathers results over a folder all ranks share, ``'gpu'`` over the
            process group.
        prefix: First part of the names of the numbers.

    Raises:
        FileNotFoundError: ``ann_file`` does not exist.
        ValueError: ``format_only`` without ``outfile_prefix``, ``max_dets`` not ascending, or a
            ``metric`` that there is not.
    """

    def __init__(
        self,
        ann_file: str | None = None,
        metric: IouType | Sequence[IouType] = 'bbox',
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
        iou_types: Sequence[IouType] = (metric,) if isinstance(metric, str) else tuple(metric)
        if not iou_types or not set(iou_types) <= set(IOU_TYPES):
            raise ValueError(f"metric of CocoMetric is 'bbox', 'segm' or both, not {metric!r}")
        if format_only and outfile_prefix is None:
            raise ValueError('format_only=True writes a file: set outfile_prefix')
        # Before the first epoch rather than after it; addresses are only known once asked.
        if ann_file is not None and '://' not in ann_file and not Path(ann_file).is_file():
            raise FileNotFoundError(f'CocoMetric: ann_file {ann_file} does not exist')
        resolve_backend(backend)
        self.ann_file = ann_file
        self.iou_types = iou_types
        self.classwise = classwise
        self.max_dets = tuple(max_dets)
        self.outfile_prefix = outfile_prefix
        self.format_only = format_only
        self.backend = backend
        self.operating_point: OperatingPoint | None = None
        self._annotations: CocoAnnotations | None = None
        self._dataset_size: int | None = None
        self._warned_max_dets = False

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the predictions of one batch.

        Args:
            data_batch: Unused.
            data_samples: Per image a dict with ``img_id`` and ``pred_instances``: ``bboxes``
                [N, 4] absolute xyxy in the frame of the original image, ``scores`` [N], ``labels``
                [N] and, to score masks, ``masks``: N run lengths; without ``ann_file`` also
                ``instances``, and ``ori_shape`` with masks.

        Raises:
            ValueError: A box or score is not finite, there are no masks to score, or there is
                neither ``ann_file`` nor ``instances``.
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
            if 'segm' in self.iou_types:
                result['masks'] = _checked_masks(sample)
                result['ori_shape'] = tuple(sample['ori_shape'][:2])
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
        results = one_per_image(results, self._dataset_size, 'CocoMetric')
        names, cat_ids, labels = self._categories()
        num_classes = len(self._classes() or names)
        detections = Detections.stack(results, num_classes).keep_labels(labels, num_classes)
        self._warn_of_counts(detections.per_image(len(results)))
        if self.outfile_prefix is not None:
            img_ids = [result['img_id'] for result in results]
            for iou_type in self.iou_types:
                self._write(iou_type, detections.for_submission(img_ids, cat_ids, iou_type))
        if self.format_only:
            return {}
        metrics: dict[str, float] = {}
        for iou_type in self.iou_types:
            metrics |= self._score(iou_type, results, detections, names, cat_ids)
        return metrics

    def _score(
        self,
        iou_type: IouType,
        results: list[dict],
        detections: Detections,
        names: list[str],
        cat_ids: list[int],
    ) -> dict[str, float]:
        with paused_garbage_collection():
            annotations = self._load_annotations()
            if annotations is None:
                all_cat_ids = (self.dataset_meta or {}).get('cat_ids') or cat_ids
                objects = listed_objects(results, all_cat_ids, iou_type)
            else:
                check_images(annotations, [result['img_id'] for result in results])
                objects = annotations.objects
            truth = ground_truth(objects, results, cat_ids, iou_type)
            if iou_type == 'bbox':
                most = self.max_dets[-1]
                matched = match_detections(truth, detections, len(names), most)
                self.operating_point = measure_operating_point(matched, names, len(results))
            scores = score_boxes(
                truth,
                detections,
                num_images=len(results),
                num_classes=len(names),
                max_dets=self.max_dets,
                backend=self.backend,
                iou_type=iou_type,
            )
        print_log(
            f'{iou_type} evaluation of {len(results)} images:\n{scores.table()}', logger='current'
        )
        if iou_type == 'bbox' and self.operating_point and self.operating_point.measured:
            print_log(f'operating point: {self.operating_point.describe()}', logger='current')
        metrics = scores.summary()
        if self.classwise:
            print_log(f'{iou_type} AP per class:\n{scores.class_table(names)}', logger='current')
            for k, name in enumerate(names):
                key = f'{iou_type}_mAP'
                metrics[f'{key}/{name}'] = scores.class_average_precision(k)[key]
        return metrics

    def _load_annotations(self) -> CocoAnnotations | None:
        """Return the annotation file, read at the first scoring, or None without one."""
        if self._annotations is None and self.ann_file is not None:
            self._annotations = read_annotations(
                self.ann_file, not self.format_only, 'segm' in self.iou_types
            )
        return self._annotations

    def _classes(self) -> Sequence[str] | None:
        return (self.dataset_meta or {}).get('classes')

    def _categories(self) -> tuple[list[str], list[int], list[int]]:
        """Return name, category id and label of each class that is scored."""
        annotations = self._load_annotations()
        meta = self.dataset_meta or {}
        names, cat_ids = self._classes(), meta.get('cat_ids')
        if names is None:
            if annotations is None:
                raise ValueError(
                    'CocoMetric has neither ann_file nor classes: the dataset must state '
                    "'classes' in its metainfo"
                )
            labels = list(range(len(annotations.categories)))
            return *annotations.match_categories(None, None), labels
        isthing = meta.get('isthing', [True] * len(names))
        labels = [label for label, thing in enumerate(isthing) if thing]
        names = [names[label] for label in labels]
        if annotations is None:
            cat_ids = cat_ids or range(1, len(isthing) + 1)
            return names, [cat_ids[label] for label in labels], labels
        ids = cat_ids and [cat_ids[label] for label in labels]
        return *annotations.match_categories(names, ids), labels

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

    def _write(self, iou_type: IouType, detections: list[dict]) -> None:
        path = Path(f'{self.outfile_prefix}.{iou_type}.json')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(detections), encoding='utf-8')
        print_log(f'wrote {len(detections)} detections to {path}', logger='current')


def _to_numpy(values: torch.Tensor) -> np.ndarray:
    # numpy has no bfloat16.
    return values.detach().float().cpu().numpy()


def _checked_masks(sample: dict) -> list[dict]:
    """Return the predicted masks of an image, one for each box and of the image's size."""
    img_id, pred = sample['img_id'], sample['pred_instances']
    if 'masks' not in pred:
        raise ValueError(
            f'image id {img_id}: the model predicts no masks to score: take a model with a mask '
            "head, or metric='bbox' of CocoMetric"
        )
    masks, (height, width) = pred['masks'], sample['ori_shape'][:2]
    if len(masks) != len(pred['scores']):
        raise ValueError(
            f'image id {img_id}: {len(masks)} masks of {len(pred["scores"])} detections'
        )
    other = next((mask for mask in masks if list(mask['size']) != [height, width]), None)
    if other is not None:
        raise ValueError(
            f'image id {img_id}: a predicted mask has {other["size"]} pixels (height, width), the '
            f'original image {[height, width]}'
        )
    return masks
