"""Draw what a model is fed: objects on the image, its padding, many of them on a sheet.

Legend: H W size of a batch, h w size of an image in it.
"""

from collections.abc import Sequence

import numpy as np
from mmengine.structures import InstanceData
from PIL import Image

from mmdetr.structures import DetDataSample

from .det_visualizer import DetVisualizer
from .drawing import stacked, with_title
from .sample_parts import Segmentation

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
        max_side: Longest side to which a larger image is brought before anything is drawn.

    Returns:
        uint8 RGB.
    """
    scale = 1.0 if max_side is None else min(1.0, max_side / max(image.shape[:2]))
    part = _resized(image[: size[0], : size[1]], scale)
    sample = DetDataSample()
    if segmentation is not None and not len(instances):
        segments = zip(segmentation.segment_ids, segmentation.labels, strict=True)
        listed = [dict(id=number, label=label) for number, label in segments]
        sample.set_metainfo(dict(segments=listed, segment_ids=segmentation.ids))
    else:
        fields = dict(instances.items(), bboxes=instances.bboxes * scale)
        sample.gt_instances = InstanceData(**fields)
    drawn = visualizer.draw(part, sample, draw_pred=False)
    factor = scale * drawn.shape[0] / part.shape[0]
    canvas = _hatched(_resized(image, factor), round(size[0] * factor), round(size[1] * factor))
    height = min(canvas.shape[0], drawn.shape[0])
    width = min(canvas.shape[1], drawn.shape[1])
    canvas[:height, :width] = drawn[:height, :width]
    return with_title(canvas, title)


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
