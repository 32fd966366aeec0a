"""Write a data set as clean COCO JSON."""

import json
import os
import shutil
from pathlib import Path
from typing import Literal, TypeAlias

from .coco_files import IMAGE_ROOT
from .records import Box, Collection, FormatError, Picture
from .split import PARTS
from .statistics import first_reasons

ImageUse: TypeAlias = Literal['reference', 'link', 'copy']
IMAGES = 'images'
DIGITS = 4  # of a pixel


def common_root(collection: Collection) -> Path:
    """Return the folder that all images are below.

    Raises:
        FormatError: There are no images, or no such folder.
    """
    if not collection.pictures:
        raise FormatError(f'no image is left: {first_reasons(collection.problems)}')
    try:
        return Path(os.path.commonpath([each.path.parent for each in collection.pictures]))
    except ValueError as error:
        raise FormatError(f'the images have no folder in common: {error}') from None


def write_coco(
    collection: Collection, target: Path, root: Path, images: ImageUse = 'reference'
) -> dict[str, Path]:
    """Write a JSON file for each part, and links or copies of the images if asked for.

    Args:
        collection: Cleaned, with parts.
        target: Folder of the files; made where it is missing.
        root: ``file_name`` counts from here, or from ``images`` in the target.
        images: Whether images stay where they are, are linked or copied.

    Returns:
        The files by part.

    Raises:
        FormatError: A file is there already, or nothing can be written there.
    """
    parts = {each.split for each in collection.pictures}
    files: dict[str, Path] = {}
    for part in PARTS:
        if part in parts:
            files[part] = target / f'{part}.json'
    existing = [file for file in files.values() if file.exists()]
    if existing:
        raise FormatError(f'{existing[0]} is there already: choose another folder or remove it')
    try:
        target.mkdir(parents=True, exist_ok=True)
        if images != 'reference':
            for each in collection.pictures:
                _place(each.path, target / IMAGES / each.path.relative_to(root), images)
        for part, file in files.items():
            chosen = [each for each in collection.pictures if each.split == part]
            temporary = file.with_name(f'.{file.name}.{os.getpid()}')
            content = _content(chosen, collection.classes, root)
            if images == 'reference':
                content['info'] = {IMAGE_ROOT: str(root)}
            temporary.write_text(json.dumps(content), encoding='utf-8')
            temporary.replace(file)
    except OSError as error:
        raise FormatError(f'{target} cannot be written: {error}') from None
    return files


def _place(path: Path, target: Path, images: ImageUse) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        return
    if images == 'link':
        target.symlink_to(path)
    else:
        shutil.copy2(path, target)


def _content(pictures: list[Picture], classes: list[str], root: Path) -> dict:
    numbers = {name: number for number, name in enumerate(classes, 1)}
    images: list[dict] = []
    annotations: list[dict] = []
    for image_id, each in enumerate(pictures, 1):
        name = each.path.relative_to(root).as_posix()
        images.append(dict(id=image_id, file_name=name, width=each.width, height=each.height))
        for box in each.boxes:
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=numbers[box.name],
                    **_record(box),
                )
            )
    return dict(
        images=images,
        annotations=annotations,
        categories=[dict(id=number, name=name) for name, number in numbers.items()],
    )


def _record(box: Box) -> dict:
    x1, y1, x2, y2 = box.bbox_xyxy
    width, height = x2 - x1, y2 - y1
    record = dict(
        bbox=[round(value, DIGITS) for value in (x1, y1, width, height)],
        area=round(_area(box), DIGITS),
        iscrowd=int(box.iscrowd),
    )
    return record if box.segmentation is None else record | dict(segmentation=box.segmentation)


def _area(box: Box) -> float:
    """As stated, else that of a single polygon, else that of the box."""
    if box.area is not None:
        return box.area
    if isinstance(box.segmentation, list) and len(box.segmentation) == 1:
        xs, ys = box.segmentation[0][::2], box.segmentation[0][1::2]
        sides = zip(xs, ys, xs[1:] + xs[:1], ys[1:] + ys[:1], strict=True)
        return abs(sum(x * next_y - next_x * y for x, y, next_x, next_y in sides)) / 2
    x1, y1, x2, y2 = box.bbox_xyxy
    return (x2 - x1) * (y2 - y1)
