"""Annotation files of every kind: a clear error, or exactly the objects that the file states."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmdetr.datasets import CocoDataset
from mmdetr.evaluation.coco_annotations import read_annotations
from tests.helpers.coco_files import CATEGORIES, annotation, image

from . import coco_oracle as oracle
from .json_strategies import mutated, numbers, scalars, values
from .profiles import profiles

GOOD = dict(
    images=[image(1), image('a', 64, 48), image(2)],
    categories=CATEGORIES,
    annotations=[
        annotation(1, 1, 7, [10, 10, 20, 20.5], area=300, iscrowd=0),
        annotation(2, 1, 2, [0, 0, 100, 80], iscrowd=1),
        annotation(3, 'a', 90, [-5, 40, 20, 20], segmentation=[[1, 2, 3, 4]]),
        annotation(0, 'a', 2, [60.5, 0.25, 3.5, 1e-7]),
        annotation(4, 2, 7, [200, 10, 20, 20], area=10.5),
    ],
)


@st.composite
def odd_files(draw: Any) -> dict:
    """Files of the right form, with any numbers as boxes."""
    widths = st.sampled_from([1, 2, 64, 100.0, 65500, 2**31 - 1, 2**31])
    images = [
        image(number, draw(widths), draw(st.integers(1, 99)))
        for number in draw(st.lists(st.integers(-3, 3), min_size=1, max_size=3, unique=True))
    ]
    ids = [each['id'] for each in images]
    cat_ids = st.integers(-2, 300) | st.sampled_from([2**63 - 1, -(2**63), 2**63, 10**30])
    side = draw(st.sampled_from([numbers, numbers, numbers, scalars]))
    categories = [
        dict(id=number, name=f'class {number}')
        for number in draw(st.lists(cat_ids, min_size=1, max_size=3, unique=True))
    ]
    annotations = [
        annotation(
            number,
            draw(st.sampled_from(ids)),
            draw(st.sampled_from(categories))['id'],
            draw(st.lists(side, min_size=4, max_size=4)),
            **draw(st.dictionaries(st.just('iscrowd'), st.sampled_from([0, 1, True, 1.0, 2]))),
            **draw(st.dictionaries(st.just('area'), numbers | st.none())),
        )
        for number in range(draw(st.integers(0, 6)))
    ]
    return dict(images=images, categories=categories, annotations=annotations)


def as_json(content: Any) -> bytes:
    return json.dumps(content).encode()


files = st.one_of(odd_files(), mutated(GOOD), odd_files().flatmap(mutated), values).map(as_json)


@st.composite
def damaged_files(draw: Any) -> bytes:
    """Bytes that were a good file once."""
    content = as_json(GOOD)
    kind = draw(st.sampled_from(['cut', 'flip', 'insert', 'encoding']))
    place = draw(st.integers(0, len(content)))
    if kind == 'cut':
        return content[:place]
    if kind == 'flip':
        return content[:place] + draw(st.binary(min_size=1, max_size=1)) + content[place + 1 :]
    if kind == 'insert':
        return content[:place] + draw(st.binary(max_size=4)) + content[place:]
    encoding = draw(st.sampled_from(['utf-8-sig', 'utf-16', 'utf-16-be', 'utf-32', 'latin-1']))
    text = json.dumps({**GOOD, 'info': 'é'}, ensure_ascii=False)
    return text.encode(encoding)


def write(folder: Path, content: bytes) -> str:
    path = folder / 'annotations.json'
    path.write_bytes(content)
    return str(path)


def refusal(function: Any, path: str) -> str | None:
    """The message of a clear error; anything else passes through."""
    message = None
    try:
        function()
    except ValueError as error:
        if type(error) is not ValueError:
            raise
        message = str(error)
    if message is not None:
        assert message.startswith(path)
        assert len(message) < len(path) + 250, 'a file does not belong into a message'
    return message


def check_dataset(path: str, content: bytes, test_mode: bool) -> None:
    """``CocoDataset`` against the oracle."""
    parsed = oracle.parse(content)
    loaded: list[CocoDataset] = []

    def load() -> None:
        steps = [dict(type='LoadAnnotations')]
        # Serialising collects garbage, which would take most of the time.
        options = dict(pipeline=steps, test_mode=test_mode, serialize_data=False)
        loaded.append(CocoDataset(path, **options))

    valid = oracle.is_valid(parsed, need_annotations=not test_mode)
    message = refusal(load, path)
    assert (message is None) == valid, message
    if not valid:
        return
    (dataset,) = loaded
    expected, counts = oracle.objects(parsed)
    assert {reason: len(ids) for reason, ids in dataset.dirty_boxes.items()} == counts
    assert len(dataset) == len(parsed['images'])
    for index, (stated, wanted) in enumerate(zip(parsed['images'], expected, strict=True)):
        instances = dataset.get_data_info(index)['instances']
        found = [(each['bbox'], each['bbox_label'], each['ignore_flag']) for each in instances]
        assert found == wanted
        check_ground_truth(dataset[index], stated, wanted)


def check_ground_truth(sample: dict, stated: dict, wanted: list) -> None:
    """What the model would train on."""
    bboxes, labels = sample['gt_bboxes'], sample['gt_bboxes_labels']
    assert labels.tolist() == [label for _, label, crowd in wanted if not crowd]
    assert bboxes.dtype == np.float32
    assert np.isfinite(bboxes).all()
    assert (bboxes[:, 2:] > bboxes[:, :2]).all()
    assert (bboxes >= 0).all()
    assert (bboxes <= np.float32([stated['width'], stated['height']] * 2)).all()


@profiles(quick=150, long=4000)
def test_dataset(profile: Any, tmp_path: Path) -> None:
    @profile
    @given(files | damaged_files(), st.booleans())
    def check(content: bytes, test_mode: bool) -> None:
        check_dataset(write(tmp_path, content), content, test_mode)

    check()


@profiles(quick=150, long=4000)
def test_metric(profile: Any, tmp_path: Path) -> None:
    @profile
    @given(files | damaged_files())
    def check(content: bytes) -> None:
        path = write(tmp_path, content)
        parsed = oracle.parse(content)
        read: list = []
        message = refusal(lambda: read.append(read_annotations(path)), path)
        assert (message is None) == oracle.is_valid(parsed, need_files=False), message
        if message is not None:
            return
        (annotations,) = read
        assert annotations.img_ids == {each['id'] for each in parsed['images']}
        assert annotations.categories == {each['id']: each['name'] for each in parsed['categories']}
        assert [tuple(each)[:5] for each in annotations.objects] == [
            (
                each['image_id'],
                each['category_id'],
                each['bbox'],
                each['area'],
                each.get('iscrowd', 0),
            )
            for each in oracle.scored(parsed)
        ]

    check()


@pytest.mark.parametrize('opening', ['[', '{"images": ', '{"images": [{"id": '])
def test_deep_nesting_ends(tmp_path: Path, opening: str) -> None:
    path = write(tmp_path, opening.encode() * 200_000)
    for load in (CocoDataset, read_annotations):
        with pytest.raises(ValueError, match=r'annotations\.json is not valid JSON'):
            load(path)


def test_a_key_said_twice_is_refused(tmp_path: Path) -> None:
    content = as_json(GOOD)[:-1] + b', "annotations": []}'
    path = write(tmp_path, content)
    for load in (CocoDataset, read_annotations):
        with pytest.raises(ValueError, match="an object has the key 'annotations' 2 times"):
            load(path)
