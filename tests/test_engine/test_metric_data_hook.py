"""The metric scores with the annotations of the data, or the run refuses."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mmengine.dataset import ConcatDataset

from mmdetr.datasets import CocoDataset, CocoPanopticDataset, ShapesDataset
from mmdetr.datasets.check import DatasetError
from mmdetr.engine.hooks import ALWAYS_REGISTERED, MetricDataHook
from mmdetr.evaluation import CocoMetric
from tests.helpers.coco_files import CATEGORIES, GOOD_ANNOTATIONS, GOOD_IMAGES, write_coco
from tests.helpers.panoptic import read_panoptic_case, write_panoptic


def coco(folder: Path, images: list = GOOD_IMAGES, categories: list = CATEGORIES) -> str:
    folder.mkdir(exist_ok=True)
    return write_coco(folder, images, GOOD_ANNOTATIONS, categories)


def check(dataset: Any, ann_file: str | None, **kwargs: Any) -> CocoMetric:
    """Run every stage of the hook; all must agree."""
    outcomes = []
    loader = SimpleNamespace(dataset=dataset)
    for stage in ('before_train', 'before_val', 'before_test'):
        metric = CocoMetric(ann_file=ann_file, **kwargs)
        evaluator = SimpleNamespace(metrics=[object(), metric])
        runner: Any = SimpleNamespace(
            val_loop=object(),
            val_dataloader=loader,
            val_evaluator=evaluator,
            test_dataloader=loader,
            test_evaluator=evaluator,
        )
        try:
            getattr(MetricDataHook(), stage)(runner)
            outcomes.append(None)
        except DatasetError as error:
            outcomes.append(str(error))
    assert len({outcome is None for outcome in outcomes}) == 1
    if outcomes[-1] is not None:
        raise DatasetError(outcomes[-1])
    return metric


def test_the_same_file_and_copies_of_it(tmp_path: Path) -> None:
    own = coco(tmp_path)
    dataset = CocoDataset(own, test_mode=True)
    check(dataset, own)
    check(dataset, str(shutil.copy(own, tmp_path / 'copy.json')))
    check(CocoDataset(own, test_mode=True, indices=2), own)
    check(CocoDataset(own, metainfo=dict(classes=['bird', 'cat']), test_mode=True), own)
    more = [*GOOD_IMAGES, dict(GOOD_IMAGES[0], id=99, file_name='folder/99.png')]
    check(dataset, coco(tmp_path / 'more', more))
    subfolder = [dict(each, file_name=f'val/{each["file_name"]}') for each in GOOD_IMAGES]
    check(dataset, coco(tmp_path / 'subfolder', subfolder))


def changed(**changes: Any) -> list:
    return [GOOD_IMAGES[0], dict(GOOD_IMAGES[1], **changes), *GOOD_IMAGES[2:]]


@pytest.mark.parametrize(
    'images', [changed(file_name='another.png'), changed(width=101), changed(id=77)]
)
def test_other_images_are_refused(tmp_path: Path, images: list) -> None:
    dataset = CocoDataset(coco(tmp_path), test_mode=True)
    other = coco(tmp_path / 'other')
    content = json.loads(Path(other).read_text())
    content.update(images=images, annotations=[])
    Path(other).write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r'other.coco.json.*1 of 4 images.*ids 2'):
        check(dataset, other)
    # Images that are not evaluated do not matter.
    check(CocoDataset(coco(tmp_path), test_mode=True, indices=1), other)


def test_other_categories_are_refused(tmp_path: Path) -> None:
    dataset = CocoDataset(coco(tmp_path), test_mode=True)
    names = [dict(each, name='cat' if each['name'] == 'dog' else 'dog') for each in CATEGORIES[:2]]
    with pytest.raises(DatasetError, match=r"category id 2 is 'cat' .* 'dog' there"):
        check(dataset, coco(tmp_path / 'other', categories=[*names, CATEGORIES[2]]))


def test_a_metric_without_file_takes_the_dataset_s(tmp_path: Path) -> None:
    own = coco(tmp_path)
    dataset = CocoDataset(own, test_mode=True)
    assert check(dataset, None).ann_file == own
    assert check(ShapesDataset(num_images=2), None).ann_file is None
    assert check(ConcatDataset([dataset, dataset]), None).ann_file is None
    only = dict(format_only=True, outfile_prefix=str(tmp_path / 'results'))
    assert check(dataset, None, **only).ann_file is None


def test_parts_of_other_data_are_compared_each(tmp_path: Path) -> None:
    own = coco(tmp_path)
    good = CocoDataset(own, test_mode=True)
    other = CocoDataset(coco(tmp_path / 'b', changed(file_name='x.png')), test_mode=True)
    check(ConcatDataset([good, good]), own)
    with pytest.raises(DatasetError, match='1 of 4 images are others'):
        check(ConcatDataset([good, other]), own)


def test_always_on() -> None:
    assert MetricDataHook in ALWAYS_REGISTERED


def test_boxes_of_the_things_of_a_panoptic_dataset(tmp_path: Path) -> None:
    """Its own file has no boxes to score; one of boxes needs its images and things."""
    meta, arrays = read_panoptic_case()
    prefix = dict(img=str(tmp_path / 'images'), seg=str(tmp_path / 'maps'))
    path = write_panoptic(tmp_path, meta, arrays)
    dataset = CocoPanopticDataset(path, data_prefix=prefix, test_mode=True)
    assert check(dataset, None).ann_file is None

    def write(images: list, categories: list) -> str:
        return write_coco(tmp_path, images, [], categories)

    check(dataset, write(meta['images'], meta['categories'][:3]))
    with pytest.raises(DatasetError, match='1 of 3 images are others there, ids 3'):
        check(dataset, write(meta['images'][:2], meta['categories']))
    renamed = [dict(meta['categories'][0], name='plant'), *meta['categories'][1:3]]
    with pytest.raises(DatasetError, match="category id 1 is 'person' of the dataset and 'plant'"):
        check(dataset, write(meta['images'], renamed))
