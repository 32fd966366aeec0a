"""Generated pictures of several sizes as image files and COCO annotations."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2

from mmdetr.datasets import ShapesDataset

Size = tuple[int, int]


def write_coco(
    folder: Path,
    name: str,
    sizes: Sequence[Size],
    images_per_size: int,
    *,
    seed: int = 0,
    num_objects: tuple[int, int] = (1, 3),
    listed_images: int | None = None,
    extension: str = 'png',
) -> None:
    """Write image files and ``{name}.json`` that lists them, the sizes taking turns.

    Args:
        folder: Where everything goes.
        name: Of the annotation file, and first part of the images' names.
        sizes: (h, w) in pixels.
        images_per_size: Files of each size.
        seed: Sets with different seeds have no image in common.
        num_objects: Fewest and most objects in an image.
        listed_images: Length of the list, which then repeats the files; each once by default.
        extension: Format of the files.
    """
    least, most = num_objects
    datasets = [
        ShapesDataset(
            images_per_size,
            size,
            min_objects=least,
            max_objects=most,
            seed=seed * len(sizes) + number,
            pipeline=[],
        )
        for number, size in enumerate(sizes)
    ]
    files = []
    for index in range(images_per_size):
        for dataset in datasets:
            content = dataset[index]
            content['file_name'] = f'{name}{len(files):05d}.{extension}'
            cv2.imwrite(str(folder / content['file_name']), content.pop('img'))
            files.append(content)
    text = json.dumps(_annotations(files, listed_images or len(files)))
    (folder / f'{name}.json').write_text(text)


def _annotations(files: list[dict], listed_images: int) -> dict:
    images, annotations = [], []
    for image_id in range(listed_images):
        file = files[image_id % len(files)]
        images.append({key: file[key] for key in ('file_name', 'width', 'height')})
        images[-1]['id'] = image_id
        for instance in file['instances']:
            x1, y1, x2, y2 = (round(value, 2) for value in instance['bbox'])
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=instance['bbox_label'] + 1,
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=(x2 - x1) * (y2 - y1),
                    iscrowd=0,
                )
            )
    categories = [
        dict(id=number, name=name)
        for number, name in enumerate(ShapesDataset.METAINFO['classes'], start=1)
    ]
    return dict(images=images, annotations=annotations, categories=categories)
