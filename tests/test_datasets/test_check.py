"""The data checks: each finding on data made for it."""

from pathlib import Path
from typing import Any

from mmengine.dataset import ConcatDataset

from mmdetr.datasets import CocoDataset, ShapesDataset
from mmdetr.datasets.base import DetDataset
from mmdetr.datasets.check import (
    check_files,
    check_images,
    named_leaves,
)
from mmdetr.datasets.check_objects import check_objects
from tests.helpers.coco_files import (
    GOOD_ANNOTATIONS,
    GOOD_IMAGES,
    annotation,
    write_coco,
    write_images,
)


def coco(folder: Path, annotations: list, images: list = GOOD_IMAGES, **kwargs: Any) -> CocoDataset:
    folder.mkdir(exist_ok=True)
    ann_file = write_coco(folder, images, annotations)
    return CocoDataset(ann_file, data_prefix=dict(img=str(folder)), **kwargs)


def texts(findings: list, level: str) -> str:
    return '\n'.join(text for own, text in findings if own == level)


def test_objects(tmp_path: Path) -> None:
    crowd = annotation(9, 1, 90, [1, 1, 5, 5], iscrowd=1)  # neither an object nor an instance
    many = [annotation(i, 4, 7, [i, i, 5, 5]) for i in range(10, 14)]
    dirty = [annotation(20, 1, 7, [5, 5, 0, 5]), annotation(21, 1, 7, [90, 5, 50, 5])]
    findings = check_objects(coco(tmp_path, [*many, crowd, *dirty]), 'data', num_queries=3)
    warnings = texts(findings, 'warning')
    assert 'no instances of 2 classes: cat, bird' in warnings
    assert '1 images have more objects than the 3 queries, up to 4, image ids 4: ' in warnings
    assert 'of 6 boxes 1 zero size, 1 clipped' in warnings
    assert 'at most 4 in one' in texts(findings, 'info')
    assert 'queries' not in texts(check_objects(coco(tmp_path, many), 'data', 4), 'warning')


def test_no_objects(tmp_path: Path) -> None:
    dataset = coco(tmp_path, [])
    assert 'none of 4 images' in texts(check_objects(dataset, 'data', None), 'error')
    assert not texts(check_objects(dataset, 'data', None, required=False), 'error')


def test_too_many_missing_files_are_an_error_in_training(tmp_path: Path) -> None:
    dataset = coco(tmp_path, GOOD_ANNOTATIONS, max_unreadable=2)
    write_images(tmp_path, GOOD_IMAGES)
    assert check_files(dataset, 'data', None) == []
    for number, level in ((1, 'warning'), (2, 'warning'), (3, 'error')):
        (tmp_path / f'{number}.png').unlink()
        assert [each.level for each in check_files(dataset, 'data', None)] == [level]
        # The first and the last image are the sample of two.
        assert '1 of 2 image' in texts(check_files(dataset, 'data', sample=2), 'warning')
    assert check_images(dataset, 'data', None) == [], 'missing files are not counted twice'


def test_generated_images_have_no_files() -> None:
    dataset = ShapesDataset(num_images=3)
    assert check_files(dataset, 'data', None) == check_images(dataset, 'data', None) == []


class MislabelledDataset(DetDataset):
    """Two classes, numbered from 1."""

    METAINFO = dict(classes=('cat', 'dog'))

    def load_data_list(self) -> list[dict]:
        box = dict(bbox=[0, 0, 5, 5], ignore_flag=0)
        labels = (1, 2, 2)
        return [dict(img_id=i, instances=[dict(box, bbox_label=k)]) for i, k in enumerate(labels)]


def test_labels_outside_of_the_classes() -> None:
    errors = texts(check_objects(MislabelledDataset(), 'data', None), 'error')
    assert errors.startswith('data: labels 2 are none of its 2 classes')


def test_parts_of_a_combined_dataset_have_names(tmp_path: Path) -> None:
    first = coco(tmp_path / 'a', GOOD_ANNOTATIONS)
    second = coco(tmp_path / 'b', GOOD_ANNOTATIONS)
    assert named_leaves(first, 'data') == [(first, 'data')]
    both = named_leaves(ConcatDataset([first, second]), 'data')
    assert both == [(first, 'data, dataset 0'), (second, 'data, dataset 1')]
    assert named_leaves([1, 2, 3], 'data') == []
