"""What travels beside an image through the pipeline, the model and the metric."""

from collections.abc import Sequence

import torch
from mmengine.structures import BaseDataElement, InstanceData

from mmdetr.utils.operating_point import OperatingPoint

from .panoptic import PanopticResult


class DetDataSample(BaseDataElement):
    """Annotations, predictions and meta information of one image.

    ``gt_instances`` holds ``bboxes`` [M, 4] (absolute xyxy in the frame of the network input),
    ``labels`` [M] (0..K-1), where the pipeline loads them ``masks`` bool [M, h, w] (the network
    input before padding), and what a user adds. ``pred_instances`` holds ``bboxes`` [N, 4]
    (absolute xyxy in the frame of the original image), ``scores`` [N], ``labels`` [N] and, of a
    model with masks, ``masks``: N run-length codes as pycocotools has them, in original pixels.
    ``pred_panoptic`` is a :class:`~mmdetr.structures.PanopticResult`.

    Meta information (``metainfo``): ``img_id``, ``img_path``, ``ori_shape`` (h, w) of the original
    image, ``img_shape`` (h, w) of the network input before padding, ``scale_factor`` (w, h), and
    ``flip``, ``flip_direction`` where a flip transform ran.
    """

    @property
    def gt_instances(self) -> InstanceData:
        return self._gt_instances

    @gt_instances.setter
    def gt_instances(self, value: InstanceData) -> None:
        self.set_field(value, '_gt_instances', dtype=InstanceData)

    @gt_instances.deleter
    def gt_instances(self) -> None:
        del self._gt_instances

    @property
    def pred_instances(self) -> InstanceData:
        return self._pred_instances

    @pred_instances.setter
    def pred_instances(self, value: InstanceData) -> None:
        self.set_field(value, '_pred_instances', dtype=InstanceData)

    @pred_instances.deleter
    def pred_instances(self) -> None:
        del self._pred_instances

    @property
    def pred_panoptic(self) -> PanopticResult:
        return self._pred_panoptic

    @pred_panoptic.setter
    def pred_panoptic(self, value: PanopticResult) -> None:
        self.set_field(value, '_pred_panoptic', dtype=PanopticResult)

    @pred_panoptic.deleter
    def pred_panoptic(self) -> None:
        del self._pred_panoptic


def above_operating_point(
    pred: InstanceData, point: OperatingPoint | float, classes: Sequence[str] = ()
) -> InstanceData:
    """Take the predictions of an image that reach the threshold of their class.

    Args:
        pred: ``scores`` [N], ``labels`` [N] and more.
        point: Of the model, as the ``operating_point`` of a detector; or one score for all classes.
        classes: Names by label.

    Raises:
        ValueError: The score is not in 0..1.
    """
    if not isinstance(point, OperatingPoint):
        if not 0 <= point <= 1:
            raise ValueError(f'a score threshold must be in 0..1, not {point:g}')
        return pred[pred.scores >= point]
    thresholds = point.thresholds(pred.labels.tolist(), classes)
    # In float64: rounded to the scores' own type, a threshold may equal a score below it.
    return pred[
        pred.scores.double() >= torch.tensor(thresholds, dtype=torch.float64).to(pred.scores.device)
    ]
