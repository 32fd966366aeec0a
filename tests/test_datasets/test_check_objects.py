"""What the objects of a file show that are well-formed and wrong all the same."""

from pathlib import Path
from typing import Any

import pytest

from mmdetr.datasets import CocoDataset
from mmdetr.datasets.check import named_leaves
from mmdetr.datasets.check_objects import check_objects
from tests.helpers.coco_files import CATEGORIES, annotation, write_coco

IMAGES = [dict(id=i, file_name=f'{i}.png', width=100, height=80) for i in (1, 2)]


def found(folder: Path, annotations: list, categories: list = CATEGORIES) -> str:
    data = CocoDataset(write_coco(folder, IMAGES, annotations, categories))
    return '\n'.join(f'{level}: {text}' for level, text in check_objects(data, 'data', None))


def objects(rows: list[tuple], size: float = 9) -> list[dict]:
    """Rows of image id, category id and left edge."""
    return [annotation(n, i, k, [x, 5, size, size]) for n, (i, k, x) in enumerate(rows)]


def test_boxes_that_stand_twice(tmp_path: Path) -> None:
    rows = [(1, 7, 5), (1, 7, 5), (1, 2, 5), (2, 7, 5), (2, 7, 6), (1, 7, 5)]
    assert '2 of 6 boxes repeat another of the same class and image, in image ids 1:' in found(
        tmp_path, objects(rows)
    )


def test_copies_that_an_exporter_rounded(tmp_path: Path) -> None:
    rows = [(1, 7, 5.37), (1, 7, 5), (1, 7, 6.6)]
    text = '1 of 3 boxes repeat another of the same class'
    assert text in found(tmp_path, objects(rows, 20))
    assert 'repeat' not in found(tmp_path, objects(rows, 3))  # small things may be so close


def test_objects_of_two_classes(tmp_path: Path) -> None:
    rows = [(1, 7, 5), (1, 2, 5), (1, 7, 5), (1, 2, 6), (2, 7, 5), (2, 90, 5), (2, 2, 5)]
    answer = found(tmp_path, objects(rows))
    text = '3 of 7 boxes repeat another of the same image with another class, in image ids 1, 2:'
    assert text in answer
    assert '1 of 7 boxes repeat another of the same class' in answer


def test_some_boxes_as_fractions(tmp_path: Path) -> None:
    """As in files put together from two exports."""
    some = [annotation(9, 2, 7, [0.1, 0.2, 0.5, 0.7])]
    answer = found(tmp_path, objects([(1, 7, 5), (1, 2, 15)]) + some)
    assert '1 of 3 boxes lie within 0..1, as fractions of the image do, in image ids 2' in answer
    corner = [annotation(9, 2, 7, [0, 0, 1, 1])]  # a pixel is one
    assert '0..1' not in found(tmp_path, objects([(1, 7, 5), (1, 2, 15)]) + corner)


@pytest.mark.parametrize('area', [0, -5, float('nan'), 0.01, 200, 1e9])
def test_areas_of_no_object(tmp_path: Path, area: float) -> None:
    rows = objects([(1, 7, 5), (1, 2, 15), (2, 2, 5)])
    rows[1]['area'] = area
    assert "1 of 3 annotations state an 'area' that no object in their box has" in found(
        tmp_path, rows
    )
    for good in (81, 5, 90):  # of a mask, and rounded
        rows[1]['area'] = good
        assert 'area' not in found(tmp_path, rows)


@pytest.mark.parametrize(
    ('names', 'text'),
    [
        (['dog', 'Dog ', 'cat'], "names of classes differ in case or spaces only: 'dog' = 'Dog '"),
        (['sea  lion', 'sea lion', 'cat'], "'sea  lion' = 'sea lion'"),
        (['dog', ' ', 'cat'], 'a class has an empty name'),
    ],
)
def test_names_of_classes(tmp_path: Path, names: list, text: str) -> None:
    categories = [dict(id=i, name=name) for i, name in zip((2, 7, 90), names, strict=True)]
    assert text in found(tmp_path, objects([(1, 7, 5)]), categories)


@pytest.mark.parametrize('share', [1.0, 0.5, 0.1])
def test_crowds(tmp_path: Path, share: float) -> None:
    annotations = [
        annotation(i, 1, 7, [i, 5, 9, 9], iscrowd=int(i < 10 * share)) for i in range(10)
    ]
    data: Any = CocoDataset(write_coco(tmp_path, IMAGES, annotations))
    findings = check_objects(data, 'data', None)
    level, text = {
        1.0: ('error', 'no object to learn from: all 10 annotations have iscrowd=1'),
        0.5: ('warning', '5 of 10 annotations have iscrowd=1, 50%'),
        0.1: ('info', '1 of 10 annotations have iscrowd=1; they are not learnt'),
    }[share]
    assert any(each.level == level and text in each.text for each in findings)
    assert named_leaves(data, 'data')
