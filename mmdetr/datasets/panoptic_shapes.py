"""A generated panoptic set: shapes in front of ground and sky.

Legend: h w image size in pixels.
"""

from typing import Any, NamedTuple

import cv2
import numpy as np

from mmdetr.registry import DATASETS

from .panoptic_maps import segment_bboxes
from .shapes import (
    CLASSES,
    MIN_CONTRAST,
    PLACING_TRIES,
    Shape,
    ShapesDataset,
    add_masks,
    draw,
    owner_map,
    random_scene,
)

STUFF = ('ground', 'sky')
GROUND, SKY = len(CLASSES), len(CLASSES) + 1
HORIZON = (0.3, 0.7)  # of the height, where the line passes the image's middle
MAX_SLOPE = 0.3  # of the horizon
# BGR, 0..255: earth and grass below, blue to grey above.
GROUND_COLOURS = ((20, 50, 50), (70, 110, 110))
SKY_COLOURS = ((200, 170, 120), (250, 220, 200))


class Landscape(NamedTuple):
    """Ground below a line and sky above it.

    Attributes:
        is_sky: bool [h, w].
        ground, sky: [3] BGR, 0..255.
    """

    is_sky: np.ndarray
    ground: np.ndarray
    sky: np.ndarray


@DATASETS.register_module()
class PanopticShapesDataset(ShapesDataset):
    """Draw panoptic data when asked for: the things of :class:`ShapesDataset`, ground and sky.

    Pipelines start as those of :class:`ShapesDataset` do; ``instances`` are things and stuff, each
    with its ``mask``. For the panoptic metric there are ``segments``, a list of
    ``dict(id, label, iscrowd)``, and ``segment_ids`` int32 [h, w], the map of their ids.

    Args:
        num_images: Length of the set.
        **kwargs: Of :class:`ShapesDataset`.
    """

    METAINFO = dict(
        classes=(*CLASSES, *STUFF),
        cat_ids=tuple(range(1, len(CLASSES) + len(STUFF) + 1)),
        isthing=(True,) * len(CLASSES) + (False,) * len(STUFF),
    )

    def __init__(self, num_images: int, **kwargs: Any) -> None:
        if not kwargs.setdefault('with_mask', True):
            raise TypeError('PanopticShapesDataset always has masks: leave out with_mask')
        super().__init__(num_images, **kwargs)

    def load_data_list(self) -> list[dict]:
        height, width = self.image_size
        data_list = []
        for img_id in range(self.num_images):
            landscape, shapes, _ = self._panoptic_scene(img_id)
            ids, labels = _number(landscape, shapes)
            stuff = np.arange(len(shapes), len(labels)) + 1
            bboxes = segment_bboxes(ids, stuff.tolist()) + np.array([0, 0, 1, 1])
            boxes = [list(shape.bbox_xyxy) for shape in shapes] + bboxes.tolist()
            instances = [
                dict(bbox=bbox, bbox_label=label, ignore_flag=0)
                for bbox, label in zip(boxes, labels, strict=True)
            ]
            data_list.append(dict(img_id=img_id, width=width, height=height, instances=instances))
        return data_list

    def prepare_data(self, idx: int) -> Any:
        """Draw image ``idx`` and run the pipeline on it."""
        results = self.get_data_info(idx)
        landscape, shapes, rng = self._panoptic_scene(results['img_id'])
        ids, labels = _number(landscape, shapes)
        results['img'] = _draw(self.image_size, landscape, shapes, rng)
        results['img_shape'] = results['ori_shape'] = self.image_size
        add_masks(results['instances'], ids)
        results['segment_ids'] = ids
        results['segments'] = [
            dict(id=number, label=label, iscrowd=0) for number, label in enumerate(labels, start=1)
        ]
        return self.pipeline(results)

    def _panoptic_scene(self, img_id: int) -> tuple[Landscape, list[Shape], np.random.Generator]:
        """Return background, objects, and the generator from which drawing goes on."""
        rng = np.random.default_rng((self.seed, img_id))
        landscape = _random_landscape(self.image_size, rng)
        _, shapes = random_scene(self.image_size, self.min_objects, self.max_objects, rng)
        shapes = [each._replace(colour=_contrasting_colour(landscape, rng)) for each in shapes]
        return landscape, shapes, rng


def _random_landscape(image_size: tuple[int, int], rng: np.random.Generator) -> Landscape:
    height, width = image_size
    middle, slope = rng.uniform(*HORIZON), rng.uniform(-MAX_SLOPE, MAX_SLOPE)
    xs = (np.arange(width) + 0.5) / width - 0.5
    ys = (np.arange(height)[:, None] + 0.5) / height
    return Landscape(
        is_sky=ys < middle + slope * xs,
        ground=rng.uniform(*GROUND_COLOURS),
        sky=rng.uniform(*SKY_COLOURS),
    )


def _contrasting_colour(landscape: Landscape, rng: np.random.Generator) -> np.ndarray:
    """Draw at random a colour [3] that is far from ground and sky in a channel each."""
    behind = np.stack((landscape.ground, landscape.sky))
    for _ in range(PLACING_TRIES):
        colour = rng.uniform(0, 255, 3)
        if np.abs(colour - behind).max(axis=1).min() >= MIN_CONTRAST:
            break
    return colour.astype(np.float32)


def _number(landscape: Landscape, shapes: list[Shape]) -> tuple[np.ndarray, list[int]]:
    """Return the map of segments [h, w], numbered from 1 on, and the label of each."""
    ids = owner_map(landscape.is_sky.shape, shapes)
    labels = [shape.label for shape in shapes]
    for label, region in ((GROUND, ~landscape.is_sky), (SKY, landscape.is_sky)):
        free = region & (ids == 0)
        if free.any():
            labels.append(label)
            ids[free] = len(labels)
    return ids, labels


def _draw(
    image_size: tuple[int, int], landscape: Landscape, shapes: list[Shape], rng: np.random.Generator
) -> np.ndarray:
    """Paint shapes over ground and sky: uint8 [h, w, 3] BGR."""
    edge = cv2.GaussianBlur(landscape.is_sky.astype(np.float32), (3, 3), 0)[..., None]
    background = edge * landscape.sky + (1 - edge) * landscape.ground
    return draw(image_size, background, shapes, rng)
