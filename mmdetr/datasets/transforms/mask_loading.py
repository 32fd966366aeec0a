"""Draw the masks of an image's objects while it is loaded."""

import logging
from collections.abc import Hashable

import numpy as np
from mmengine.logging import print_log

from mmdetr.datasets.coco_masks import draw_mask
from mmdetr.utils.text import shorten

IDS_SHOWN = 10


def draw_masks(results: dict) -> np.ndarray:
    """Draw the masks of all instances: bool [M, h, w] in the frame of the original image.

    Args:
        results: ``instances`` with a ``mask`` each, ``width`` and ``height``.

    Raises:
        ValueError: An instance has no ``mask``.
    """
    width, height, instances = results['width'], results['height'], results['instances']
    masks = np.empty((len(instances), height, width), dtype=bool)
    for mask, instance in zip(masks, instances, strict=True):
        if 'mask' not in instance:
            raise ValueError(
                f'image id {results.get("img_id")}: LoadAnnotations(with_mask=True) needs a mask '
                'of each instance: set with_mask=True of the dataset'
            )
        mask[:] = draw_mask(instance['mask'], width, height)
    return masks


class EmptyMasks:
    """Count images with objects whose mask has no pixel, and say so at 1, 10, 100, ... of them.

    Such objects stay, as the authors' do: box and class are learnt, and an empty mask. Each worker
    process counts for itself.
    """

    def __init__(self) -> None:
        self._img_ids: dict[Hashable, None] = {}

    def look_at(self, img_id: Hashable, masks: np.ndarray) -> None:
        """Take note of the masks [M, h, w] of an image."""
        if img_id in self._img_ids or masks.any(axis=(1, 2)).all():
            return
        self._img_ids[img_id] = None
        count = len(self._img_ids)
        if set(str(count)[1:]) <= {'0'} and str(count)[0] == '1':
            print_log(
                f'{count} images: objects whose mask has no pixel, as polygons thinner than one; '
                'box and class are learnt all the same. Image ids '
                f'{shorten(self._img_ids, limit=IDS_SHOWN)}',
                logger='current',
                level=logging.WARNING,
            )
