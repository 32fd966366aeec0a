"""Pascal VOC: the two readings of a pixel, and dirty XML."""

import json
import os
import shutil
from pathlib import Path

import pytest

from mmdetr.datasets.formats import FormatError, convert, read_folder
from mmdetr.datasets.formats.clean import clean_pictures
from mmdetr.datasets.formats.xml_files import read_xml
from tests.helpers.foreign_data import boxes_of, picture, voc_xml, write

# With annotations_voc, imagesets and the COCO files that others made of them.
BCCD = Path(os.environ.get('MMDETR_BCCD', Path(__file__).parents[2] / 'data' / 'bccd'))


def read(folder: Path, **options) -> tuple[dict, object]:
    collection = read_folder(folder, **options)
    clean_pictures(collection.pictures, collection.problems)
    return boxes_of(collection), collection


def test_edges_and_pixels_of_the_devkit(tmp_path: Path) -> None:
    """The whole image is 1..100 by 1..80 for the devkit, 0..100 by 0..80 for others."""
    picture(tmp_path / 'a.jpg')
    picture(tmp_path / 'b.jpg')
    devkit = 'The VOC2007 Database'
    whole, pixel = ('cat', 1, 1, 100, 80), ('cat', 7, 9, 7, 9)
    voc_xml(tmp_path / 'a.xml', [whole, pixel], database=devkit)
    voc_xml(tmp_path / 'b.xml', [('cat', 0, 0, 100, 80), ('dog', 7, 9, 7, 9)])
    boxes, collection = read(tmp_path)
    assert boxes == {
        'a.jpg': [('cat', 0, 0, 100, 80), ('cat', 6, 8, 7, 9)],  # one pixel is a box
        'b.jpg': [('cat', 0, 0, 100, 80)],  # and a corner is none
    }
    assert collection.problems.dropped['boxes without area'] == ['b.xml, line 5']
    assert [line.split(' XML')[0] for line in collection.conventions] == ['1', '1']

    assert read(tmp_path, voc_pixels='edges')[0]['a.jpg'] == [('cat', 1, 1, 100, 80)]
    inclusive, collection = read(tmp_path, voc_pixels='inclusive')
    assert inclusive['b.jpg'] == [('cat', 0, 0, 100, 80), ('dog', 6, 8, 7, 9)]
    # xmin 0 is no pixel of the devkit's.
    assert collection.problems.repaired == {'boxes clipped to their image': ['b.xml, line 4']}


def test_there_and_back(tmp_path: Path) -> None:
    """Edges written as the devkit has them, and read."""
    edges = [(0, 0, 1, 1), (3, 4, 90, 80), (99, 79, 100, 80)]
    picture(tmp_path / 'a.jpg')
    voc_xml(
        tmp_path / 'a.xml',
        [('cat', x1 + 1, y1 + 1, x2, y2) for x1, y1, x2, y2 in edges],
        database='PASCAL VOC2012',
    )
    assert [row[1:] for row in read(tmp_path)[0]['a.jpg']] == edges


def test_lists_of_the_split(tmp_path: Path) -> None:
    for name in ('a', 'b', 'c', 'd'):
        picture(tmp_path / f'JPEGImages/{name}.jpg')
        voc_xml(tmp_path / f'Annotations/{name}.xml', [('cat', 1, 1, 9, 9)])
    lists = tmp_path / 'ImageSets/Main'
    write(lists / 'train.txt', 'a\n')
    write(lists / 'val.txt', 'b\r\n')
    write(lists / 'trainval.txt', 'a\nb\n')
    write(lists / 'test.txt', 'c.jpg 1\n')
    write(lists / 'cat_train.txt', 'a 1\nd -1\n')  # of one class: no part of the data
    _, collection = read(tmp_path)
    assert [(p.path.stem, sorted(p.parts)) for p in collection.pictures] == [
        ('a', ['train', 'trainval']),
        ('b', ['trainval', 'val']),
        ('c', ['test']),
    ]
    assert collection.problems.dropped['images in none of the lists of ImageSets'] == [
        'JPEGImages/d.jpg'
    ]
    done = convert(tmp_path, tmp_path / 'kept')
    found = {part: names(file) for part, file in done.files.items()}
    assert found == dict(train=['a.jpg'], val=['b.jpg'], test=['c.jpg'])
    shutil.rmtree(tmp_path / 'kept')  # which is a data set as well
    done = convert(tmp_path, tmp_path / 'out', named_parts=('trainval', 'test'))
    assert {part: names(file) for part, file in done.files.items()} == {
        'train': ['a.jpg', 'b.jpg'],
        'val': ['c.jpg'],
    }


def names(file: Path) -> list[str]:
    return [image['file_name'] for image in json.loads(file.read_text())['images']]


def test_dirty_files(tmp_path: Path) -> None:
    for name in 'abcdefg':
        picture(tmp_path / 'images' / f'{name}.JPG')
    xml = tmp_path / 'xml'
    # Of the machine of the author, in another case, with exchanged corners and decimal commas.
    voc_xml(xml / 'a.xml', [('cat', 60, '50,5', 20, 10)], filename='C:\\Users\\me\\A.jpg')
    voc_xml(xml / 'b.xml', [('cat', 60, 50, 160, 70), (' ', 1, 1, 5, 5)], size=None)
    voc_xml(xml / 'c.xml', [('cat', 1, 1, 5, 5)], size=(640, 480))
    voc_xml(xml / 'gone.xml', [('cat', 1, 1, 5, 5)])
    voc_xml(xml / 'frame_0001.xml', [('cat', 1, 1, 5, 'five')], filename='d')
    write(xml / 'e.xml', '<annotation><object><name>Zähler</name>'.encode('cp1252'))
    text = '<?xml version="1.0" encoding="utf-8"?><annotation><object><name>Zähler</name><bndbox>'
    text += (
        '<xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></object></annotation>'
    )
    write(xml / 'f.xml', text.encode('cp1252'))  # other than stated
    boxes, collection = read(tmp_path)
    assert boxes == {
        'a.JPG': [('cat', 20, 10, 60, 50.5)],
        'b.JPG': [('cat', 60, 50, 100, 70)],
        'd.JPG': [],
        'e.JPG': [],
        'f.JPG': [('Zähler', 1, 2, 3, 4)],
        'g.JPG': [],
    }
    dropped, repaired = collection.problems.dropped, collection.problems.repaired
    assert dropped['XML files without image'] == ['xml/gone.xml: no such image']
    assert dropped['images of another size than their XML states'] == [
        'images/c.JPG is 100x80, xml/c.xml says 640x480'
    ]
    assert dropped['objects without class'] == ['xml/b.xml, line 4']
    assert dropped['boxes with a coordinate that is no number'] == ['xml/frame_0001.xml, line 4']
    assert 'e.xml: no element found' in dropped['XML files that cannot be read'][0]
    assert repaired['boxes whose corners were exchanged'] == ['xml/a.xml, line 4']
    assert repaired['boxes clipped to their image'] == ['xml/b.xml, line 3']
    assert repaired['sizes that the XML does not state, taken from the image'] == [
        'xml/b.xml',
        'xml/f.xml',
    ]
    assert collection.problems.noted['images without XML file, taken as background'] == [
        'images/e.JPG',
        'images/g.JPG',
    ]


def test_the_stated_size_says_the_frame_of_a_turned_photograph(tmp_path: Path) -> None:
    for name, size in (('stored', (100, 80)), ('shown', (80, 100))):
        picture(tmp_path / f'{name}.jpg', orientation=6)
        voc_xml(tmp_path / f'{name}.xml', [('cat', 1, 1, 5, 5)], size=size)
    _, collection = read(tmp_path)
    assert [(p.width, p.height) for p in collection.pictures] == [(80, 100), (100, 80)]


def test_same_names_in_several_folders(tmp_path: Path) -> None:
    for folder, edge in (('one', 10), ('two', 20)):
        picture(tmp_path / f'images/{folder}/a.jpg')
        voc_xml(tmp_path / f'annotations/{folder}/a.xml', [('cat', 0, 0, edge, edge)])
    _, collection = read(tmp_path)
    assert [p.boxes[0].bbox_xyxy[2] for p in collection.pictures] == [10, 20]

    voc_xml(tmp_path / 'annotations/three/a.xml', [('cat', 0, 0, 5, 5)])
    _, collection = read(tmp_path)
    assert collection.problems.dropped['XML files without image'] == [
        'annotations/three/a.xml: 2 images of that name'
    ]


def test_entities_are_refused(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;">]><a>&c;</a>'
    with pytest.raises(FormatError, match='it declares entities of its own'):
        read_xml(write(tmp_path / 'a.xml', bomb))


@pytest.mark.skipif(
    not (BCCD / 'annotations_voc').is_dir(), reason='needs the photographs of BCCD (MMDETR_BCCD)'
)
def test_bccd_gives_the_boxes_of_its_coco_files(tmp_path: Path) -> None:
    """Two boxes of no size are dropped; all others are equal to the last digit."""
    done = convert(BCCD / 'annotations_voc', tmp_path / 'out', named_parts=('trainval', 'test'))
    for part in ('train', 'val'):
        ours, published = _rows(done.files[part]), _rows(BCCD / f'{part}.json')
        assert ours == [row for row in published if min(row[-2:]) > 0]
        assert len(published) - len(ours) == (2 if part == 'train' else 0)
    assert done.collection.problems.dropped['boxes without area'] == [
        'annotations_voc/BloodImage_00338.xml, line 158',
        'annotations_voc/BloodImage_00343.xml, line 50',
    ]


def _rows(file: Path) -> list[tuple]:
    content = json.loads(file.read_text())
    files = {image['id']: image['file_name'] for image in content['images']}
    classes = {each['id']: each['name'] for each in content['categories']}
    return sorted(
        (files[each['image_id']], classes[each['category_id']], *each['bbox'])
        for each in content['annotations']
    )


def test_another_library_shifts_boxes_of_most_tools(tmp_path: Path) -> None:
    """Why supervision's reader is not used: it takes every file for the devkit's, and drops files.

    The boxes of BCCD, as of every other labelImg file, would move by a pixel; an XML file without
    image is not mentioned, an image in a subfolder is not seen.
    """
    supervision = pytest.importorskip('supervision')
    picture(tmp_path / 'images/a.jpg')
    picture(tmp_path / 'images/deeper/b.jpg')
    for name in ('a', 'b', 'gone'):
        voc_xml(tmp_path / f'xml/{name}.xml', [('cat', 20, 10, 60, 50)])
    theirs = supervision.DetectionDataset.from_pascal_voc(
        str(tmp_path / 'images'), str(tmp_path / 'xml')
    )
    assert len(theirs) == 1
    assert theirs[0][2].xyxy.tolist() == [[19, 9, 60, 50]]
    boxes, collection = read(tmp_path)
    assert boxes == {'a.jpg': [('cat', 20, 10, 60, 50)], 'b.jpg': [('cat', 20, 10, 60, 50)]}
    assert collection.problems.dropped['XML files without image']
