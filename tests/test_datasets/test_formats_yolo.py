"""YOLO's label files: rows worked out by hand, and all the ways they go wrong."""

from pathlib import Path

import pytest

from mmdetr.datasets.formats import FormatError, read_folder
from mmdetr.datasets.formats.clean import clean_pictures
from mmdetr.datasets.formats.text_files import decode, split_numbers
from tests.helpers.foreign_data import boxes_of, picture, write

YAML = 'names: [cat, dog]\ntrain: images/train\nval: images/val\n'


def read(folder: Path) -> tuple[dict, object]:
    collection = read_folder(folder)
    clean_pictures(collection.pictures, collection.problems)
    return boxes_of(collection), collection


def one_file(folder: Path, text: str | bytes, yaml: str = YAML) -> tuple[dict, object]:
    picture(folder / 'images/train/a.jpg')
    write(folder / 'labels/train/a.txt', text)
    write(folder / 'data.yaml', yaml)
    return read(folder)


@pytest.mark.parametrize('layout', ['images/{}/{}', '{}/images/{}', '{}/{}'])
def test_split_layouts(tmp_path: Path, layout: str) -> None:
    """images/train + labels/train, train/images + train/labels, and labels beside images."""
    for part, name in (('train', 'a'), ('val', 'b')):
        image = picture(tmp_path / layout.format(part, f'{name}.jpg'))
        label = str(image.relative_to(tmp_path)).replace('images', 'labels')
        write((tmp_path / label).with_suffix('.txt'), '1 0.5 0.5 0.2 0.5\n')
    write(
        tmp_path / 'data.yaml',
        f'path: .\nnames:\n  0: cat\n  1: dog\ntrain: {layout.format("train", "")}\n'
        f'val: {layout.format("val", "")}\n',
    )
    boxes, collection = read(tmp_path)
    # Centre (50, 40), 20 x 40 pixels.
    assert boxes == {'a.jpg': [('dog', 40, 20, 60, 60)], 'b.jpg': [('dog', 40, 20, 60, 60)]}
    assert [each.parts for each in collection.pictures] == [{'train'}, {'val'}]
    assert collection.classes == ['cat', 'dog']


@pytest.mark.parametrize(
    ('entry', 'path'),
    [
        ('../train/images', None),  # as Roboflow writes it, from another folder
        ('train/images', '/home/somebody/datasets/cells'),
        ('C:\\data\\cells\\train\\images', None),
        ('list.txt', None),
        ('[train/images]', '.'),
    ],
)
def test_parts_of_other_computers(tmp_path: Path, entry: str, path: str | None) -> None:
    picture(tmp_path / 'train/images/a.jpg')
    write(tmp_path / 'train/labels/a.txt', '0 0.5 0.5 0.2 0.2')
    picture(tmp_path / 'valid/images/b.jpg')
    write(tmp_path / 'valid/labels/b.txt', '0 0.5 0.5 0.2 0.2')
    write(tmp_path / 'list.txt', './train/images/a.jpg\n')
    write(
        tmp_path / 'data.yaml',
        f'names: [cat]\ntrain: {entry}\n' + (f'path: {path}\n' if path else ''),
    )
    _, collection = read(tmp_path)
    # 'valid' is not in data.yaml, but folders say so.
    assert [(p.path.name, *p.parts) for p in collection.pictures] == [
        ('a.jpg', 'train'),
        ('b.jpg', 'val'),
    ]


def test_rows_by_hand(tmp_path: Path) -> None:
    text = (
        '0 0.25 0.25 0.1 0.2\n'  # 20..30, 12..28
        '1.0 0.5 0.5 0.2 0.2 0.87\n'  # with a confidence
        '0 0.1 0.1 0.3 0.1 0.3 0.5\n'  # a triangle: 10..30, 8..40
        '\n'
        '0 0,5 0,25 0,1 0,1\n'  # decimal commas: 45..55, 16..24
        '0,0.9,0.9,0.1,0.1\n'  # 85..95, 68..76
    )
    boxes, collection = one_file(tmp_path, text)
    assert boxes['a.jpg'] == [
        ('cat', 20, 12, 30, 28),
        ('dog', 40, 32, 60, 48),
        ('cat', 10, 8, 30, 40),
        ('cat', 45, 16, 55, 24),
        ('cat', 85, 68, 95, 76),
    ]
    assert collection.pictures[0].boxes[2].segmentation == [[10.0, 8.0, 30.0, 8.0, 30.0, 40.0]]
    assert dict(collection.problems.repaired) == {
        'rows with decimal commas': ['labels/train/a.txt, line 5']
    }


def test_everything_dropped_or_repaired_is_named(tmp_path: Path) -> None:
    text = (
        '0 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.2 0.2\n'  # 2: stands twice
        '7 0.5 0.5 0.2 0.2\n'  # 3: no such class
        'cat 0.5 0.5 0.2 0.2\n0 0.5 0.5\n'  # 4, 5: no box
        '0 0.5 0.5 0 0.2\n'  # 6: no width
        '0 0.98 0.5 0.2 0.2\n'  # 7: passes the right edge
        '0 0.5 nan 0.2 0.2\n'  # 8
        '0 1.3 0.5 0.2 0.2\n'  # 9: outside
        '0 50 40 20 20\n'  # 10: pixels
        '0 1.6 0.5 1.4 0.2\n'  # 11: more than rounding makes
        '1 0.25 0.5 0.2 0.2\n' * 1 + '1 0.2 0.5 0.1 0.2\n1 0.1 0.5 0.1 0.2\n'
    )
    boxes, collection = one_file(tmp_path, text)
    where = 'labels/train/a.txt, line '
    assert dict(collection.problems.dropped) == {
        'boxes of a class that data.yaml does not name': [f'{where}3: class 7'],
        'rows that are no box': [
            f"{where}4: 'cat 0.5 0.5 0.2 0.2'",
            f"{where}5: '0 0.5 0.5'",
            f"{where}8: '0 0.5 nan 0.2 0.2'",
        ],
        'boxes without area': [f'{where}6'],
        'boxes that are no fractions of the image': [f'{where}10', f'{where}11'],
        'label files without image': [],
        'boxes that stand twice': [f'{where}2'],
        'boxes outside of their image': [f'{where}9'],
    }
    assert dict(collection.problems.repaired) == {'boxes clipped to their image': [f'{where}7']}
    assert boxes['a.jpg'][:2] == [('cat', 40, 32, 60, 48), ('cat', 88, 32, 100, 48)]
    assert len(boxes['a.jpg']) == 5


def test_rounding_is_no_repair(tmp_path: Path) -> None:
    """A box of the whole image, rounded to six digits."""
    boxes, collection = one_file(tmp_path, '0 0.500001 0.5 1.000001 1.0')
    assert boxes['a.jpg'] == [('cat', 0, 0, 100, 80)]
    assert not collection.problems.repaired


def test_rows_in_pixels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r'2 of 3 rows are not class cx cy w h in fractions'):
        one_file(tmp_path, '0 50 40 20 20\n0 30 40 20 20\n0 0.5 0.5 0.1 0.1')


def test_images_without_objects_and_files_without_images(tmp_path: Path) -> None:
    picture(tmp_path / 'images/a.jpg')
    write(tmp_path / 'labels/a.txt', '')  # nothing on it
    picture(tmp_path / 'images/b.jpg')  # no file
    picture(tmp_path / 'images/c.jpg')
    write(tmp_path / 'labels/c.txt', '0 0.5 0.5 0.5 0.5')
    write(tmp_path / 'labels/gone.txt', '0 0.5 0.5 0.5 0.5')
    write(tmp_path / 'images/broken.jpg', 'no picture')
    write(tmp_path / 'data.yaml', 'names: [cat]\nnc: 2')
    boxes, collection = read(tmp_path)
    assert {name: len(found) for name, found in boxes.items()} == {
        'a.jpg': 0,
        'b.jpg': 0,
        'c.jpg': 1,
    }
    problems = collection.problems
    assert problems.noted['images without label file, taken as background'] == ['images/b.jpg']
    assert problems.dropped['label files without image'] == ['labels/gone.txt']
    assert problems.dropped['images that cannot be used'] == [
        'images/broken.jpg: it is no image, or of an unknown format'
    ]
    assert problems.noted['numbers of classes (nc) other than the names']


def test_same_names_in_several_folders(tmp_path: Path) -> None:
    for folder, x in (('one', 0.25), ('two', 0.75)):
        picture(tmp_path / 'images' / folder / 'a.jpg')
        write(tmp_path / 'labels' / folder / 'a.txt', f'0 {x} 0.5 0.1 0.1')
    write(tmp_path / 'data.yaml', 'names: [cat]')
    _, collection = read(tmp_path)
    assert [p.boxes[0].bbox_xyxy[0] for p in collection.pictures] == pytest.approx([20, 70])


def test_fractions_are_of_the_picture_as_shown(tmp_path: Path) -> None:
    """Stored 100 x 80, shown 80 x 100."""
    picture(tmp_path / 'images/train/a.jpg', orientation=6)
    boxes, collection = one_file_keeping(tmp_path, '0 0.5 0.5 0.5 0.5')
    assert boxes['a.jpg'] == [('cat', 20, 25, 60, 75)]
    assert (collection.pictures[0].width, collection.pictures[0].height) == (80, 100)


def one_file_keeping(folder: Path, text: str) -> tuple[dict, object]:
    write(folder / 'labels/train/a.txt', text)
    write(folder / 'data.yaml', YAML)
    return read(folder)


@pytest.mark.parametrize(
    'content',
    [
        '0 0.5 0.5 0.2 0.2\r\n'.encode('utf-16'),
        '0 0.5 0.5 0.2 0.2\n'.encode('utf-16-le'),
        '\ufeff0\t0.5 0.5 0.2 0.2'.encode(),
        '0;0,5;0,5;0,2;0,2'.encode('cp1252'),
    ],
)
def test_encodings_of_rows(tmp_path: Path, content: bytes) -> None:
    boxes, _ = one_file(tmp_path, content)
    assert boxes['a.jpg'] == [('cat', 40, 32, 60, 48)]


def test_encodings_of_names() -> None:
    for encoding in ('utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be', 'cp1252'):
        assert decode('names: [Zähler]\n'.encode(encoding)) == 'names: [Zähler]\n'


def test_numbers_that_stand_in_other_ways() -> None:
    assert split_numbers('0 1,5,') == (['0', '1.5'], True)
    assert split_numbers('0,1,2,3,4') == (['0', '1', '2', '3', '4'], False)


def test_keypoints_are_left_out(tmp_path: Path) -> None:
    yaml = YAML + 'kpt_shape: [1, 3]\n'
    boxes, _ = one_file(tmp_path, '0 0.5 0.5 0.2 0.2 0.4 0.4 2.0', yaml)
    assert boxes['a.jpg'] == [('cat', 40, 32, 60, 48)]


def test_class_list_without_yaml(tmp_path: Path) -> None:
    picture(tmp_path / 'a.jpg')
    write(tmp_path / 'a.txt', '1 0.5 0.5 0.2 0.2')
    with pytest.raises(FormatError, match=r'no class names: a data.yaml with names:, or a classes'):
        read(tmp_path)
    write(tmp_path / 'classes.txt', 'cat\nbig dog\n')
    boxes, _ = read(tmp_path)
    assert boxes == {'a.jpg': [('big dog', 40, 32, 60, 48)]}


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        ('{0: cat, 1: cat}', "the class 'cat' is named twice"),
        ('{a: cat}', 'the keys of names: are no class numbers'),
        ('3', 'names: must be a list of class names, or names by number'),
    ],
)
def test_class_lists_that_say_nothing(tmp_path: Path, names: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        one_file(tmp_path, '0 0.5 0.5 0.1 0.1', f'names: {names}')


def test_gaps_between_class_numbers_stay(tmp_path: Path) -> None:
    boxes, _ = one_file(tmp_path, '2 0.5 0.5 0.2 0.2', 'names: {0: cat, 2: dog}')
    assert boxes['a.jpg'][0][0] == 'dog'


def test_another_library_refuses_all_for_one_bad_row(tmp_path: Path) -> None:
    """Why supervision's reader is not used: one bad row, or an unknown class, ends it.

    Images in subfolders of the folder that it is given are not seen, without a word.
    """
    supervision = pytest.importorskip('supervision')
    write(tmp_path / 'data.yaml', 'names: [cat]')
    picture(tmp_path / 'images/a.jpg')
    picture(tmp_path / 'images/deeper/b.jpg')
    label = write(tmp_path / 'labels/a.txt', '0 0.5 0.5 0.2 0.2')
    write(tmp_path / 'labels/deeper/b.txt', '0 0.5 0.5 0.2 0.2')
    where = [str(tmp_path / name) for name in ('images', 'labels', 'data.yaml')]
    assert len(supervision.DetectionDataset.from_yolo(*where)) == 1
    assert len(read(tmp_path)[0]) == 2
    for row in ('0 0,1 0,1 0,1 0,1', '7 0.5 0.5 0.2 0.2'):
        label.write_text(f'0 0.5 0.5 0.2 0.2\n{row}\n')
        with pytest.raises(ValueError, match=r'Invalid YOLO annotation|class_id 7'):
            supervision.DetectionDataset.from_yolo(*where)
        assert read(tmp_path)[0]['a.jpg'][0] == ('cat', 40, 32, 60, 48)
