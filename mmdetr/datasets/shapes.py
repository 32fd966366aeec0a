"""A generated detection set: circles, rectangles and triangles on uneven ground.

Legend: h w image size in pixels, V corners of a polygon. Pixel i covers i..i+1.
"""

import math
from typing import Any, NamedTuple

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from mmdetr.registry import DATASETS
from mmdetr.structures.bboxes import Bbox, common_area
from mmdetr.utils.arguments import check_at_least

from .base import DetDataset

CLASSES = ('circle', 'rectangle', 'triangle')
CIRCLE, RECTANGLE, TRIANGLE = range(3)
UNIT_CORNERS = {
    CIRCLE: [],
    RECTANGLE: [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)],
    TRIANGLE: [(0.0, -0.5), (0.5, 0.5), (-0.5, 0.5)],
}

SIZE_RANGE = (0.22, 0.55)  # of the image's short side
MAX_STRETCH = 1.7  # of width against height
MAX_TILT = 0.25  # radians
MAX_OVERLAP = 0.15  # of the smaller of two boxes
MIN_CONTRAST = 100  # of 255, in at least one colour channel
PLACING_TRIES = 50
SMALLEST_IMAGE = 8  # pixels; the shapes of a smaller one are no shapes


class Shape(NamedTuple):
    """One object of a scene.

    Attributes:
        label: CIRCLE, RECTANGLE or TRIANGLE.
        bbox_xyxy: Smallest box around the shape, pixels.
        corners: x, y of a polygon's V corners, clockwise as seen on the screen; none for a circle.
        colour: [3] BGR, 0..255.
    """

    label: int
    bbox_xyxy: Bbox
    corners: list[tuple[float, float]]
    colour: np.ndarray


@DATASETS.register_module()
class ShapesDataset(DetDataset):
    """Draw detection data when asked for; nothing is downloaded or stored.

    Image i depends on (``seed``, i) alone, whichever process draws it. Pipelines start without a
    loading step: ``img`` uint8 [h, w, 3] BGR, ``img_shape`` and ``ori_shape`` are there already.
    There is no ``img_path``. Boxes are exact to a fraction of a pixel.

    Args:
        num_images: Length of the set.
        image_size: (h, w), 8 pixels or more each.
        min_objects: Fewest objects in an image, inclusive; an image without room holds fewer.
        max_objects: Most objects in an image, inclusive.
        seed: Sets with different seeds have no image in common, as training and validation need.
        with_mask: Give each instance its ``mask``, the run lengths of its visible part. Pixels
            belong to the shape that their centre lies in.
        **kwargs: ``pipeline``, ``test_mode``, ``indices``, ``serialize_data``, ``lazy_init`` of
            mmengine's ``BaseDataset``.
    """

    METAINFO = dict(classes=CLASSES, cat_ids=tuple(range(1, len(CLASSES) + 1)))

    def __init__(
        self,
        num_images: int,
        image_size: tuple[int, int] = (64, 64),
        min_objects: int = 1,
        max_objects: int = 3,
        seed: int = 0,
        with_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        if num_images < 1 or not 0 <= min_objects <= max_objects:
            raise ValueError(
                'ShapesDataset needs num_images >= 1 and 0 <= min_objects <= max_objects, got '
                f'{num_images}, {min_objects}, {max_objects}'
            )
        self.num_images = num_images
        height, width = image_size
        check_at_least(SMALLEST_IMAGE, 'ShapesDataset', height=height, width=width)
        check_at_least(0, 'ShapesDataset', seed=seed)
        self.image_size = (height, width)
        self.min_objects = min_objects
        self.max_objects = max_objects
        self.seed = seed
        self.with_mask = with_mask
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        height, width = self.image_size
        data_list = []
        for img_id in range(self.num_images):
            _, shapes, _ = self._scene(img_id)
            instances = [
                dict(bbox=list(shape.bbox_xyxy), bbox_label=shape.label, ignore_flag=0)
                for shape in shapes
            ]
            data_list.append(dict(img_id=img_id, width=width, height=height, instances=instances))
        return data_list

    def prepare_data(self, idx: int) -> Any:
        """Draw image ``idx`` and run the pipeline on it."""
        results = self.get_data_info(idx)
        background, shapes, rng = self._scene(results['img_id'])
        results['img'] = draw(self.image_size, background, shapes, rng)
        results['img_shape'] = results['ori_shape'] = self.image_size
        if self.with_mask:
            add_masks(results['instances'], owner_map(self.image_size, shapes))
        return self.pipeline(results)

    def _scene(self, img_id: int) -> tuple[np.ndarray, list[Shape], np.random.Generator]:
        """Return background, objects, and the generator from which drawing goes on."""
        rng = np.random.default_rng((self.seed, img_id))
        scene = random_scene(self.image_size, self.min_objects, self.max_objects, rng)
        return *scene, rng


def random_scene(
    image_size: tuple[int, int], min_objects: int, max_objects: int, rng: np.random.Generator
) -> tuple[np.ndarray, list[Shape]]:
    """Draw at random a background colour [3] and objects, the hindmost first."""
    background = rng.uniform(40, 215, 3)
    shapes: list[Shape] = []
    for _ in range(rng.integers(min_objects, max_objects + 1)):
        for _ in range(PLACING_TRIES):
            label, bbox, corners = _random_outline(image_size, rng)
            if all(overlap(bbox, other.bbox_xyxy) <= MAX_OVERLAP for other in shapes):
                colour = _contrasting_colour(background, rng)
                shapes.append(Shape(label, bbox, corners, colour))
                break
    return background, shapes


def draw(
    image_size: tuple[int, int],
    background: np.ndarray,
    shapes: list[Shape],
    rng: np.random.Generator,
) -> np.ndarray:
    """Paint shapes over a mottled background and add grain: uint8 [h, w, 3] BGR.

    The background is a colour [3] or a picture [h, w, 3], 0..255.
    """
    height, width = image_size
    is_colour = background.ndim == 1
    mottle = (background if is_colour else 0) + rng.uniform(-35, 35, (5, 5, 3))
    img = np.asarray(
        cv2.resize(mottle.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC),
        dtype=np.float32,
    )
    if not is_colour:
        img += background
    for shape in shapes:
        _paint(img, shape)
    img += 6 * rng.standard_normal((height, width, 1), dtype=np.float32)
    return img.clip(0, 255).astype(np.uint8)


def _random_outline(
    image_size: tuple[int, int], rng: np.random.Generator
) -> tuple[int, Bbox, list[tuple[float, float]]]:
    """Draw at random label, box and corners of a shape that lies wholly inside the image."""
    height, width = image_size
    # Plain floats: arrays of four numbers would take most of the time of a whole image.
    kind, size, stretch, tilt, across, down = rng.random(6).tolist()
    label = int(kind * len(CLASSES))
    size = min(image_size) * (SIZE_RANGE[0] + size * (SIZE_RANGE[1] - SIZE_RANGE[0]))
    stretch = MAX_STRETCH ** (stretch - 0.5)
    tilt = MAX_TILT * (2 * tilt - 1)
    cos, sin = math.cos(tilt), math.sin(tilt)
    outline = [
        (size * stretch * x * cos - size / stretch * y * sin,
         size * stretch * x * sin + size / stretch * y * cos)
        for x, y in UNIT_CORNERS[label]
    ]  # fmt: skip
    xs, ys = zip(*outline or [(-size / 2, -size / 2), (size / 2, size / 2)], strict=True)
    x_min, y_min = min(xs), min(ys)
    box_width, box_height = max(xs) - x_min, max(ys) - y_min
    left, top = across * (width - box_width), down * (height - box_height)
    bbox = (left, top, min(left + box_width, width), min(top + box_height, height))
    corners = [(x - x_min + left, y - y_min + top) for x, y in outline]
    return label, bbox, corners


def _contrasting_colour(background: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    colour = rng.uniform(0, 255, 3)
    if np.abs(colour - background).max() < MIN_CONTRAST:
        channel = int(rng.integers(3))
        darker = background[channel] > 127
        colour[channel] = background[channel] + (-MIN_CONTRAST if darker else MIN_CONTRAST)
    return colour.astype(np.float32)


def overlap(first: Bbox, second: Bbox) -> float:
    """Return the common area of two boxes as a part of the smaller box."""
    smaller = min((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (first, second))
    return common_area(first, second) / smaller


def owner_map(image_size: tuple[int, int], shapes: list[Shape]) -> np.ndarray:
    """Say whose each pixel is: int32 [h, w], the number of a shape from 1 on, 0 for the ground."""
    owners = np.zeros(image_size, dtype=np.int32)
    for number, shape in enumerate(shapes, start=1):
        rows, columns, distance = _edge_distance(shape)
        owners[rows, columns][distance <= 0] = number
    return owners


def add_masks(instances: list[dict], owners: np.ndarray) -> None:
    """Give instance i the pixels that have number i + 1 in a map [h, w]."""
    for number, instance in enumerate(instances, start=1):
        mask = np.asfortranarray(owners == number)
        instance['mask'] = coco_mask.encode(mask.view(np.uint8))


def _paint(img: np.ndarray, shape: Shape) -> None:
    """Blend one shape into float32 [h, w, 3]; edges cover their pixels in part."""
    rows, columns, distance = _edge_distance(shape)
    # It approximates how much of a pixel the shape covers.
    cover = (0.5 - distance).clip(0, 1)[..., None]
    patch = img[rows, columns]
    patch += cover * (shape.colour - patch)


def _edge_distance(shape: Shape) -> tuple[slice, slice, np.ndarray]:
    """Return rows and columns around a shape, and each pixel's distance to its edge in pixels.

    The distance is that of the centre, negative inside.
    """
    x1, y1, x2, y2 = shape.bbox_xyxy
    columns = slice(math.floor(x1), math.ceil(x2))
    rows = slice(math.floor(y1), math.ceil(y2))
    xs = np.arange(columns.start, columns.stop, dtype=np.float32) + 0.5
    ys = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + 0.5
    if shape.label == CIRCLE:
        distance = np.hypot(xs - (x1 + x2) / 2, ys - (y1 + y2) / 2) - (x2 - x1) / 2
    else:
        distance = np.full((1, 1), -np.inf, dtype=np.float32)
        edges = zip(shape.corners, shape.corners[1:] + shape.corners[:1], strict=True)
        for (start_x, start_y), (end_x, end_y) in edges:
            length = math.hypot(end_x - start_x, end_y - start_y)
            normal_x, normal_y = (end_y - start_y) / length, (start_x - end_x) / length
            outward = (xs - start_x) * normal_x + (ys - start_y) * normal_y
            distance = np.maximum(distance, outward)
    return rows, columns, distance
