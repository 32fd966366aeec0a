"""Read the PNG of an image's segments and make boxes and masks of it."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform

from mmdetr.datasets.panoptic_maps import (
    find_contradiction,
    read_panoptic_png,
    segment_bboxes,
    segment_masks,
)
from mmdetr.registry import TRANSFORMS
from mmdetr.utils.image_decoding import UnreadableImageError


@TRANSFORMS.register_module()
class LoadPanopticAnnotations(BaseTransform):
    """Make an object of each segment, crowds included: boxes, labels and masks from the PNG.

    Boxes are the first and last columns and rows of a segment, as the authors have them: one pixel
    narrower than it; the box of a single pixel has no size.

    Required keys: ``seg_map_path``, ``segments``, ``width``, ``height``.
    Added keys: ``gt_bboxes`` float32 [M, 4] absolute xyxy, ``gt_bboxes_labels`` int64 [M] and, if
    asked for, ``gt_masks`` bool [M, h, w], in the order of the annotation file.

    Args:
        with_mask: Give the objects masks.

    Raises:
        UnreadableImageError: The PNG is missing, broken, of another size than the image, or its
            ids are not those of the annotation file.

    Source: facebookresearch/detr, datasets/coco_panoptic.py.
    """

    def __init__(self, with_mask: bool = False) -> None:
        self.with_mask = with_mask

    def transform(self, results: dict) -> dict:
        ids = load_segment_ids(results)
        kept = [each for each in results['segments'] if each['label'] >= 0]
        segment_ids = [each['id'] for each in kept]
        results['gt_bboxes'] = segment_bboxes(ids, segment_ids)
        results['gt_bboxes_labels'] = np.array([each['label'] for each in kept], dtype=np.int64)
        if self.with_mask:
            results['gt_masks'] = segment_masks(ids, segment_ids)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(with_mask={self.with_mask})'


def load_segment_ids(results: dict) -> np.ndarray:
    """Return the ids of an image's segments, int32 [h, w], read from ``seg_map_path``.

    Raises:
        UnreadableImageError: See :class:`LoadPanopticAnnotations`.
    """
    if 'seg_map_path' not in results:
        raise ValueError(
            f'image id {results.get("img_id")} has no panoptic PNG: LoadPanopticAnnotations and '
            'CocoPanopticMetric need the data of a CocoPanopticDataset'
        )
    path = results['seg_map_path']
    segment_ids: Sequence[int] = [each['id'] for each in results['segments']]
    try:
        ids = read_panoptic_png(path, (results['height'], results['width']))
    except ValueError as error:
        raise UnreadableImageError(f'image id {results.get("img_id")}: {error}') from error
    problem = find_contradiction(ids, segment_ids)
    if problem:
        raise UnreadableImageError(
            f'image id {results.get("img_id")}: panoptic PNG {path} contradicts the annotation '
            f'file: {problem}'
        )
    return ids
