"""The authors' panoptic case on disk: three pictures with crowds, void and a segment of one pixel.

``tests/data/reference_masks/data.json`` holds categories, images, annotations, predictions and
panopticapi's PQ; ``data.npz`` maps of ids (``gt_ids{i}``, ``pred_ids{i}``) and the targets of the
authors' ``CocoPanoptic``: ``target{i}_*`` as read, ``resized{i}_*``, ``cropped_flipped{i}_*``;
masks are packed along their width.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = Path(__file__).parents[1] / 'data' / 'reference_masks'


def read_panoptic_case() -> tuple[dict, dict[str, np.ndarray]]:
    """Meta data and arrays."""
    meta = json.loads((FOLDER / 'data.json').read_text())
    with np.load(FOLDER / 'data.npz') as arrays:
        return meta, dict(arrays)


def write_ids(path: Path, ids: np.ndarray) -> None:
    """Write ids [h, w] as a PNG, by other means than mmdetr."""
    height, width = ids.shape
    pixels = ids.astype('<u4').tobytes()
    Image.frombytes('RGBX', (width, height), pixels).convert('RGB').save(path)


def write_panoptic(folder: Path, meta: dict, arrays: dict[str, np.ndarray]) -> str:
    """Write images (their ids as colours), PNGs and JSON; return the path of the JSON."""
    (folder / 'images').mkdir()
    (folder / 'maps').mkdir()
    for i, (image, annotation) in enumerate(zip(meta['images'], meta['annotations'], strict=True)):
        write_ids(folder / 'images' / image['file_name'], arrays[f'gt_ids{i}'])
        write_ids(folder / 'maps' / annotation['file_name'], arrays[f'gt_ids{i}'])
    path = folder / 'panoptic.json'
    # Annotations in another order than images: they belong together by image_id.
    content = dict(
        categories=meta['categories'],
        images=[meta['images'][i] for i in (2, 0, 1)],
        annotations=[meta['annotations'][i] for i in (1, 2, 0)],
    )
    path.write_text(json.dumps(content))
    return str(path)
