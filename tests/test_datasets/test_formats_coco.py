"""COCO JSON as exporters write it, and the recognition of a format."""

from pathlib import Path

import pytest

from mmdetr.datasets.formats import FormatError, read_folder
from mmdetr.datasets.formats.clean import clean_pictures
from tests.helpers.foreign_data import boxes_of, coco_json, picture, voc_xml, write


def read(folder: Path, **options) -> tuple[dict, object]:
    collection = read_folder(folder, **options)
    clean_pictures(collection.pictures, collection.problems)
    return boxes_of(collection), collection


def image(number: int, name: str, size: tuple = (100, 80), **more) -> dict:
    return dict(id=number, file_name=name, width=size[0], height=size[1], **more)


def box(number: int, image_id: int, category_id: int, bbox: list | None, **more) -> dict:
    return dict(id=number, image_id=image_id, category_id=category_id, bbox=bbox, **more)


def test_roboflow(tmp_path: Path) -> None:
    """Three folders; the project itself as category 0; a test set with its own numbers."""
    categories = dict(enumerate(['cells', 'red', 'white']))
    for part, name in (('train', 'a'), ('valid', 'b'), ('test', 'c')):
        picture(tmp_path / part / f'{name}.jpg')
        content = [image(0, f'{name}.jpg')], [box(0, 0, 2, [10, 20, 30, 40.5])]
        path = coco_json(tmp_path / part / '_annotations.coco.json', *content, categories)
        text = path.read_text()
        for child in ('red', 'white'):
            text = text.replace(
                f'"{child}", "supercategory": "none"', f'"{child}", "supercategory": "cells"'
            )
        path.write_text(text)
    boxes, collection = read(tmp_path)
    assert collection.classes == ['red', 'white']
    assert boxes == {f'{name}.jpg': [('white', 10, 20, 40, 60.5)] for name in 'abc'}
    parts = {each.path.name: set(each.parts) for each in collection.pictures}
    assert parts == {'a.jpg': {'train'}, 'b.jpg': {'val'}, 'c.jpg': {'test'}}


def test_cvat_and_label_studio(tmp_path: Path) -> None:
    cvat = tmp_path / 'cvat'
    picture(cvat / 'images/default/frames/a.jpg')
    coco_json(
        cvat / 'annotations/instances_default.json',
        [image(1, 'frames/a.jpg')],
        [box(1, 1, 1, [1, 2, 3, 4], iscrowd=0, attributes=dict(occluded=False))],
        {1: 'cat'},
    )
    assert read(cvat)[0] == {'a.jpg': [('cat', 1, 2, 4, 6)]}
    studio = tmp_path / 'studio'
    picture(studio / 'images/photo 1.jpg')
    coco_json(
        studio / 'result.json',
        [image(0, 'images\\0a1b2c3d-photo%201.jpg')],
        [box(0, 0, 0, [1, 2, 3, 4], segmentation=[], ignore=0)],
        ['cat'],
    )
    assert read(studio)[0] == {'photo 1.jpg': [('cat', 1, 2, 4, 6)]}
    # The annotations alone are named: images are beside them.
    assert read(cvat / 'annotations')[0] == {'a.jpg': [('cat', 1, 2, 4, 6)]}


def test_official_layout(tmp_path: Path) -> None:
    """Captions and keypoints beside the boxes are no data of their own."""
    for part, name in (('train2017', 'a'), ('val2017', 'b')):
        picture(tmp_path / part / f'{name}.jpg')
        content = [image(5, f'{name}.jpg')], [box(1, 5, 18, [1, 2, 3, 4])]
        coco_json(tmp_path / f'annotations/instances_{part}.json', *content, {18: 'dog'})
        coco_json(tmp_path / f'annotations/person_keypoints_{part}.json', *content, {1: 'person'})
    _, collection = read(tmp_path)
    assert collection.classes == ['dog']
    assert [set(each.parts) for each in collection.pictures] == [{'train'}, {'val'}]


def test_everything_dropped_or_repaired_is_named(tmp_path: Path) -> None:
    for name in 'abc':
        picture(tmp_path / f'{name}.jpg')
    polygon = [[10, 20, 30, 20, 30, 50]]
    coco_json(
        tmp_path / 'labels.json',
        [
            image(1, 'a.jpg'),
            image(2, 'gone.jpg'),
            image(3, 'b.jpg', (640, 480)),
            dict(id=4, file_name='A.JPG'),
            dict(id=5, file_name='sub/c.jpg'),
        ],
        [
            box(1, 1, 0, [1, 2, 3, 4]),
            box(2, 9, 0, [1, 2, 3, 4]),
            box(3, 1, 7, [1, 2, 3, 4]),
            box(4, 1, 0, None, segmentation=polygon),
            box(5, 1, 0, None),
            box(6, 2, 0, [1, 2, 3, 4]),
            box(7, 5, 0, [90, 70, 30, 30]),
            box(8, 5, 0, [10, 10, -5, 5]),
            box(9, 5, 0, [10, 10, 0, 5]),
            box(10, 5, 0, [5, 5, 20, 20], segmentation=[[1, 2, 3]]),
            box(11, 5, 0, [40, 40, 9, 9], iscrowd=1, area=50.5),
        ],
        ['cat'],
    )
    boxes, collection = read(tmp_path)
    assert boxes == {
        'a.jpg': [('cat', 1, 2, 4, 6), ('cat', 10, 20, 30, 50)],
        'c.jpg': [('cat', 90, 70, 100, 80), ('cat', 5, 5, 25, 25), ('cat', 40, 40, 49, 49)],
    }
    last = collection.pictures[1].boxes[-1]
    assert (last.iscrowd, last.area) == (True, 50.5)
    where = 'labels.json, annotation '
    assert dict(collection.problems.dropped) == {
        'images that are not there': ['labels.json, image 2: gone.jpg (no such image)'],
        'images of another size than the JSON states': [
            'labels.json, image 3: b.jpg is 100x80, not 640x480'
        ],
        'images that are listed twice': [
            'labels.json, image 4: A.JPG is labels.json, image 1 as well'
        ],
        'annotations of an image that the file does not list': [f'{where}2: image_id 9'],
        'annotations of a category that the file does not list': [f'{where}3: category_id 7'],
        'annotations without box': [f'{where}5'],
        'annotations of images that were left out': [f'{where}6'],
        'boxes of negative width or height': [f'{where}8'],
        'boxes without area': [f'{where}9'],
        'images that no annotation file lists': ['b.jpg'],
    }
    assert dict(collection.problems.repaired) == {
        'boxes made from their polygons': [f'{where}4'],
        'sizes that the JSON does not state, taken from the image': ['labels.json, image 5'],
        'boxes clipped to their image': [f'{where}7'],
        'boxes that lost their mask (malformed segmentation)': [f'{where}10'],
    }


def test_boxes_of_another_form_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / 'a.jpg')
    corners = [box(i, 0, 0, [60 + i, 50 + i, 75 + i, 70 + i]) for i in range(5)]
    coco_json(tmp_path / 'x.json', [image(0, 'a.jpg')], corners, ['cat'])
    with pytest.raises(FormatError, match=r'look like \[x1, y1, x2, y2\]'):
        read(tmp_path)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{"images": [], "annotations": [], "categories": [] "file_name"', 'is not valid JSON'),
        ('{"images": 3, "annotations": [], "categories": []}', 'has no list of images'),
        (
            '{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "a.jpg"}], '
            '"annotations": [], "categories": []}',
            'the image id 1 is used twice',
        ),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1}]}',
            'a category without id .* or name',
        ),
    ],
)
def test_no_coco_json(tmp_path: Path, text: str, message: str) -> None:
    picture(tmp_path / 'a.jpg')
    write(tmp_path / 'x.json', text)
    with pytest.raises(FormatError, match=message):
        read(tmp_path)


def test_more_than_one_format_or_none(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match='nowhere does not exist'):
        read(tmp_path / 'nowhere')
    picture(tmp_path / 'a.jpg')
    write(tmp_path / 'notes.txt', '0 0.5 0.5 0.1 0.1')
    with pytest.raises(FormatError, match=r'no known data; looked for: a JSON file .* \(YOLO\)$'):
        read(tmp_path)
    voc_xml(tmp_path / 'a.xml', [('cat', 1, 2, 3, 4)])
    coco_json(tmp_path / 'x.json', [image(0, 'a.jpg')], [box(0, 0, 0, [5, 6, 7, 8])], ['dog'])
    with pytest.raises(FormatError) as caught:
        read(tmp_path)
    assert str(caught.value) == (
        f'{tmp_path} holds coco (x.json) and voc (a.xml): say which with --format'
    )
    assert read(tmp_path, fmt='voc')[0] == {'a.jpg': [('cat', 1, 2, 3, 4)]}
    # A file says which as well.
    assert read(tmp_path / 'x.json')[0] == {'a.jpg': [('dog', 5, 6, 12, 14)]}
    with pytest.raises(FormatError, match='has nothing of the format yolo; looked for: '):
        read(tmp_path, fmt='yolo')


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    picture(tmp_path / 'a.jpg')
    voc_xml(tmp_path / 'a.xml', [('cat', 1, 2, 3, 4)])
    (tmp_path / 'again').symlink_to(tmp_path)
    assert len(read(tmp_path)[0]) == 1
