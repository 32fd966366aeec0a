import json

import pytest

from mmdetr.evaluation.coco_annotations import ScoredObject, read_annotations

GOOD = dict(
    images=[dict(id=4), dict(id='four')],
    categories=[dict(id=9, name='late'), dict(id=2, name='early')],
    annotations=[
        dict(id=0, image_id=4, category_id=9, bbox=[1, 2, 3, 4], area=7.5, iscrowd=1),
        dict(id=1, image_id='four', category_id=2, bbox=[1, 2, 3, 4]),
    ],
)


def write(tmp_path, content):
    path = tmp_path / 'ann.json'
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_reads_what_scoring_needs(tmp_path):
    annotations = read_annotations(write(tmp_path, GOOD))
    assert annotations.img_ids == {4, 'four'}
    assert list(annotations.categories.items()) == [(2, 'early'), (9, 'late')]
    # Area and crowd flag are often left out of files made by hand.
    assert annotations.objects == [
        ScoredObject(4, 9, [1, 2, 3, 4], 7.5, 1),
        ScoredObject('four', 2, [1, 2, 3, 4], 12, 0),
    ]


def test_hidden_annotations(tmp_path):
    path = write(tmp_path, {key: GOOD[key] for key in ('images', 'categories')})
    assert read_annotations(path, with_objects=False).objects == []
    with pytest.raises(ValueError, match=r"ann\.json has no list 'annotations'"):
        read_annotations(path)


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'gone\.json'):
        read_annotations(str(tmp_path / 'gone.json'))
    with pytest.raises(ValueError, match=r'ann\.json is not valid JSON.*line 1'):
        read_annotations(write(tmp_path, '{"images": ['))
    with pytest.raises(ValueError, match=r'ann\.json is not a COCO annotation file'):
        read_annotations(write(tmp_path, [1]))
    with pytest.raises(ValueError, match=r"ann\.json: categories, .* id 1: the key 'name'"):
        read_annotations(write(tmp_path, GOOD | dict(categories=[dict(id=1)])))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(bbox=[1, 2, 3]), "'bbox' must be four numbers"),
        (dict(bbox='1234'), "'bbox' must be list"),
        (dict(area='large'), "'area' must be a number"),
        (dict(iscrowd=0.5), "'iscrowd' must be 0 or 1"),
        (dict(image_id=True), "'image_id' must be int or str"),
        (dict(category_id=3), 'category_id 3 is not in the file'),
    ],
)
def test_wrong_annotations_are_named(tmp_path, change, message):
    annotation = dict(id=5, image_id=4, category_id=9, bbox=[1, 2, 3, 4]) | change
    with pytest.raises(ValueError, match=rf'ann\.json: annotations, .* id 5: {message}'):
        read_annotations(write(tmp_path, GOOD | dict(annotations=[annotation])))


def test_what_the_evaluation_would_pass_over_is_counted(tmp_path, log_messages):
    bad = [
        dict(id=5, image_id=4, category_id=9, bbox=[1, 2, 3, float('nan')]),
        dict(id=6, image_id=4, category_id=9, bbox=[1, 2, 3, 4], area=float('inf')),
        dict(id=7, image_id='four', category_id=9, bbox=[1, 2, -3, 4], area=12),
        dict(id=8, image_id='four', category_id=9, bbox=[1, 2, 3, 4], area=-1),
        dict(id=9, image_id=4, category_id=9, bbox=[0, 0, 1e6, 1e6]),
    ]
    # Nothing to find there, but counted by the evaluation as what it is: missed.
    empty = dict(id=10, image_id=4, category_id=9, bbox=[1, 2, 0, 4])
    path = write(tmp_path, GOOD | dict(annotations=[*GOOD['annotations'], *bad, empty]))
    assert len(read_annotations(path).objects) == 3
    (warning,) = log_messages
    assert '5 annotations with a non-finite number' in warning
    assert 'in image ids 4, four' in warning


def test_area_that_is_not_stated(tmp_path):
    annotation = dict(id=5, image_id=4, category_id=9, bbox=[1, 2, 3, 4], area=None)
    path = write(tmp_path, GOOD | dict(annotations=[annotation]))
    assert read_annotations(path).objects == [ScoredObject(4, 9, [1, 2, 3, 4], 12, 0)]


def test_missing_key_is_named(tmp_path):
    annotation = dict(id=5, image_id=4, bbox=[1, 2, 3, 4])
    with pytest.raises(ValueError, match="id 5: the key 'category_id' is missing"):
        read_annotations(write(tmp_path, GOOD | dict(annotations=[annotation])))
