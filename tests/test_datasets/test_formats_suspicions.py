"""Data that look like what they are not: refused, or said with a count."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmdetr.datasets.formats import FormatError, convert, read_folder
from tests.helpers.foreign_data import SIZE, coco_json, picture, voc_xml, write

ROW = '0 0.5 0.5 0.2 0.2'
NAMES = 'names: [cat, dog]\n'


def yolo(
    folder: Path,
    rows: dict[str, str | None],
    yaml: str = NAMES,
    places: tuple = ('images', 'labels'),
) -> None:
    """Write a picture for each name, and its rows where there are some."""
    write(folder / 'data.yaml', yaml)
    for name, text in rows.items():
        picture(folder / places[0] / f'{name}.jpg')
        if text is not None:
            write(folder / places[1] / f'{name}.txt', text)


def keypoints(dimensions: int) -> str:
    points = [(0.42 + 0.01 * i, 0.45 + 0.005 * i, i % 3)[:dimensions] for i in range(5)]
    return '0 0.5 0.5 0.3 0.3 ' + ' '.join(f'{value:.3f}' for point in points for value in point)


def several(row: str, number: int = 3) -> dict[str, str | None]:
    return dict.fromkeys('abcdefgh'[:number], row)


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        (
            {'a': '1 0.5 0.5 0.2 0.2', 'b': '2 0.5 0.5 0.2 0.2'},
            'the rows have classes from 1 to 2, but the 2 names count from 0',
        ),
        (
            {'a': f'{ROW}\n7 0.2 0.2 0.1 0.1\n56 0.8 0.2 0.1 0.1'},
            r'2 of 3 rows have a class beyond the 2 names \(the largest is 56\)',
        ),
        (several(keypoints(2)), r'3 rows look like a box with 5 keypoints .*kpt_shape: \[5, 2\]'),
        ({'a': keypoints(3)}, r'1 rows look like a box with 5 keypoints .*kpt_shape: \[5, 3\]'),
        (
            {str(i): f'0 0.{i}1 0.{i}2 0.{min(i + 2, 9)}5 0.{min(i + 1, 9)}9' for i in range(1, 9)},
            r'the boxes look like \[x1, y1, x2, y2\] in fractions',
        ),
        (
            {str(i): f'0 0.{i}1 0.0{i} 0.{9 - i}8 0.2' for i in range(1, 9)},
            r'the boxes look like \[x, y, width, height\] in fractions',
        ),
        (
            several('0 0.5 0.5 0.2 0.2 1.2'),
            r'not one box: 3 rows whose sixth number is no confidence .*labels/a.txt, line 1: 1.2',
        ),
        (several(None), r'not one box: 1 label files without image, .*; 3 images without'),
    ],
)
def test_yolo_that_is_something_else(tmp_path: Path, rows: dict, message: str) -> None:
    yolo(tmp_path / 'data', rows)
    write(tmp_path / 'data/labels/of_nothing.txt', ROW)
    with pytest.raises(FormatError, match=message):
        convert(tmp_path / 'data', tmp_path / 'out')


def test_polygons_are_no_keypoints(tmp_path: Path) -> None:
    """Pentagons all over the image, one of them where keypoints would lie."""
    pentagon = ' '.join(
        f'{x} {y}' for x, y in [(0.4, 0.4), (0.6, 0.4), (0.6, 0.6), (0.5, 0.7), (0.4, 0.6)]
    )
    corner = ' '.join(
        f'{x} {y}' for x, y in [(0.0, 0.0), (0.1, 0.0), (0.1, 0.1), (0.05, 0.2), (0, 0.1)]
    )
    yolo(tmp_path, {'a': f'0 {pentagon}', 'b': f'0 {corner}', 'c': f'0 {corner}'})
    boxes = [each.boxes[0].bbox_xyxy for each in read_folder(tmp_path).pictures]
    assert boxes[1] == pytest.approx((0, 0, 10, 16))


def test_what_rows_have_beside_a_box_is_counted(tmp_path: Path) -> None:
    yolo(tmp_path, {'a': f'{ROW} 0.9', 'b': '0 0.1 0.1 1.2 0.1 0.5 0.5', 'c': ROW})
    problems = read_folder(tmp_path).problems
    assert problems.noted['rows with a sixth number, taken for a confidence and left out'] == [
        'labels/a.txt, line 1'
    ]
    assert problems.repaired['polygons clipped to their image'] == ['labels/b.txt, line 1']


@pytest.mark.parametrize('places', [('Images', 'Labels'), ('train/IMAGES', 'train/labels')])
def test_names_of_another_case(tmp_path: Path, places: tuple) -> None:
    yolo(tmp_path, {'a': ROW, 'b': ROW}, places=places)
    labels = tmp_path / places[1]
    (labels / 'b.txt').rename(labels / 'b.TXT')
    assert [len(each.boxes) for each in read_folder(tmp_path).pictures] == [1, 1]


def test_names_are_texts(tmp_path: Path) -> None:
    """YAML takes no for false and 010 for eight."""
    yolo(tmp_path, {'a': ROW}, 'names: [no, 010, null, 1e3]\nnc: 4\nval: null\n')
    collection = read_folder(tmp_path)
    assert collection.classes == ['no', '010', 'null', '1e3']
    assert not any(collection.problems.noted.values())


def test_a_name_twice_in_the_yaml(tmp_path: Path) -> None:
    yolo(tmp_path, {'a': ROW}, 'names:\n  0: cat\n  1: dog\n  1: cow\n')
    with pytest.raises(FormatError, match=r'no class names|1 is there twice'):
        read_folder(tmp_path)


@pytest.mark.parametrize('val', ['images', 'images/v'])
def test_validation_images_that_are_trained_on(tmp_path: Path, val: str) -> None:
    yolo(tmp_path / 'data', {'a': ROW, 'b': ROW, 'v/c': ROW}, f'{NAMES}train: images\nval: {val}\n')
    done = convert(tmp_path / 'data', tmp_path / 'out')
    assert 'since all images of val are in train as well' in done.lines[1]
    reason = 'images in more than one part, left to train'
    assert len(done.collection.problems.noted[reason]) == (3 if val == 'images' else 1)
    assert done.files.keys() == {'train', 'val'}


def test_pictures_of_other_suffixes(tmp_path: Path) -> None:
    yolo(tmp_path, {'a': ROW, 'b': ROW})
    (tmp_path / 'images/b.jpg').rename(tmp_path / 'images/b.JFIF')
    picture(tmp_path / 'images/a.png')
    write(tmp_path / 'images/c.heic', b'\0\0\0\x18ftypheic')
    write(tmp_path / 'd.MP4', b'\0')
    collection = read_folder(tmp_path)
    assert [each.path.name for each in collection.pictures] == ['a.jpg', 'a.png', 'b.JFIF']
    problems = collection.problems
    assert problems.dropped['files of formats that are not read'] == ['images/c.heic', 'd.MP4']
    assert problems.noted['label files that several images share'] == [
        'labels/a.txt: images/a.jpg, images/a.png'
    ]


@pytest.mark.parametrize(
    ('boxes', 'form'),
    [
        ([(0.1, 0.2, 0.3, 0.4)] * 3, r'fractions of the image \(0..1\)'),
        ([(60 + i, 50 + i, 20, 15) for i in range(8)], r'\[x, y, width, height\]'),
        ([(10 + i, 70 - i, 20, 15) for i in range(8)], r'\[centre x, centre y, width, height\]'),
    ],
)
def test_voc_boxes_of_another_form(tmp_path: Path, boxes: list, form: str) -> None:
    for number, box in enumerate(boxes):
        picture(tmp_path / f'{number}.jpg')
        voc_xml(tmp_path / f'{number}.xml', [('cat', *box)])
    with pytest.raises(FormatError, match=f'boxes of the XML files look like {form}; Pascal VOC'):
        read_folder(tmp_path)


def test_voc_difficult_objects_are_counted(tmp_path: Path) -> None:
    picture(tmp_path / 'a.jpg')
    file = voc_xml(tmp_path / 'a.xml', [('cat', 1, 2, 30, 40), ('dog', 1, 2, 30, 40)])
    text = file.read_text().replace('<name>cat</name>', '<name>cat</name><difficult>1</difficult>')
    file.write_text(text)
    collection = read_folder(tmp_path)
    reason = 'objects marked as difficult, which count like all others'
    assert collection.problems.noted[reason] == ['a.xml, line 4']
    assert len(collection.pictures[0].boxes) == 2


def coco(folder: Path, names: dict, annotations: list[dict], ids: str = 'number') -> Path:
    images = []
    for number, name in enumerate('ab'):
        picture(folder / f'{name}.jpg')
        image_id: Any = str(number) if ids == 'text' else number
        images.append(dict(id=image_id, file_name=f'{name}.jpg', width=SIZE[0], height=SIZE[1]))
    return coco_json(folder / 'x.json', images, annotations, names)


def annotation(**values: Any) -> dict:
    return dict(dict(id=1, image_id=0, category_id=1, bbox=[1, 2, 30, 40]), **values)


@pytest.mark.parametrize(
    ('changes', 'ids', 'message'),
    [
        ({}, 'text', 'x.json, annotation 1: image_id 0, which is "0" in the list'),
        (dict(category_id='1'), 'number', 'annotation 1: category_id "1", which is 1 in the list'),
        (dict(category_id=9), 'number', 'annotation 1: category_id 9$'),
        (dict(bbox=None, segmentation=[[[1, 2], [3]]]), 'number', '1 annotations without box'),
        (dict(bbox=None, segmentation=[[1, 2, 3, 'x', 5, 6]]), 'number', 'annotations without box'),
    ],
)
def test_coco_ids_and_polygons(tmp_path: Path, changes: dict, ids: str, message: str) -> None:
    coco(tmp_path / 'data', {1: 'cat'}, [annotation(**changes)], ids)
    with pytest.raises(FormatError, match=f'2 images, but not one box: .*{message}'):
        convert(tmp_path / 'data', tmp_path / 'out')


def test_coco_categories_of_one_name(tmp_path: Path) -> None:
    coco(
        tmp_path, {1: 'cat', 2: 'cat '}, [annotation(), annotation(id=2, category_id=2, image_id=1)]
    )
    collection = read_folder(tmp_path)
    assert collection.classes == ['cat']
    reason = 'categories of a name that is there already, taken as one class'
    assert collection.problems.noted[reason] == ['x.json, category 2: cat']


def test_coco_record_that_is_none(tmp_path: Path) -> None:
    file = coco(tmp_path, {1: 'cat'}, [annotation()])
    content = json.loads(file.read_text())
    content['annotations'].insert(0, None)
    file.write_text(json.dumps(content))
    with pytest.raises(FormatError, match=r'x\.json: number 0 of annotations must be a record'):
        read_folder(tmp_path)


def test_files_of_several_pictures_are_counted(tmp_path: Path) -> None:
    yolo(tmp_path, {'a': ROW})
    frames = [Image.new('RGB', SIZE, colour) for colour in ('red', 'blue')]
    frames[0].save(tmp_path / 'images/b.gif', save_all=True, append_images=frames[1:])
    noted = read_folder(tmp_path).problems.noted
    assert noted['files of several pictures, of which the first is used'] == ['images/b.gif (2)']
