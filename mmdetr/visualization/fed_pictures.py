"""Draw what a model is fed: objects on the image, its padding, many of them on a sheet.

Legend: H W size of a batch, h w size of an image in it.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from mmengine.structures import InstanceData
from PIL import Image

from mmdetr.structures import DetDataSample

from .det_visualizer import DetVisualizer
from .drawing import MIN_SHORT_SIDE as LEAST_SIDE
from .drawing import stacked, with_title
from .sample_parts import Segmentation, mask_arrays

GAP = 6
HATCH_PERIOD, HATCH_WIDTH = 16, 3


def draw_fed(
    visualizer: DetVisualizer,
    image: np.ndarray,
    size: tuple[int, int],
    instances: InstanceData,
    segmentation: Segmentation | None = None,
    title: str = '',
    max_side: int | None = None,
) -> np.ndarray:
    """Draw the objects of an image, its padding hatched.

    Args:
        visualizer: With the class names.
        image: uint8 [H, W, 3] RGB with padding right and below.
        size: h, w of the image without padding.
        instances: Objects in pixels of ``image``; masks cover h x w in any resolution.
        segmentation: Segments to draw where there are no objects.
        title: Text above.
        max_side: Longest side to which a larger image is brought before anything is drawn, unless
            its short side became too small for captions.

    Returns:
        uint8 RGB.
    """
    full = image.shape[:2]
    scale = 1.0 if max_side is None else min(1.0, max(max_side / max(full), LEAST_SIDE / min(full)))
    canvas = _hatched(_resized(image, scale), round(size[0] * scale), round(size[1] * scale))
    sample = DetDataSample()
    if segmentation is not None and not len(instances):
        segments = zip(segmentation.segment_ids, segmentation.labels, strict=True)
        listed = [dict(id=number, label=label) for number, label in segments]
        ids = _padded(segmentation.ids.astype(np.int32), size, full, nothing=-1)
        sample.set_metainfo(dict(segments=listed, segment_ids=ids))
    else:
        fields = dict(instances.items(), bboxes=instances.bboxes * scale)
        masks = mask_arrays(instances)
        if masks:
            padded = [_padded(mask.astype(np.uint8), size, full) for mask in masks]
            fields['masks'] = torch.from_numpy(np.stack(padded))
        sample.gt_instances = InstanceData(**fields)
    return with_title(visualizer.draw(canvas, sample, draw_pred=False), title)


def contact_sheet(pictures: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Put pictures into a grid of cells as large as the largest.

    Args:
        pictures: uint8 [., ., 3] each, row by row.
        columns: Cells of a row.

    Returns:
        uint8 RGB.
    """
    height = max(picture.shape[0] for picture in pictures) + GAP
    width = max(picture.shape[1] for picture in pictures) + GAP
    rows = []
    for first in range(0, len(pictures), columns):
        cells = [
            np.pad(
                picture,
                ((0, height - picture.shape[0]), (0, width - picture.shape[1]), (0, 0)),
                constant_values=255,
            )
            for picture in pictures[first : first + columns]
        ]
        rows.append(np.concatenate(cells, axis=1))
    return stacked(rows)


def _padded(values: np.ndarray, size: tuple[int, int], full: tuple, nothing: int = 0) -> np.ndarray:
    """Bring a map to h x w, and fill it with ``nothing`` to H x W."""
    fitted = cv2.resize(values, size[::-1], interpolation=cv2.INTER_NEAREST)
    rest = [(0, whole - part) for whole, part in zip(full, size, strict=True)]
    return np.pad(fitted, rest, constant_values=nothing)


def _resized(image: np.ndarray, scale: float) -> np.ndarray:
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    if (height, width) == image.shape[:2]:
        return np.ascontiguousarray(image)
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def _hatched(canvas: np.ndarray, height: int, width: int) -> np.ndarray:
    """Draw lines over what is below ``height`` and right of ``width``."""
    rows, columns = np.indices(canvas.shape[:2])
    padding = (rows >= height) | (columns >= width)
    lines = padding & ((rows + columns) % HATCH_PERIOD < HATCH_WIDTH)
    hatched = canvas.copy()
    hatched[lines] = 255
    return hatched
