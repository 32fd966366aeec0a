"""Bring boxes into their images and count what is dropped or changed."""

import math
from collections.abc import Iterable

from mmdetr.datasets.coco_masks import segmentation_problem

from .records import Box, Picture, Problems

# What rounding in the files moves an edge, in pixels; no repair that anyone has to look at.
ROUNDING = 0.1


def clean_pictures(pictures: Iterable[Picture], problems: Problems) -> None:
    """Order corners, clip, drop what has no area left and what stands twice; in place."""
    for picture in pictures:
        kept: dict[tuple, Box] = {}
        for box in picture.boxes:
            if not _clean(box, picture.width, picture.height, problems):
                continue
            key = (box.name, *(round(edge, 2) for edge in box.bbox_xyxy))
            if key in kept:
                problems.dropped['boxes that stand twice'].append(box.place)
            else:
                kept[key] = box
        picture.boxes = list(kept.values())


def _clean(box: Box, width: int, height: int, problems: Problems) -> bool:
    """Repair a box in place; False where nothing of it is left."""
    if not all(map(math.isfinite, box.bbox_xyxy)):
        problems.dropped['boxes with a coordinate that is no number'].append(box.place)
        return False
    x1, y1, x2, y2 = box.bbox_xyxy
    if x1 > x2 or y1 > y2:
        x1, x2, y1, y2 = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
        problems.repaired['boxes whose corners were exchanged'].append(box.place)
    if x1 == x2 or y1 == y2:
        problems.dropped['boxes without area'].append(box.place)
        return False
    clipped = _clip(x1, width), _clip(y1, height), _clip(x2, width), _clip(y2, height)
    # What one pixel in float32 cannot tell from nothing is none.
    if clipped[2] - clipped[0] < 1e-3 or clipped[3] - clipped[1] < 1e-3:
        inside = x1 >= 0 and x2 <= width and y1 >= 0 and y2 <= height
        reason = 'boxes without area' if inside else 'boxes outside of their image'
        problems.dropped[reason].append(box.place)
        return False
    moved = max(abs(a - b) for a, b in zip(clipped, (x1, y1, x2, y2), strict=True))
    if moved > ROUNDING:
        problems.repaired['boxes clipped to their image'].append(box.place)
    box.bbox_xyxy = clipped
    if box.segmentation is not None:
        trouble = segmentation_problem(box.segmentation, width, height)
        if trouble is not None:
            problems.repaired[f'boxes that lost their mask ({trouble})'].append(box.place)
            box.segmentation = None
    return True


def _clip(value: float, side: int) -> float:
    return min(max(value, 0.0), float(side))
