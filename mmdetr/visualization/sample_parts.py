"""What of a data sample is drawn: instances with masks, and panoptic segments.

Legend: N instances, H W size of the original image.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask

from mmdetr.datasets.coco_masks import draw_mask
from mmdetr.datasets.transforms import load_segment_ids
from mmdetr.structures import DetDataSample


class Segmentation(NamedTuple):
    """A panoptic map to draw.

    Attributes:
        ids: [H, W].
        segment_ids: Of the segments that have a class.
        labels: Class of each.
    """

    ids: np.ndarray
    segment_ids: list[int]
    labels: list[int]


def listed_instances(data_sample: DetDataSample) -> InstanceData:
    """Take a dataset's dict(bbox, bbox_label, ignore_flag, mask) without crowds."""
    objects = [each for each in data_sample.instances if not each['ignore_flag']]
    instances = InstanceData(
        bboxes=torch.tensor([each['bbox'] for each in objects], dtype=torch.float32),
        labels=torch.tensor([each['bbox_label'] for each in objects], dtype=torch.int64),
    )
    if objects and all('mask' in each for each in objects):
        height, width = data_sample.ori_shape[:2]
        masks = [draw_mask(each['mask'], width, height) for each in objects]
        instances.masks = torch.from_numpy(np.stack(masks))
    return instances


def mask_arrays(instances: InstanceData) -> list[np.ndarray] | None:
    """Return the masks, bool [h, w] each, of a tensor or of run lengths; None without masks."""
    if 'masks' not in instances:
        return None
    if isinstance(instances.masks, torch.Tensor):
        return list(instances.masks.cpu().numpy().astype(bool))
    return [coco_mask.decode(mask).astype(bool) for mask in instances.masks]


def listed_segmentation(data_sample: DetDataSample) -> Segmentation | None:
    """Take the ground truth that a panoptic dataset listed, if it did.

    Raises:
        UnreadableImageError: Its PNG is missing or contradicts the annotation file.
    """
    segments = data_sample.get('segments')
    if segments is None:
        return None
    ids = data_sample.get('segment_ids')
    if ids is None:
        if 'seg_map_path' not in data_sample:
            return None
        height, width = data_sample.ori_shape[:2]
        keys = ('img_id', 'seg_map_path', 'segments')
        known: dict[str, Any] = {key: data_sample.get(key) for key in keys}
        ids = load_segment_ids(dict(known, height=height, width=width))
    return _with_pixels(ids, segments)


def predicted_segmentation(data_sample: DetDataSample) -> Segmentation | None:
    """Take the panoptic prediction, if there is one."""
    if 'pred_panoptic' not in data_sample:
        return None
    found = data_sample.pred_panoptic
    return _with_pixels(found.ids, found.segments)


def _with_pixels(ids: np.ndarray, segments: Sequence[Any]) -> Segmentation:
    present = set(np.unique(ids).tolist())
    kept = [each for each in segments if each['label'] >= 0 and each['id'] in present]
    # The largest first: it keeps its name where names would hide each other.
    areas = {each['id']: -int((ids == each['id']).sum()) for each in kept}
    kept.sort(key=lambda each: areas[each['id']])
    return Segmentation(ids, [each['id'] for each in kept], [each['label'] for each in kept])
