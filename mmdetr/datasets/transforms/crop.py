"""The authors' random crop."""

import numpy as np
from mmcv.transforms import BaseTransform

from mmdetr.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomCrop(BaseTransform):
    """Cuts out a random rectangle; each side is drawn on its own between two limits.

    Boxes are shifted and clipped; those left without area go, their labels with them. The crop
    may hold no box at all: the authors keep such crops.

    Required keys: ``img``; ``gt_bboxes`` with ``gt_bboxes_labels`` optional.
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
        if results.get('gt_bboxes') is not None:
            self._crop_bboxes(results, left, top)
        return results

    def _span(self, length: int) -> tuple[int, int]:
        """Start and size of the crop along one axis."""
        size = np.random.randint(min(self.min_size, length), min(self.max_size, length) + 1)
        return np.random.randint(length - size + 1), size

    @staticmethod
    def _crop_bboxes(results: dict, left: int, top: int) -> None:
        height, width = results['img_shape']
        bboxes = results['gt_bboxes'] - np.array([left, top, left, top], dtype=np.float32)
        bboxes = bboxes.clip(0, np.array([width, height, width, height], dtype=np.float32))
        has_area = (bboxes[:, 2:] > bboxes[:, :2]).all(axis=1)
        results['gt_bboxes'] = bboxes[has_area]
        results['gt_bboxes_labels'] = results['gt_bboxes_labels'][has_area]

    def __repr__(self) -> str:
        return f'{type(self).__name__}(min_size={self.min_size}, max_size={self.max_size})'
