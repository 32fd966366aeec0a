"""The authors' random crop."""

import numpy as np
from mmcv.transforms import BaseTransform

from mmdetr.registry import TRANSFORMS

from .object_fields import keep_objects


@TRANSFORMS.register_module()
class RandomCrop(BaseTransform):
    """Cut out a random rectangle, each side drawn on its own between two limits.

    Boxes are shifted and clipped, masks cut. Objects whose box has no area left are dropped with
    all their fields (see :mod:`~.object_fields`). The crop may hold no object at all, and a mask
    may be empty where a corner of the box is left: the authors keep both.

    Required keys: ``img``; the fields of the objects are optional.
    Modified keys: all of these and ``img_shape``.

    Args:
        min_size: Shortest side in pixels, inclusive; a shorter side of the image stays whole.
        max_size: Longest side in pixels, inclusive.

    Source: facebookresearch/detr, datasets/transforms.py, RandomSizeCrop. mmdetection's
    ``RandomCrop(crop_type='absolute_range', crop_size=(384, 600))`` does the same.
    """

    def __init__(self, min_size: int, max_size: int) -> None:
        if not 0 < min_size <= max_size:
            raise ValueError(f'RandomCrop needs 0 < min_size <= max_size, got {min_size, max_size}')
        self.min_size = min_size
        self.max_size = max_size

    def transform(self, results: dict) -> dict:
        height, width = results['img'].shape[:2]
        top, crop_height = self._span(height)
        left, crop_width = self._span(width)
        results['img'] = results['img'][top : top + crop_height, left : left + crop_width]
        results['img_shape'] = (crop_height, crop_width)
        if results.get('gt_masks') is not None:
            masks = results['gt_masks']
            results['gt_masks'] = masks[:, top : top + crop_height, left : left + crop_width]
        if results.get('gt_bboxes') is not None:
            self._crop_bboxes(results, left, top)
        return results

    def _span(self, length: int) -> tuple[int, int]:
        """Draw start and size of the crop along one axis."""
        size = np.random.randint(min(self.min_size, length), min(self.max_size, length) + 1)
        return np.random.randint(length - size + 1), size

    @staticmethod
    def _crop_bboxes(results: dict, left: int, top: int) -> None:
        height, width = results['img_shape']
        bboxes = results['gt_bboxes'] - np.array([left, top, left, top], dtype=np.float32)
        bboxes = bboxes.clip(0, np.array([width, height, width, height], dtype=np.float32))
        results['gt_bboxes'] = bboxes
        keep_objects(results, (bboxes[:, 2:] > bboxes[:, :2]).all(axis=1))

    def __repr__(self) -> str:
        return f'{type(self).__name__}(min_size={self.min_size}, max_size={self.max_size})'
