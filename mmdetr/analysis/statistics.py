"""Count what is in a dataset."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mmdetr.datasets.wrappers import leaf_datasets

# COCO's limits between small, medium and large, as the side of a square in pixels.
MEDIUM, LARGE = 32, 96


@dataclass(frozen=True)
class DataStatistics:
    """Of one dataset; crowds are counted apart.

    Attributes:
        num_images: Images.
        per_image: Objects of each image.
        per_class: Objects of each class, [K].
        images_per_class: Images with an object of each class, [K].
        sides: Square root of the area of each box, in pixels of the original image.
        crowds: Objects that stand for many.
    """

    num_images: int
    per_image: np.ndarray
    per_class: np.ndarray
    images_per_class: np.ndarray
    sides: np.ndarray
    crowds: int


def count_data(dataset: Any) -> DataStatistics:
    """Count images, objects and sizes; wrappers count what they hold, once."""
    infos = [
        leaf.get_data_info(index) for leaf in leaf_datasets(dataset) for index in range(len(leaf))
    ]
    num_classes = len(dataset.metainfo['classes'])
    per_class = np.zeros(num_classes, dtype=int)
    images_per_class = np.zeros(num_classes, dtype=int)
    sides, per_image, crowds = [], [], 0
    for info in infos:
        objects = [each for each in info['instances'] if not each['ignore_flag']]
        crowds += len(info['instances']) - len(objects)
        labels = np.array([each['bbox_label'] for each in objects], dtype=int)
        per_image.append(len(objects))
        per_class += np.bincount(labels, minlength=num_classes)
        images_per_class[np.unique(labels)] += 1
        for each in objects:
            x1, y1, x2, y2 = each['bbox']
            sides.append(float(max(x2 - x1, 0) * max(y2 - y1, 0)) ** 0.5)
    return DataStatistics(
        len(infos), np.array(per_image), per_class, images_per_class, np.array(sides), crowds
    )
