"""Damaged data of other tools are refused in words or read; nothing else comes of them."""

import contextlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from mmdetr.datasets.coco_json import read_coco_json
from mmdetr.datasets.formats import FormatError, convert
from tests.helpers.foreign_data import coco_json, picture, voc_xml, write

ROUNDS = 40


def yolo(folder: Path) -> list[Path]:
    rows = '0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.3 0.1 0.3 0.5\n'
    labels = [write(folder / f'labels/{name}.txt', rows) for name in 'abc']
    return [*labels, write(folder / 'data.yaml', 'path: .\ntrain: images\nnames: [cat, dog]\n')]


def voc(folder: Path) -> list[Path]:
    boxes = [('cat', 1, 2, 30, 40), ('dog', 50, 20, 90, 60)]
    return [voc_xml(folder / f'xml/{name}.xml', boxes) for name in 'abc']


def coco(folder: Path) -> list[Path]:
    images = [
        dict(id=i, file_name=f'images/{name}.jpg', width=100, height=80)
        for i, name in enumerate('abc')
    ]
    boxes = [dict(id=i, image_id=i % 3, category_id=i % 2, bbox=[1, 2, 9, i]) for i in range(1, 7)]
    return [coco_json(folder / 'labels.json', images, boxes, ['cat', 'dog'])]


JUNK = (None, 'x', -1, 1e999, 10**30, [], {}, [[]], True, '', [1, 2], 0.5)
PIECES = (b'nan', b'-', b'1e999', b'\x00', b'<', b'[', b'"')


def damage_bytes(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(changed))
        kind = draw.randrange(4)
        if kind == 0:
            changed[place] = draw.randrange(256)
        elif kind == 1:
            del changed[place : place + draw.randint(1, 30)]
        elif kind == 2:
            changed[place:place] = draw.choice(PIECES)
        else:
            changed[place:place] = changed[: draw.randint(1, 60)]
        changed = changed or bytearray(b' ')
    return bytes(changed)


def damage_values(content: bytes, draw: random.Random) -> bytes:
    """Put something else in the place of a value of a JSON file, or take its key out."""
    tree = json.loads(content)
    for _ in range(draw.randint(1, 3)):
        record = draw.choice([each for records in tree.values() for each in records])
        key = draw.choice(list(record) or ['id'])
        if draw.random() < 0.3:
            record.pop(key, None)
        else:
            record[key] = draw.choice(JUNK)
    return json.dumps(tree).encode()


@pytest.mark.parametrize(
    ('make', 'damage'),
    [(yolo, damage_bytes), (voc, damage_bytes), (coco, damage_bytes), (coco, damage_values)],
)
def test_damage_anywhere(tmp_path: Path, make: Any, damage: Any) -> None:
    draw = random.Random(make.__name__)
    folder = tmp_path / 'data'
    for name in 'abc':
        picture(folder / f'images/{name}.jpg')
    files = make(folder)
    whole = {file: file.read_bytes() for file in files}
    converted = 0
    for number in range(ROUNDS):
        file = draw.choice(files)
        file.write_bytes(damage(whole[file], draw))
        target = tmp_path / f'out{number}'
        with contextlib.suppress(FormatError):
            done = convert(folder, target)
            converted += 1
            for each in done.collection.pictures:
                for box in each.boxes:
                    x1, y1, x2, y2 = box.bbox_xyxy
                    assert 0 <= x1 < x2 <= each.width
                    assert 0 <= y1 < y2 <= each.height
            for written in done.files.values():
                read_coco_json(str(written))
        shutil.rmtree(target, ignore_errors=True)
        file.write_bytes(whole[file])
    assert converted > ROUNDS / 8 or (make, damage) == (coco, damage_bytes)
