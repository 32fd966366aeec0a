"""What the check says of masks and panoptic PNGs."""

import json
from pathlib import Path

import numpy as np
import pytest

from mmdetr.datasets import CocoDataset, CocoPanopticDataset, PanopticShapesDataset
from mmdetr.datasets.check import Finding
from mmdetr.datasets.check_masks import check_masks
from tests.helpers.coco_files import annotation, image, write_coco
from tests.helpers.panoptic import read_panoptic_case, write_ids, write_panoptic


def rectangle(x1: float, y1: float, x2: float, y2: float) -> list:
    return [[x1, y1, x2, y1, x2, y2, x1, y2]]


def findings(dataset, level: str, sample: int | None = None) -> list[str]:
    found = check_masks(dataset, 'training data', sample)
    assert all(isinstance(each, Finding) for each in found)
    return [each.text for each in found if each.level == level]


def test_masks_of_a_coco_file(tmp_path):
    annotations = [
        annotation(1, 1, 7, [10, 10, 20, 20], segmentation=rectangle(10, 10, 30, 30)),
        annotation(2, 1, 7, [0, 0, 4, 5], segmentation=dict(size=[80, 100], counts=[0, 4, 7996])),
        # Two pixels beyond the box are nothing, more are another object.
        annotation(3, 2, 7, [10, 10, 20, 20], segmentation=rectangle(8, 10, 30, 30)),
        annotation(4, 2, 7, [10, 10, 20, 20], segmentation=rectangle(60, 50, 90, 70)),
        annotation(5, 3, 7, [90, 70, 10, 10], segmentation=rectangle(90, 70, 104, 80)),
        annotation(6, 4, 7, [5, 5, 40, 1], segmentation=[[5, 5, 45, 5.01, 45, 5.02]]),
    ]
    path = write_coco(tmp_path, [image(i) for i in range(1, 5)], annotations)
    dataset = CocoDataset(path, with_mask=True)
    (statistics,) = findings(dataset, 'info')
    assert '6 masks in 4 images looked at, 5 polygons and 1 run lengths' in statistics
    assert 'areas of 0 to 600 pixels, half of them up to 250' in statistics
    empty, other, outside = findings(dataset, 'warning')
    assert '1 of 6 masks looked at, in image ids 4, have no pixel' in empty
    assert '1 of 6 masks looked at, in image ids 2, leave their box by more than 2' in other
    assert '1 of 6 masks looked at, in image ids 3, have corners more than 2' in outside
    assert findings(dataset, 'error') == []
    assert '1 images' in findings(dataset, 'info', sample=1)[0]
    assert check_masks(CocoDataset(path), 'training data', None) == []


def test_boxes_alone_cannot_give_masks(tmp_path):
    path = write_coco(tmp_path, [image(1)], [annotation(1, 1, 7, [10, 10, 20, 20])])
    with pytest.raises(ValueError, match='none of 1 annotations has a segmentation') as raised:
        CocoDataset(path, with_mask=True)
    assert path in str(raised.value)


@pytest.fixture
def case():
    return read_panoptic_case()


def build(folder: Path, path: str, **kwargs) -> CocoPanopticDataset:
    prefix = dict(img=str(folder / 'images'), seg=str(folder / 'maps'))
    return CocoPanopticDataset(path, data_prefix=prefix, **kwargs)


def test_panoptic_statistics(tmp_path, case):
    dataset = build(tmp_path, write_panoptic(tmp_path, *case))
    (statistics,) = [each.text for each in check_masks(dataset, 'training data', None)]
    void = sum(int((case[1][f'gt_ids{i}'] == 0).sum()) for i in range(3))
    size = sum(case[1][f'gt_ids{i}'].size for i in range(3))
    assert '15 things and 6 segments of stuff in 3 PNGs looked at, 3 of them crowds' in statistics
    assert f'{void / size:.1%} of the pixels are void' in statistics


def test_missing_and_contradicting_pngs(tmp_path, case):
    path = write_panoptic(tmp_path, *case)
    content = json.loads(Path(path).read_text())
    content['annotations'][0]['segments_info'][2]['bbox'][0] += 5  # of image 2
    Path(path).write_text(json.dumps(content))
    (tmp_path / 'maps' / '000000000001.png').unlink()
    write_ids(tmp_path / 'maps' / '000000000003.png', np.zeros((30, 61), dtype=np.int32))
    dataset = build(tmp_path, path)
    missing, bad, boxes = findings(dataset, 'warning')
    assert '1 of 3 panoptic PNGs are missing' in missing
    assert "000000000001.png. Check data_prefix['seg']" in missing
    assert '1 of 2 panoptic PNGs looked at cannot be used: image id 3' in bad
    assert '61x30 pixels' in bad
    assert 'in 1 of 2 images looked at, ids 2' in boxes
    # A test would stop at them.
    assert len(findings(build(tmp_path, path, test_mode=True), 'error')) == 2
    assert len(findings(build(tmp_path, path, max_unreadable=0), 'error')) == 2
    for name in ('2', '3'):
        (tmp_path / 'maps' / f'00000000000{name}.png').unlink()
    assert '3 of 3 panoptic PNGs' in findings(dataset, 'error')[0]


def test_generated_masks_are_looked_at_where_they_are_listed():
    """Shapes make theirs while they are drawn: there is nothing to find in the list."""
    assert check_masks(PanopticShapesDataset(num_images=2), 'training data', None) == []
