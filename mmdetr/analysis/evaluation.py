"""Predict on the validation data of a run, and bring predictions and ground truth together.

Boxes are what is looked at, of a dataset with things and stuff those of things; masks and segments
are drawn. Legend: N detections and G objects of one image, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope

from mmdetr.apis import init_detector
from mmdetr.datasets.transforms import LoadImageFromFile
from mmdetr.evaluation.box_scores import BoxScores, score_boxes
from mmdetr.evaluation.detections import Detections
from mmdetr.evaluation.ground_truth import ground_truth, listed_objects
from mmdetr.evaluation.matching import MatchedDetections, match_detections
from mmdetr.registry import DATASETS
from mmdetr.structures import DetDataSample
from mmdetr.utils.operating_point import OperatingPoint

MAX_DETS = (1, 10, 100)
_LISTED = ('instances', 'segments', 'segment_ids', 'seg_map_path')  # what a dataset lists


@dataclass(frozen=True)
class ImageResult:
    """One image with what is there and what was found, boxes xyxy in pixels of the original.

    Attributes:
        img_id: As the dataset names it.
        path: Of the file; None for generated images.
        index: In the dataset.
        shape: (h, w).
        instances: The objects as the dataset lists them.
        bboxes, scores, labels: [N, 4], [N], [N], best first.
    """

    img_id: Any
    path: str | None
    index: int
    shape: tuple[int, int]
    instances: list[dict]
    bboxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def objects(self, crowds: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Boxes [G, 4] and labels [G] of the objects, or of the crowds."""
        chosen = [each for each in self.instances if bool(each['ignore_flag']) == crowds]
        boxes = np.array([each['bbox'] for each in chosen], dtype=float).reshape(-1, 4)
        return boxes, np.array([each['bbox_label'] for each in chosen], dtype=int)


@dataclass(frozen=True)
class Evaluation:
    """All images of a validation.

    Attributes:
        images: With their predictions.
        classes: K names.
        checkpoint: What was evaluated.
        dataset: The validation data.
        point: The operating point that the checkpoint states, or 0.3.
        model: Of the checkpoint.
        has_masks: Whether it predicts masks or segments, too.
    """

    images: list[ImageResult]
    classes: list[str]
    checkpoint: str
    dataset: Any
    point: OperatingPoint
    model: Any = None
    has_masks: bool = False

    def scores(self) -> tuple[BoxScores, MatchedDetections]:
        """COCO's tables, and which detections are right at IoU 0.5."""
        results = [
            dict(
                img_id=number,
                instances=each.instances,
                bboxes=each.bboxes,
                scores=each.scores,
                labels=each.labels,
            )
            for number, each in enumerate(self.images)
        ]
        num_classes = len(self.classes)
        cat_ids = list(range(1, num_classes + 1))
        truth = ground_truth(listed_objects(results, cat_ids, 'bbox'), results, cat_ids, 'bbox')
        detections = Detections.stack(results, num_classes)
        matched = match_detections(truth, detections, num_classes, MAX_DETS[-1])
        tables = score_boxes(truth, detections, len(results), num_classes, MAX_DETS)
        return tables, matched

    def load(self, image: ImageResult) -> np.ndarray:
        """The picture as uint8 [h, w, 3] RGB."""
        if image.path is None:
            loaded = self.dataset[image.index]['inputs'].cpu().numpy().transpose(1, 2, 0)
        else:
            height, width = image.shape
            info = dict(img_path=image.path, width=width, height=height)
            loaded = LoadImageFromFile()(info)['img']
        return np.ascontiguousarray(loaded[..., ::-1])

    def sample(self, image: ImageResult) -> DetDataSample:
        """Predict an image again, for all that a visualizer draws: of 5,000 it would not fit."""
        sample = _predict(self.model, self.dataset, image.index)
        info = self.dataset.get_data_info(image.index)
        sample.set_metainfo({key: info[key] for key in _LISTED if key in info})
        return sample


def evaluate_run(
    config: Config, checkpoint: str, progress: Callable[[int, int], None] | None = None
) -> Evaluation:
    """Predict on the validation data of a config, one image at a time; writes nothing.

    Args:
        config: Of the training; ``val_dataloader`` states the data.
        checkpoint: Any file that :mod:`mmdetr.checkpoint` reads.
        progress: Called with the number of images done and that of all.

    Raises:
        ValueError: The config has no validation data, or no image is in them.
        CheckpointError, FileNotFoundError: As :func:`~mmdetr.apis.init_detector`.
    """
    dataset = build_dataset(config, 'val_dataloader')
    model: Any = init_detector(config, checkpoint)
    classes = list(dataset.metainfo['classes'])
    things = [k for k, thing in enumerate(dataset.metainfo.get('isthing', classes)) if thing]
    images, has_masks = [], False
    for index in range(len(dataset)):
        sample = _predict(model, dataset, index)
        has_masks |= 'masks' in sample.pred_instances or 'pred_panoptic' in sample
        found = _result(dataset.get_data_info(index), index, sample)
        images.append(found if len(things) == len(classes) else _only(found, things))
        if progress is not None:
            progress(index + 1, len(dataset))
    if not images:
        raise ValueError('the validation data have no image')
    names = [classes[k] for k in things]
    return Evaluation(images, names, checkpoint, dataset, model.operating_point, model, has_masks)


@torch.no_grad()
def _predict(model: Any, dataset: Any, index: int) -> DetDataSample:
    (sample,) = model.test_step(pseudo_collate([dataset[index]]))
    return sample


def _only(image: ImageResult, labels: list[int]) -> ImageResult:
    """Leave out objects and detections of other classes; the others are counted from 0 on."""
    number = {label: k for k, label in enumerate(labels)}
    kept = np.isin(image.labels, labels)
    return replace(
        image,
        instances=[
            dict(each, bbox_label=number[each['bbox_label']])
            for each in image.instances
            if each['bbox_label'] in number
        ],
        bboxes=image.bboxes[kept],
        scores=image.scores[kept],
        labels=np.array([number[label] for label in image.labels[kept].tolist()], dtype=int),
    )


def build_dataset(config: Config, loader: str) -> Any:
    """Build the dataset of ``train_dataloader`` or ``val_dataloader``.

    Raises:
        ValueError: The config has none.
    """
    if not (config.get(loader) or {}).get('dataset'):
        raise ValueError(f'the config has no {loader}')
    with DefaultScope.overwrite_default_scope('mmdetr'):
        dataset = DATASETS.build(config[loader].dataset)
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    return dataset


def _result(info: dict, index: int, sample: DetDataSample) -> ImageResult:
    pred = sample.pred_instances
    pred = pred[pred.scores.argsort(descending=True)]
    return ImageResult(
        img_id=info['img_id'],
        path=info.get('img_path'),
        index=index,
        shape=(int(sample.ori_shape[0]), int(sample.ori_shape[1])),
        instances=info['instances'],
        bboxes=pred.bboxes.float().cpu().numpy().reshape(-1, 4),
        scores=pred.scores.double().cpu().numpy(),
        labels=pred.labels.cpu().numpy(),
    )
