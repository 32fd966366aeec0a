"""Data sets as other tools write them, with pictures of one colour."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

SIZE = (100, 80)


def picture(path: Path, size: tuple[int, int] = SIZE, orientation: int | None = None) -> Path:
    """Write a picture whose content follows from its name, turned by EXIF if asked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new('RGB', size, tuple(path.stem.encode()[-3:].rjust(3, b'x')))
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def voc_xml(
    path: Path,
    boxes: Iterable[tuple] = (),
    size: tuple[int, int] | None = SIZE,
    filename: str | None = None,
    database: str = 'Unknown',
) -> Path:
    """Write an XML file; each box is name, xmin, ymin, xmax, ymax and stands in its own line."""
    rows = [
        f'<annotation><filename>{filename or path.stem + ".jpg"}</filename>',
        f'<source><database>{database}</database></source>',
    ]
    if size is not None:
        rows.append(f'<size><width>{size[0]}</width><height>{size[1]}</height></size>')
    for name, *edges in boxes:
        keys = zip(('xmin', 'ymin', 'xmax', 'ymax'), edges, strict=True)
        inner = ''.join(f'<{key}>{value}</{key}>' for key, value in keys)
        rows.append(f'<object><name>{name}</name><bndbox>{inner}</bndbox></object>')
    return write(path, '\n'.join([*rows, '</annotation>']))


def coco_json(
    path: Path,
    images: Sequence[dict],
    annotations: Sequence[dict],
    names: Sequence[str] | dict[int, str],
) -> Path:
    by_id = names if isinstance(names, dict) else dict(enumerate(names))
    categories = [
        dict(id=number, name=name, supercategory='none') for number, name in by_id.items()
    ]
    content = dict(images=images, annotations=annotations, categories=categories)
    return write(path, json.dumps(content))


def boxes_of(collection: object) -> dict[str, list[tuple]]:
    """Names and rounded edges of the boxes by file name."""
    pictures = collection.pictures  # type: ignore[attr-defined]
    return {
        each.path.name: [
            (box.name, *(round(edge, 3) for edge in box.bbox_xyxy)) for box in each.boxes
        ]
        for each in pictures
    }
