"""Small COCO data sets on disk."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CATEGORIES = [dict(id=7, name='dog'), dict(id=2, name='cat'), dict(id=90, name='bird')]


def image(image_id: int | str, width: int = 100, height: int = 80) -> dict:
    return dict(id=image_id, file_name=f'{image_id}.png', width=width, height=height)


def annotation(ann_id: int, image_id: int | str, cat_id: int, bbox: Sequence, **more) -> dict:
    return dict(id=ann_id, image_id=image_id, category_id=cat_id, bbox=list(bbox), **more)


def write_coco(folder: Path, images: list, annotations: list, categories=CATEGORIES) -> str:
    """Write coco.json and return its path."""
    path = folder / 'coco.json'
    content = dict(images=images, annotations=annotations, categories=categories)
    path.write_text(json.dumps(content))
    return str(path)


def write_images(folder: Path, images: list) -> None:
    """Write a file of random pixels for each image."""
    for number, info in enumerate(images):
        shape = (info['height'], info['width'], 3)
        pixels = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / info['file_name'])


# A small set without faults: images of 100 x 80 pixels, the last without an object.
GOOD_IMAGES = [image(i) for i in range(1, 5)]
GOOD_ANNOTATIONS = [
    annotation(1, 1, 7, [10, 10, 20, 20]),
    annotation(2, 2, 2, [60, 40, 30, 30]),
    annotation(3, 3, 90, [5, 5, 90, 70]),
]


def coco_content(dataset: Any) -> dict:
    """Write down a built dataset as the content of a COCO file; pictures are <img_id>.png."""
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    cat_ids = dataset.metainfo['cat_ids']
    annotations: list[dict] = []
    for info in infos:
        for each in info['instances']:
            x1, y1, x2, y2 = each['bbox']
            bbox = [x1, y1, x2 - x1, y2 - y1]
            number, cat_id = len(annotations) + 1, cat_ids[each['bbox_label']]
            more = dict(area=bbox[2] * bbox[3], iscrowd=each['ignore_flag'])
            annotations.append(annotation(number, info['img_id'], cat_id, bbox, **more))
    return dict(
        images=[image(info['img_id'], info['width'], info['height']) for info in infos],
        annotations=annotations,
        categories=[
            dict(id=cat_id, name=name)
            for cat_id, name in zip(cat_ids, dataset.metainfo['classes'], strict=True)
        ],
    )
