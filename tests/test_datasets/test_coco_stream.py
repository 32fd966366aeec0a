"""Reading block by block says what reading the whole file says, or leaves it to that."""

import io
import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmdetr.datasets import coco_stream, json_source
from mmdetr.datasets.coco_json import CocoJson, read_coco_json
from tests.helpers.coco_files import CATEGORIES, annotation, image, write_coco

pytest.importorskip('msgspec')


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: Any) -> None:
    """Blocks of a few records, so that every boundary occurs."""
    monkeypatch.setattr(json_source, 'BLOCK_BYTES', 300)
    monkeypatch.setattr(json_source, 'AHEAD_BYTES', 100)


def content(num_images: int = 30) -> dict:
    urls = [f'http://host/[{i}]}},{{.jpg' for i in range(30)]
    images = [image(i, 100 + i, 80) | dict(url=url) for i, url in enumerate(urls)]
    polygon = [[1.5, 2, 30.25, 4, 5, 6], [1, 2, 3, 4, 5, 6]]
    annotations = [
        annotation(n, n % num_images, (7, 2, 90)[n % 3], [n, 2, 3.5, 4], segmentation=polygon)
        for n in range(60)
    ]
    for n, each in enumerate(annotations):
        each |= [dict(area=7.5), dict(iscrowd=1, segmentation=dict(size=[80, 100], counts=[9]))][
            n % 2
        ]
        each |= [{}, dict(area=None), dict(iscrowd=0), dict(attributes=[{}, {'a': ['}]']}])][n % 4]
    info = dict(description='Bilder für alle', nested=[[{}], {'x': 1e5}])
    return dict(info=info, images=images, annotations=annotations, categories=CATEGORIES)


def streamed(data: bytes, **options: bool) -> dict | None:
    options = dict(need_files=True, with_segmentations=False) | options
    return coco_stream.read_stream(io.BytesIO(data), **options)


def as_lists(coco: CocoJson) -> list:
    return [each.tolist() if isinstance(each, np.ndarray) else each for each in coco]


def read_whole(path: str, monkeypatch: Any, **options: bool) -> CocoJson:
    with monkeypatch.context() as patch:
        patch.setattr(coco_stream, 'msgspec', None)
        return read_coco_json(path, **options)


@pytest.mark.parametrize('indent', [None, 2])
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig'])
@pytest.mark.parametrize('order', [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_equals_the_whole(
    tmp_path: Path, monkeypatch: Any, indent: Any, encoding: str, order: tuple
) -> None:
    given = content()
    for each in given['annotations']:
        if each.get('area', 1) is None:  # such a file is read as a whole
            del each['area']
    keys = list(given)
    text = json.dumps({keys[i]: given[keys[i]] for i in order}, indent=indent, ensure_ascii=False)
    path = tmp_path / 'coco.json'
    path.write_text(text, encoding=encoding)
    for options in (dict(), dict(with_segmentations=True), dict(need_files=False)):
        assert streamed(path.read_bytes(), **options) is not None
        assert as_lists(read_coco_json(str(path), **options)) == as_lists(
            read_whole(str(path), monkeypatch, **options)
        )


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        ('"id": 9,', '"id": 9, "id": 9,'),  # said twice
        ('"id": 9,', r'"id": 9, "\u0069d": 8,'),
        ('"categories": [', '"images": [], "categories": ['),
        ('"size": [80, 100]', '"size": [8, 9], "size": [80, 100]'),
        ('"category_id": 2,', '"category_id": true,'),
        ('"category_id": 2,', '"category_id": 2.0,'),
        ('"category_id": 2,', '"category_id": "2",'),
        ('"bbox": [6, 2', '"bbox": [6, NaN'),
        ('"bbox": [6, 2', '"bbox": [6, true'),
        ('"bbox": [6, 2', '"bbox": [6'),
        ('"iscrowd": 1', '"iscrowd": null'),
        ('"iscrowd": 1', '"iscrowd": 2'),
        ('"area": 7.5', '"area": "7.5"'),
        ('"height": 80', '"height": "80"'),
        ('"image_id": 9,', ''),
        ('"image_id": 9,', '"image_id": 9,,'),
        ('[1, 2, 3, 4, 5, 6]', '[1, 2, 3, 4, 5, 6'),
        ('Bilder', 'Bilder\udcff'),  # no UTF-8
        ('host/[3]', 'host/\udcff'),
    ],
)
@pytest.mark.parametrize('times', [1, 100])
def test_what_is_not_plain_is_left_to_the_whole(old: str, new: str, times: int) -> None:
    text = json.dumps(content(), ensure_ascii=False)
    assert old in text
    data = text.replace(old, new, times).encode(errors='surrogateescape')
    assert streamed(data, with_segmentations=True) is None


def test_damage_anywhere(tmp_path: Path, monkeypatch: Any) -> None:
    """The same answer, or the same refusal, with and without the fast reader."""
    rng = random.Random(0)
    given = content()
    given['images'], given['annotations'] = given['images'][:6], given['annotations'][:12]
    for each in given['annotations']:
        each['image_id'] %= 6
        each.pop('area', None)
    good = json.dumps(given, ensure_ascii=False).encode()
    pieces = [b'"', b'{', b'}', b']', b'[', b',', b'\\', b'1', b'-', b'.', b'},{', b'}]', b' ', b'']
    path, fast = tmp_path / 'coco.json', 0
    for _ in range(400):
        start = rng.randrange(len(good))
        data = good[:start] + rng.choice(pieces) + good[start + rng.choice([0, 1, 3]) :]
        path.write_bytes(data[: rng.choice([len(data), len(data), start])])
        fast += streamed(path.read_bytes()) is not None
        answers = []
        for read in (read_coco_json, lambda path: read_whole(path, monkeypatch)):
            try:
                answers.append(repr(as_lists(read(str(path)))))
            except ValueError as error:
                answers.append(str(error))
        assert answers[0] == answers[1]
    assert fast > 20


def test_the_file_is_never_in_memory_as_a_whole(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(json_source, 'BLOCK_BYTES', 2**16)
    polygon = [[n / 4 for n in range(400)]]
    annotations = [annotation(n, 1, 7, [1, 2, 3, 4], segmentation=polygon) for n in range(1500)]
    path = write_coco(tmp_path, [image(1)], annotations)
    tracemalloc.start()
    read_coco_json(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.5 * Path(path).stat().st_size
