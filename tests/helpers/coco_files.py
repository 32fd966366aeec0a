"""Small COCO data sets on disk."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CATEGORIES = [dict(id=7, name='dog'), dict(id=2, name='cat'), dict(id=90, name='bird')]


def image(image_id: int | str, width: int = 100, height: int = 80) -> dict:
    return dict(id=image_id, file_name=f'{image_id}.png', width=width, height=height)


def annotation(ann_id: int, image_id: int | str, cat_id: int, bbox: Sequence, **more) -> dict:
    return dict(id=ann_id, image_id=image_id, category_id=cat_id, bbox=list(bbox), **more)


def write_coco(folder: Path, images: list, annotations: list, categories=CATEGORIES) -> str:
    """Writes coco.json and returns its path."""
    path = folder / 'coco.json'
    content = dict(images=images, annotations=annotations, categories=categories)
    path.write_text(json.dumps(content))
    return str(path)


def write_images(folder: Path, images: list) -> None:
    """One file of random pixels per image."""
    for number, info in enumerate(images):
        shape = (info['height'], info['width'], 3)
        pixels = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / info['file_name'])
