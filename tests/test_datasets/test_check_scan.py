"""What headers and contents of files show without decoding."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmdetr.datasets import CocoDataset
from mmdetr.datasets.check import check_images
from mmdetr.datasets.check_scan import check_scan
from mmdetr.datasets.image_scan import scan_images
from tests.helpers.coco_files import annotation, write_coco

PIPELINE = [dict(type='LoadImageFromFile', exif_frame='stored')]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


def save(path: Path, seed: int, size: tuple[int, int], orientation: int = 1) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path, exif=exif)


def dataset(folder: Path, stored: tuple, stated: tuple, tag: int, bbox: tuple, **kwargs: Any):
    images = [dict(id=i, file_name=f'{i}.jpg', width=stated[0], height=stated[1]) for i in range(4)]
    for each in images:
        seed = sum(map(ord, folder.name)) * 10 + each['id']
        save(folder / each['file_name'], seed, stored, tag if each['id'] else 1)
    images[0].update(width=stored[0], height=stored[1])
    boxes = [annotation(i, i, 7, bbox if i else [0, 0, 5, 5], iscrowd=0) for i in range(4)]
    ann_file = write_coco(folder, images, boxes)
    return CocoDataset(ann_file, data_prefix=dict(img=str(folder)), **kwargs)


def texts(data: CocoDataset, name: str = 'data') -> str:
    return '\n'.join(f'{each.level}: {each.text}' for each in check_scan([(data, name)]))


@pytest.mark.parametrize('tag', [2, 3, 4])
def test_undecided_photographs_are_counted(tmp_path: Path, tag: int) -> None:
    data = dataset(tmp_path / 'a', (40, 20), (40, 20), tag, (1, 1, 9, 9))
    assert 'warning: data: 3 images have an EXIF orientation' in texts(data)
    assert 'taken as shown' in texts(data)
    data = dataset(tmp_path / 'b', (40, 20), (40, 20), tag, (1, 1, 9, 9), pipeline=PIPELINE)
    assert 'taken as stored' in texts(data)


def test_square_photographs_are_undecided(tmp_path: Path) -> None:
    assert '3 images have' in texts(dataset(tmp_path / 'a', (20, 20), (20, 20), 6, (1, 1, 9, 9)))


def test_stated_sizes_decide(tmp_path: Path) -> None:
    shown = dataset(tmp_path / 'a', (40, 20), (20, 40), 6, (1, 25, 9, 9))
    assert texts(shown) == ''
    stored = dataset(tmp_path / 'b', (40, 20), (40, 20), 6, (25, 1, 9, 9))
    assert 'warning: data: 3 images with an EXIF orientation are taken as stored' in texts(stored)


def test_stored_size_and_boxes_of_the_shown_picture(tmp_path: Path) -> None:
    """As Label Studio exports a portrait photograph."""
    data = dataset(tmp_path / 'a', (40, 20), (40, 20), 6, (1, 25, 9, 9))
    assert 'error: data: the file states the stored size of 3 images with an EXIF' in texts(data)
    assert 'look like' not in texts(data)
    without = dataset(tmp_path / 'b', (40, 20), (40, 20), 1, (1, 25, 9, 9))
    assert 'whose width and height are exchanged' in texts(without)


def test_copies_within_and_across(tmp_path: Path) -> None:
    train = dataset(tmp_path / 'a', (40, 20), (40, 20), 1, (1, 1, 9, 9))
    val = dataset(tmp_path / 'b', (40, 20), (40, 20), 1, (1, 1, 9, 9))
    assert check_scan([(train, 'train'), (val, 'val')]) == []
    shutil.copy(tmp_path / 'a' / '0.jpg', tmp_path / 'b' / '3.jpg')
    shutil.copy(tmp_path / 'a' / '0.jpg', tmp_path / 'a' / '2.jpg')
    found = '\n'.join(text for _, text in check_scan([(train, 'train'), (val, 'val')]))
    assert 'train: 1 pictures are there more than once' in found
    assert '1 pictures stand in both train and val' in found
    assert 'val: ' not in found
    same = '\n'.join(text for _, text in check_scan([(train, 'train'), (train, 'val')]))
    assert '4 pictures stand in both train and val' in same or '3 pictures' in same


def test_a_file_listed_twice(tmp_path: Path) -> None:
    save(tmp_path / '1.png', 0, (100, 80))
    images = [dict(id=i, file_name='1.png', width=100, height=80) for i in (1, 2)]
    ann_file = write_coco(tmp_path, images, [])
    data = CocoDataset(ann_file, data_prefix=dict(img=str(tmp_path)))
    assert '1 image files are listed more than once' in texts(data)


def test_sizes_are_compared_with_headers(tmp_path: Path) -> None:
    """Without decoding; either frame of a turned photograph is right."""
    data = dataset(tmp_path / 'a', (40, 20), (41, 20), 1, (1, 1, 9, 9))
    assert (
        f'warning: data: 3 of 4 images cannot be used: {tmp_path}/a/1.jpg: it is 40x20 pixels, but '
        'the annotation file says 41x20; '
    ) in texts(data)
    swapped = dataset(tmp_path / 'b', (40, 20), (20, 40), 1, (1, 1, 9, 9), test_mode=True)
    assert 'error: data: 3 of 4 images cannot be used' in texts(swapped)
    for tag, stated in ((6, (20, 40)), (8, (40, 20)), (3, (40, 20))):
        turned = dataset(tmp_path / f'c{tag}', (40, 20), stated, tag, (1, 1, 9, 9))
        assert 'cannot be used' not in texts(turned)
    mirrored = dataset(tmp_path / 'd', (40, 20), (20, 40), 2, (1, 1, 9, 9))
    assert 'it is 40x20 pixels, but the annotation file says 20x40' in texts(mirrored)
    limited = dataset(tmp_path / 'e', (40, 20), (41, 20), 1, (1, 1, 9, 9), max_unreadable=2)
    assert 'error: data: 3 of 4 images cannot be used' in texts(limited)


def test_useless_files_are_found_by_their_headers(tmp_path: Path) -> None:
    data = dataset(tmp_path / 'a', (40, 20), (40, 20), 1, (1, 1, 9, 9))
    deep = np.zeros((20, 40), np.uint16)
    Image.fromarray(deep).save(tmp_path / 'a' / '1.jpg', format='PNG')
    Image.fromarray(deep.astype(np.float32)).save(tmp_path / 'a' / '2.jpg', format='TIFF')
    (tmp_path / 'a' / '0.jpg').write_text('version https://git-lfs.github.com/spec/v1')
    (tmp_path / 'a' / '3.jpg').write_text('nothing')
    for _ in range(2):  # the second time from the cache
        found = texts(data)
        assert found.count('more than 8 bits') == 2
        assert 'it is a pointer of Git LFS' in found
        assert f'{tmp_path}/a/3.jpg: it is no image, or of an unknown format' in found


def test_a_loader_of_one_s_own_may_take_what_ours_refuses(tmp_path: Path) -> None:
    mine = [dict(type='mmcv.LoadImageFromFile', imdecode_backend='tifffile')]
    data = dataset(tmp_path / 'a', (40, 20), (41, 20), 1, (1, 1, 9, 9), pipeline=mine)
    (tmp_path / 'a' / '3.jpg').write_text('nothing')
    assert texts(data) == ''
    assert check_images(data, 'data', None) == []
    ours = dataset(tmp_path / 'b', (40, 20), (41, 20), 1, (1, 1, 9, 9), pipeline=PIPELINE)
    assert '3 of 4 images cannot be used' in texts(ours)


def test_what_is_no_file(tmp_path: Path) -> None:
    data = dataset(tmp_path / 'a', (40, 20), (40, 20), 1, (1, 1, 9, 9))
    (tmp_path / 'a' / '1.jpg').unlink()
    os.mkfifo(tmp_path / 'a' / '1.jpg')
    (tmp_path / 'a' / '2.jpg').unlink()
    assert '1 of 4 images cannot be used' in texts(data)
    assert 'no regular file' in texts(data)
    assert scan_images([info['img_path'] for info in data]).missing == [f'{tmp_path}/a/2.jpg']


def test_nothing_is_read_twice_and_changes_are_seen(tmp_path: Path, monkeypatch: Any) -> None:
    data = dataset(tmp_path / 'a', (40, 20), (40, 20), 3, (1, 1, 9, 9))
    paths = [info['img_path'] for info in data]
    first = scan_images(paths)
    with monkeypatch.context() as patch:
        patch.setattr('PIL.Image.open', lambda *_: pytest.fail('read again'))
        assert scan_images(paths) == first
    shutil.copy(paths[0], paths[1])
    os.utime(paths[1], ns=(time.time_ns(), time.time_ns() + 10**9))
    assert len(scan_images(paths).turned) == 2
    assert scan_images(paths).copies == [[paths[0], paths[1]]]


@pytest.mark.parametrize(
    ('suffix', 'left'), [('.jpg', -2), ('.jpg', 600), ('.png', 700), ('.png', -12), ('.webp', -30)]
)
def test_files_whose_end_is_missing(tmp_path: Path, suffix: str, left: int) -> None:
    """A copy that broke off; one that lacks only the mark of the end can be read as before."""
    path = tmp_path / f'a{suffix}'
    save(path, 1, (40, 30))
    content = path.read_bytes()
    assert not scan_images([str(path)]).useless
    path.write_bytes(content + bytes(3000))  # what some phones add
    assert not scan_images([str(path)]).useless
    path.write_bytes(content[:left])
    whole = True
    try:
        Image.open(path).convert('RGB')
    except (OSError, SyntaxError):
        whole = False
    assert (str(path) in scan_images([str(path)]).useless) is not whole
    assert not whole or left == -2 or suffix == '.png'


def test_files_of_several_pictures_are_counted(tmp_path: Path) -> None:
    data = dataset(tmp_path / 'a', (20, 20), (20, 20), 1, (1, 1, 9, 9))
    frames = [Image.new('RGB', (20, 20), colour) for colour in ('red', 'blue', 'green')]
    for number, kind in enumerate(('GIF', 'TIFF', 'WEBP')):
        path = tmp_path / f'a/{number}.jpg'
        frames[0].save(path, kind, save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / 'a/3.jpg', 'MPO', save_all=True, append_images=frames[1:])
    assert '3 image files hold several pictures, of which the first is used' in texts(data)
