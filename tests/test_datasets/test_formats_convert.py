"""What a conversion writes: parts, files, statistics; and back into a dataset."""

import json
import random
from pathlib import Path

import pytest

from mmdetr.datasets import CocoDataset
from mmdetr.datasets.formats import FormatError, convert
from tests.helpers.foreign_data import coco_json, picture, voc_xml, write


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Ten videos of one to ten frames."""
    folder = tmp_path / 'videos'
    for video in range(10):
        for frame in range(video + 1):
            stem = f'v{video}_{frame:03}'
            picture(folder / f'images/{stem}.jpg')
            voc_xml(folder / f'xml/{stem}.xml', [('cat', 5, 6, 50 + frame, 60)])
    return folder


def names(file: Path) -> list[str]:
    return [image['file_name'] for image in json.loads(file.read_text())['images']]


def test_split_by_seed(videos: Path, tmp_path: Path) -> None:
    splits = []
    for number, seed in enumerate((0, 0, 1)):
        done = convert(videos, tmp_path / f'out{number}', seed=seed, val_share=0.3)
        train, val = names(done.files['train']), names(done.files['val'])
        assert not set(train) & set(val)
        assert (len(train), len(val)) == (38, 17)  # 0.3 of 55, rounded up
        splits.append(val)
    assert splits[0] == splits[1] != splits[2]


def test_frames_of_a_video_stay_together(videos: Path, tmp_path: Path) -> None:
    for seed in range(5):
        done = convert(videos, tmp_path / f'out{seed}', seed=seed, group=r'(v\d+)_')
        val = names(done.files['val'])
        in_val = {name.partition('_')[0] for name in val}
        assert not in_val & {name.partition('_')[0] for name in names(done.files['train'])}
        assert 6 <= len(val) <= 16  # near a fifth of 55, though videos are up to 10 long
    assert "10 groups by '(v\\\\d+)_' kept together (1 of one image)" in '\n'.join(done.lines)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(group='('), 'is no regular expression'),
        (dict(group='v'), '1 groups of images: training and validation need two'),
        (dict(named_parts=('train', None)), "no part 'train'; they have none"),
    ],
)
def test_splits_that_cannot_be(videos: Path, tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        convert(videos, tmp_path / 'out', **options)
    assert not (tmp_path / 'out').exists()


def test_an_image_in_two_parts_is_trained_on_alone(tmp_path: Path) -> None:
    for name in 'ab':
        picture(tmp_path / f'images/{name}.jpg')
        voc_xml(tmp_path / f'xml/{name}.xml', [('cat', 1, 1, 9, 9)])
    write(tmp_path / 'ImageSets/train.txt', 'a')
    write(tmp_path / 'ImageSets/test.txt', 'a\nb')
    done = convert(tmp_path, tmp_path / 'out')
    assert {part: names(file) for part, file in done.files.items()} == {
        'train': ['a.jpg'],
        'val': ['b.jpg'],
    }
    assert 'noted: 1 images in more than one part, left to train: a.jpg: train, val' in done.lines
    assert 'the split of the data is kept: train for training, test for validation' in done.lines


@pytest.mark.parametrize('images', ['reference', 'link', 'copy'])
def test_a_dataset_reads_it(tmp_path: Path, images: str) -> None:
    """Same names in two folders; random boxes of YOLO there and back."""
    draw = random.Random(0)
    truth: dict[tuple[str, str], list] = {}
    for part in ('train', 'val'):
        for name in ('a', 'b'):
            picture(tmp_path / f'yolo/{part}/images/{name}.jpg', (997, 613))
            rows, boxes = [], []
            for _ in range(20):
                x1, x2 = sorted(draw.uniform(0, 997) for _ in range(2))
                y1, y2 = sorted(draw.uniform(0, 613) for _ in range(2))
                label = draw.randrange(3)
                boxes.append((label, x1, y1, x2, y2))
                row = (x1 + x2) / 2 / 997, (y1 + y2) / 2 / 613, (x2 - x1) / 997, (y2 - y1) / 613
                rows.append(' '.join([str(label), *(f'{value:.6f}' for value in row)]))
            write(tmp_path / f'yolo/{part}/labels/{name}.txt', '\n'.join(rows))
            truth[part, name] = boxes
    write(tmp_path / 'yolo/data.yaml', 'names: [one, two, three]')
    done = convert(tmp_path / 'yolo', tmp_path / 'out', images=images)  # type: ignore[arg-type]
    for part, file in done.files.items():
        dataset = CocoDataset(
            ann_file=str(file), data_prefix=dict(img=str(done.image_root)), pipeline=[]
        )
        assert dataset.metainfo['classes'] == ('one', 'two', 'three')
        assert not dataset.dirty_boxes
        for info in (dataset.get_data_info(index) for index in range(len(dataset))):
            path = Path(info['img_path'])
            assert path.is_file()
            assert path.is_symlink() == (images == 'link')
            assert (tmp_path / 'out' in path.parents) == (images != 'reference')
            for found, (label, *edges) in zip(
                info['instances'], truth[part, path.stem], strict=True
            ):
                assert found['bbox_label'] == label
                # Half of the last digit, of the centre and of the width.
                assert found['bbox'] == pytest.approx(edges, abs=997e-6)


def test_polygons_keep_their_area(tmp_path: Path) -> None:
    for name in 'ab':
        picture(tmp_path / f'images/{name}.jpg')
    write(tmp_path / 'labels/a.txt', '0 0.1 0.1 0.5 0.1 0.5 0.6')
    write(tmp_path / 'labels/b.txt', '0 0.5 0.6 0.5 0.1 0.1 0.1')  # the other way round
    write(tmp_path / 'data.yaml', 'names: [cat]')
    done = convert(tmp_path, tmp_path / 'out')
    records = [json.loads(file.read_text())['annotations'][0] for file in done.files.values()]
    assert [record['bbox'] for record in records] == [[10, 8, 40, 40]] * 2
    assert [record['area'] for record in records] == [800] * 2  # half of the box
    polygons = sorted(record['segmentation'] for record in records)
    assert polygons == [[[10, 8, 50, 8, 50, 48]], [[50, 48, 50, 8, 10, 8]]]


def test_statistics_and_the_list_of_problems(tmp_path: Path) -> None:
    for name in 'abcd':
        picture(tmp_path / f'images/{name}.jpg')
    rows = {'a': '0 0.5 0.5 0.9 0.9\n1 0.5 0.5 0.1 0.1\n5 0.5 0.5 0.1 0.1', 'b': '0 0.5 0.5 1 0'}
    for name, text in rows.items():
        write(tmp_path / f'labels/{name}.txt', text)
    write(tmp_path / 'data.yaml', 'names: [cat, dog, owl]')
    done = convert(tmp_path, tmp_path / 'out', val_share=0.25)
    text = '\n'.join(done.lines)
    for line in (
        'YOLO: 4 images of',
        'split by seed 0, 25% for validation',
        'image sizes: 100x80 (4)',
        'objects an image: median 0, at most 2',
        'boxes: 1 small, 1 medium, 0 large as COCO counts them; median 50x40 pixels, the '
        'narrowest 10.0, the lowest 8.0',
        'classes without any object: owl',
        'dropped: 1 boxes of a class that data.yaml does not name: labels/a.txt, line 3: class 5',
        'dropped: 1 boxes without area: labels/b.txt, line 1',
        'noted: 2 images without label file, taken as background: images/c.jpg; images/d.jpg',
    ):
        assert line in text
    table = {line.split('  ')[0]: line.split()[-2:] for line in done.lines[2:7]}
    assert sum(map(int, table['images'])) == 4
    assert sum(map(int, table['images without object'])) == 3
    assert sum(map(int, table['cat'])) == 1
    report = (tmp_path / 'out/conversion.txt').read_text()
    assert 'noted: images without label file, taken as background: images/d.jpg\n' in report


def test_nothing_is_written_over(tmp_path: Path) -> None:
    picture(tmp_path / 'train/a.jpg')
    picture(tmp_path / 'val/b.jpg')
    for part, name in (('train', 'a'), ('val', 'b')):
        coco_json(
            tmp_path / f'{part}.json',
            [dict(id=1, file_name=f'{name}.jpg', width=100, height=80)],
            [dict(id=1, image_id=1, category_id=0, bbox=[1, 1, 5, 5])],
            ['cat'],
        )
    before = (tmp_path / 'train.json').read_text()
    with pytest.raises(FormatError, match='is there already: choose another folder'):
        convert(tmp_path, tmp_path)
    assert (tmp_path / 'train.json').read_text() == before


def test_data_without_a_box_or_image(tmp_path: Path) -> None:
    for name in 'ab':
        picture(tmp_path / f'images/{name}.jpg')
    write(tmp_path / 'labels/a.txt', '0 0.5 0.5 0 0.1')
    write(tmp_path / 'data.yaml', 'names: [cat]')
    with pytest.raises(FormatError, match='2 images, but not one box: 1 boxes without area'):
        convert(tmp_path, tmp_path / 'out')
    coco_json(tmp_path / 'x/x.json', [dict(id=1, file_name='gone.jpg')], [], ['cat'])
    with pytest.raises(FormatError, match='no image is left: 1 images that are not there'):
        convert(tmp_path / 'x/x.json', tmp_path / 'out')


def test_a_conversion_is_data_again(tmp_path: Path) -> None:
    """Its images are elsewhere, and others of the same name beside it."""
    for name in 'abcd':
        picture(tmp_path / f'photos/images/{name}.jpg')
        voc_xml(tmp_path / f'photos/xml/{name}.xml', [('cat', 1, 2, 3.5, 4)])
        picture(tmp_path / f'{name}.jpg', (10, 10))
    first = convert(tmp_path / 'photos', tmp_path / 'first')
    second = convert(tmp_path / 'first', tmp_path / 'second')
    assert {part: file.read_text() for part, file in first.files.items()} == {
        part: file.read_text() for part, file in second.files.items()
    }
    assert second.image_root == tmp_path / 'photos/images'
