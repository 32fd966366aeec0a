"""The objects of a CocoDataset: cleaned boxes, and the dicts of each image."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

# COCO states hundredths of a pixel, so a box at the border may pass it by that much.
CLIP_TOLERANCE = 0.01


class Objects(NamedTuple):
    """The objects that a dataset keeps, as columns of length M.

    Attributes:
        image_indices: [M] position of the object's image in the list of images.
        labels: [M] 0..K-1.
        bboxes_xyxy: [M, 4] in pixels.
        iscrowd: [M] bool.
        areas: [M] in pixels, as stated.
        segmentations: Polygons or RLE of each; None where nobody asked for them.
    """

    image_indices: np.ndarray
    labels: np.ndarray
    bboxes_xyxy: np.ndarray
    iscrowd: np.ndarray
    areas: np.ndarray
    segmentations: list | None = None


class DataList(Sequence):
    """Images with their objects as mmengine's datasets list them; each dict is made when asked for.

    All of them at once are most of the memory that reading COCO would take.

    Args:
        images: Dicts with ``id``, ``width`` and ``height``.
        paths: Of their files.
        objects: Of all images.
    """

    def __init__(self, images: list[dict], paths: list[str], objects: Objects) -> None:
        self._images, self._paths = images, paths
        # Within an image objects keep the order of the file.
        order = np.argsort(objects.image_indices, kind='stable')
        indices = objects.image_indices[order]
        self._ends = np.searchsorted(indices, np.arange(len(images)), side='right')
        self._labels = objects.labels[order]
        self._bboxes = objects.bboxes_xyxy[order]
        self._iscrowd = objects.iscrowd[order]
        self._areas = objects.areas[order]
        given = objects.segmentations
        self._segmentations = None if given is None else [given[row] for row in order.tolist()]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        image, path = self._images[index], self._paths[index]
        index %= len(self)
        rows = slice(self._ends[index - 1] if index else 0, self._ends[index])
        return dict(
            img_id=image['id'],
            img_path=path,
            width=image['width'],
            height=image['height'],
            instances=self._instances(rows),
        )

    def clear(self) -> None:
        """Free the memory; mmengine asks for it when it has all dicts in another form."""
        self._images, self._paths = [], []
        self._ends = self._ends[:0].copy()
        self._labels = self._bboxes = self._iscrowd = self._areas = self._ends
        self._segmentations = None

    def _instances(self, rows: slice) -> list[dict]:
        instances = [
            dict(bbox=bbox, bbox_label=label, ignore_flag=int(crowd), area=area)
            for bbox, label, crowd, area in zip(
                self._bboxes[rows].tolist(),
                self._labels[rows].tolist(),
                self._iscrowd[rows].tolist(),
                self._areas[rows].tolist(),
                strict=True,
            )
        ]
        if self._segmentations is not None:
            for instance, mask in zip(instances, self._segmentations[rows], strict=True):
                instance['mask'] = mask
        return instances


def clean_bboxes(
    bboxes_xywh: np.ndarray, image_sizes: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Clip boxes to their images and find those without use.

    Args:
        bboxes_xywh: [M, 4] left, top, width, height in pixels.
        image_sizes: [M, 2] width and height of each box's image.

    Returns:
        [M, 4] clipped xyxy, and [M] bool masks by problem: ``non-finite``, ``zero size`` and
        ``outside`` are to be dropped, ``clipped`` lost a part. A box has one problem at most.
    """
    # Values too large for arithmetic are non-finite or outside, and are reported as such.
    with np.errstate(over='ignore', invalid='ignore'):
        finite = np.isfinite(bboxes_xywh).all(axis=1)
        top_left, size = bboxes_xywh[:, :2], bboxes_xywh[:, 2:]
        bboxes = np.concatenate((top_left, top_left + size), axis=1)
        clipped = bboxes.clip(0, np.tile(image_sizes, 2))
        moved = (np.abs(clipped - bboxes) > CLIP_TOLERANCE).any(axis=1)
    has_size = (size > 0).all(axis=1)
    inside = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
    # The pipeline works in float32, where a sliver may vanish.
    single = clipped.astype(np.float32)
    has_area = (single[:, 2:] > single[:, :2]).all(axis=1)
    empty = ~has_size | (inside & ~has_area)
    return clipped, {
        'non-finite': ~finite,
        'zero size': finite & empty,
        'outside': finite & ~empty & ~inside,
        'clipped': finite & ~empty & inside & moved,
    }
