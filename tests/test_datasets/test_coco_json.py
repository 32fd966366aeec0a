import gzip
import json
import math
import os
import re

import numpy as np
import pytest

from mmdetr.datasets.coco_json import read_coco_json
from tests.helpers.coco_files import CATEGORIES, annotation, image, write_coco


def refused(tmp_path, *parts: str, images=None, annotations=None, categories=CATEGORIES):
    """Reading fails, and the message names the file and every part."""
    images = [image(1), image(2)] if images is None else images
    annotations = [annotation(5, 1, 7, [1, 2, 3, 4])] if annotations is None else annotations
    path = write_coco(tmp_path, images, annotations, categories)
    with pytest.raises(ValueError, match=re.escape(path)) as error:
        read_coco_json(path)
    for part in parts:
        assert part in str(error.value)


def without(record: dict, key: str) -> dict:
    return {name: value for name, value in record.items() if name != key}


def test_columns(tmp_path):
    annotations = [
        annotation(31, 20, 90, [1.5, 2, 3, 4], iscrowd=1, segmentation=[[1, 2, 3]]),
        annotation(30, 10, 2, [5, 6, 7, 8.25]),
    ]
    path = write_coco(tmp_path, [image(20, 640, 480), image(10)], annotations)
    coco = read_coco_json(path)
    assert coco.images[0] == dict(id=20, file_name='20.png', width=640, height=480)
    assert list(coco.categories.items()) == [(2, 'cat'), (7, 'dog'), (90, 'bird')]
    assert coco.image_indices.tolist() == [0, 1]
    assert coco.category_ids.tolist() == [90, 2]
    np.testing.assert_array_equal(coco.bboxes_xywh, [[1.5, 2, 3, 4], [5, 6, 7, 8.25]])
    assert coco.iscrowd.tolist() == [True, False]
    assert coco.segmentations is None
    assert read_coco_json(path, with_segmentations=True).segmentations == [[[1, 2, 3]], None]


def test_string_image_ids_and_sizes_written_as_floats(tmp_path):
    path = write_coco(tmp_path, [image('a', 100.0, 80.0)], [annotation(1, 'a', 7, [1, 2, 3, 4])])
    assert read_coco_json(path).images == [dict(id='a', file_name='a.png', width=100, height=80)]


def test_byte_order_mark(tmp_path):
    path = tmp_path / 'bom.json'
    content = dict(images=[image(1)], annotations=[], categories=CATEGORIES)
    path.write_text(json.dumps(content), encoding='utf-8-sig')
    assert len(read_coco_json(str(path)).images) == 1


def test_missing_file(tmp_path):
    path = str(tmp_path / 'none.json')
    with pytest.raises(FileNotFoundError, match=r'none\.json does not exist; check data_root'):
        read_coco_json(path)


@pytest.mark.parametrize('content', ['', '{"images": [', 'not json'])
def test_broken_json(tmp_path, content):
    path = tmp_path / 'broken.json'
    path.write_text(content)
    with pytest.raises(ValueError, match=r'broken\.json is not valid JSON'):
        read_coco_json(str(path))


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (gzip.compress(b'{}'), 'it is compressed, unpack it first'),
        (b'PK\x03\x04...', 'it is compressed, unpack it first'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:1\n', 'git lfs pull'),
        (b'\n<!DOCTYPE html><html>', 'it is a web page'),
    ],
    ids=['gzip', 'zip', 'lfs', 'html'],
)
def test_other_files_in_its_place(tmp_path, content, words):
    path = tmp_path / 'coco.json'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf'coco\.json is not valid JSON: .*{words}'):
        read_coco_json(str(path))


def test_another_kind_of_json(tmp_path):
    path = tmp_path / 'results.json'
    path.write_text('[{"image_id": 1}]')
    with pytest.raises(ValueError, match=r'results\.json is not a COCO annotation file.*list'):
        read_coco_json(str(path))


@pytest.mark.parametrize('key', ['images', 'annotations', 'categories'])
def test_missing_list(tmp_path, key):
    path = tmp_path / 'part.json'
    content = dict(images=[image(1)], annotations=[], categories=CATEGORIES)
    path.write_text(json.dumps(without(content, key)))
    with pytest.raises(ValueError, match=rf"part\.json has no list '{key}'"):
        read_coco_json(str(path))


def test_test_sets_have_no_annotations(tmp_path):
    path = tmp_path / 'image_info.json'
    path.write_text(json.dumps(dict(images=[image(1)], categories=CATEGORIES)))
    coco = read_coco_json(str(path), need_annotations=False)
    assert coco.bboxes_xywh.shape == (0, 4)


@pytest.mark.parametrize('key', ['id', 'image_id', 'category_id', 'bbox'])
def test_missing_key_of_an_annotation(tmp_path, key):
    good, bad = annotation(4, 1, 7, [1, 2, 3, 4]), annotation(5, 1, 7, [1, 2, 3, 4])
    which = 'number 1' if key == 'id' else 'id 5'
    refused(tmp_path, 'annotations', which, f"'{key}'", annotations=[good, without(bad, key)])


@pytest.mark.parametrize('key', ['id', 'file_name', 'width', 'height'])
def test_missing_key_of_an_image(tmp_path, key):
    which = 'number 1' if key == 'id' else 'id 2'
    refused(tmp_path, 'images', which, f"'{key}'", images=[image(1), without(image(2), key)])


@pytest.mark.parametrize('record', ['text', None, 3, [1]])
def test_record_of_the_wrong_type(tmp_path, record):
    refused(tmp_path, 'number 0', 'not an object', annotations=[record])


@pytest.mark.parametrize(
    'bbox',
    [
        [1, 2, 3],
        [1, 2, 3, 4, 5],
        [],
        ['1', '2', '3', '4'],
        [True, 2, 3, 4],
        [1, 2, 3, None],
        [[1, 2, 3, 4]],
    ],
)
@pytest.mark.parametrize('others', [0, 1])
def test_bbox_is_not_four_numbers(tmp_path, bbox, others):
    annotations = [annotation(4, 1, 7, [1, 2, 3, 4])] * others + [annotation(5, 1, 7, bbox)]
    refused(tmp_path, 'id 5', 'four numbers', annotations=annotations)


def test_bbox_is_no_list(tmp_path):
    bad = annotation(5, 1, 7, []) | dict(bbox='1 2 3 4')
    refused(tmp_path, 'id 5', "'bbox' must be list", annotations=[bad])


def test_huge_whole_numbers_are_numbers(tmp_path):
    path = write_coco(tmp_path, [image(1)], [annotation(5, 1, 7, [1, 2, 10**30, 4])])
    assert read_coco_json(path).bboxes_xywh[0, 2] == 1e30


@pytest.mark.parametrize('value', [0, -5, 2.5, '640', None, True, math.nan, 2**31, 1e300])
@pytest.mark.parametrize('side', ['width', 'height'])
def test_image_size(tmp_path, side, value):
    refused(tmp_path, 'images', 'id 2', side, images=[image(1), image(2) | {side: value}])


def test_numbers_beyond_floats_are_infinite(tmp_path):
    good, bad = annotation(4, 1, 7, [1, 2, 3, 4]), annotation(5, 1, 7, [1, 2, 10**400, -(10**400)])
    coco = read_coco_json(write_coco(tmp_path, [image(1)], [good, bad | dict(area=10**400)]))
    assert coco.bboxes_xywh.tolist() == [[1, 2, 3, 4], [1, 2, math.inf, -math.inf]]
    assert coco.areas.tolist() == [12, math.inf]


def test_category_id_beyond_64_bits(tmp_path):
    categories = [dict(id=2**63, name='dog'), dict(id=1, name='cat')]
    refused(tmp_path, 'categories', "'id' must have 64 bits", categories=categories, annotations=[])


def test_areas(tmp_path):
    stated = annotation(4, 1, 7, [1, 2, 3, 4], area=7.5)
    others = [annotation(5, 1, 7, [1, 2, 3, 5]), annotation(6, 1, 7, [1, 2, 3, 6], area=None)]
    path = write_coco(tmp_path, [image(1)], [stated, *others])
    assert read_coco_json(path).areas.tolist() == [7.5, 15, 18]
    for area in ('7.5', True, [7.5]):
        bad = stated | dict(area=area)
        refused(tmp_path, 'id 4', "'area' must be a number", annotations=[bad])


def test_names_and_sizes_only_where_they_are_needed(tmp_path):
    path = write_coco(tmp_path, [dict(id=1)], [annotation(4, 1, 7, [1, 2, 3, 4])])
    assert read_coco_json(path, need_files=False).images == [dict(id=1)]
    refused(tmp_path, 'id 1', "'file_name' is missing", images=[dict(id=1)])


@pytest.mark.parametrize(('key', 'value'), [('image_id', 3), ('category_id', 1)])
def test_unknown_reference(tmp_path, key, value):
    good, bad = annotation(4, 1, 7, [1, 2, 3, 4]), annotation(5, 1, 7, [1, 2, 3, 4])
    refused(tmp_path, 'id 5', f'{key} {value} is not', annotations=[good, bad | {key: value}])


def test_duplicate_ids(tmp_path):
    twice = [annotation(5, 1, 7, [1, 2, 3, 4]), annotation(5, 2, 7, [1, 2, 3, 4])]
    refused(tmp_path, 'annotations', 'id 5 is used 2 times', annotations=twice)
    refused(tmp_path, 'images', 'id 2 is used 2 times', images=[image(1), image(2), image(2)])
    repeated = [*CATEGORIES, dict(id=7, name='fox')]
    refused(tmp_path, 'categories', 'id 7 is used 2 times', categories=repeated)


def test_duplicate_names(tmp_path):
    refused(
        tmp_path, "[7, 8] share the name 'dog'", categories=[*CATEGORIES, dict(id=8, name='dog')]
    )


ROBOFLOW = [dict(each, supercategory='pets') for each in CATEGORIES]


@pytest.mark.parametrize(
    ('name', 'supercategory', 'others'),
    [
        ('pets', 'none', ROBOFLOW),
        ('dog', 'none', [dict(each, supercategory='dog') for each in CATEGORIES]),
        ('_background_', None, CATEGORIES),
        ('Background', 'animal', CATEGORIES),
    ],
)
def test_placeholders_of_exporters_are_no_classes(tmp_path, name, supercategory, others):
    first = dict(id=0, name=name, supercategory=supercategory)
    path = write_coco(tmp_path, [image(1)], [annotation(1, 1, 7, [1, 2, 3, 4])], [first, *others])
    coco = read_coco_json(path)
    assert coco.categories == {2: 'cat', 7: 'dog', 90: 'bird'}
    assert coco.placeholders == {0: name}
    if name != 'dog':
        used = [annotation(1, 1, 0, [1, 2, 3, 4])]
        coco = read_coco_json(write_coco(tmp_path, [image(1)], used, [first, *others]))
        assert coco.categories[0] == name


@pytest.mark.parametrize('supercategory', ['none', 'animal', None])
def test_an_empty_class_with_id_0_is_a_class(tmp_path, supercategory):
    first = dict(id=0, name='pets', supercategory=supercategory)
    path = write_coco(tmp_path, [image(1)], [], [first, *CATEGORIES])
    assert read_coco_json(path).categories[0] == 'pets'


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / 'pipe.json')
    for path in (tmp_path / 'pipe.json', '/proc/self/mem', '/dev/zero', tmp_path):
        with pytest.raises(ValueError, match=f'{path} is not valid JSON: .*(regular|empty)'):
            read_coco_json(str(path))


def test_empty_lists(tmp_path):
    refused(tmp_path, 'no images', images=[], annotations=[])
    refused(tmp_path, 'no categories', categories=[], annotations=[])


@pytest.mark.parametrize('flag', [2, None, 'yes', []])
def test_crowd_flag(tmp_path, flag):
    bad = annotation(5, 1, 7, [1, 2, 3, 4], iscrowd=flag)
    refused(tmp_path, 'id 5', "'iscrowd' must be 0 or 1", annotations=[bad])


def test_nesting_without_end(tmp_path):
    path = tmp_path / 'deep.json'
    path.write_text('[' * 200_000)
    with pytest.raises(ValueError, match=r'deep\.json is not valid JSON: it is nested too deep'):
        read_coco_json(str(path))


def test_key_said_twice(tmp_path):
    path = tmp_path / 'twice.json'
    path.write_text('{"images": [], "images": [{"id": 1}], "categories": []}')
    with pytest.raises(ValueError, match=r"twice\.json .* an object has the key 'images' 2 times"):
        read_coco_json(str(path))


def test_messages_stay_short(tmp_path):
    record = [dict(id=number, text='long' * 100) for number in range(100)]
    path = write_coco(tmp_path, [record], [])
    with pytest.raises(ValueError, match='is not an object') as error:
        read_coco_json(path)
    assert len(str(error.value)) < len(path) + 200
