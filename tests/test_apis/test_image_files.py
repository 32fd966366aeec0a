"""Which files a folder or a pattern stands for."""

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmdetr.apis.image_files import find_images, image_suffixes

IMAGES = ('J.JPG', 'a.jpg', 'b.jfif', 'c.jpe', 'd.gif', 'e.webp', 'f.tif', 'k.png.jpg', 'noext')
OTHERS = ('.hidden.jpg', 'README', 'd.eps', 'l.json', 'm.mp4', 'photo.jpg_large')


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: Any) -> Path:
    folder = tmp_path / 'photos'
    (folder / 'sub' / 'deep').mkdir(parents=True)
    for name in (*IMAGES, 'sub/a.jpg', 'sub/deep/a.jpg'):
        Image.new('RGB', (4, 4)).save(folder / name, format='PNG')
    for name in OTHERS:
        (folder / name).write_text('text')
    monkeypatch.chdir(tmp_path)
    return folder


def names(files: list[Path], folder: Path) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in files]


def test_a_folder_is_all_images_below_it(folder: Path) -> None:
    os.mkfifo(folder / 'pipe.jpg')
    os.mkfifo(folder / 'pipe')
    (folder / 'dangling.jpg').symlink_to('gone.jpg')
    found, skipped = find_images(str(folder), Path('out'))
    assert names(found, folder) == sorted([*IMAGES, 'sub/a.jpg', 'sub/deep/a.jpg'])
    assert names(skipped, folder) == sorted([*OTHERS, 'dangling.jpg', 'pipe', 'pipe.jpg'])


def test_links_are_followed_once(folder: Path) -> None:
    (folder / 'sub' / 'up').symlink_to(folder)
    (folder.parent / 'elsewhere').mkdir()
    Image.new('RGB', (4, 4)).save(folder.parent / 'elsewhere' / 'x.png')
    (folder / 'other').symlink_to(folder.parent / 'elsewhere')
    found, _ = find_images(str(folder), Path('out'))
    expected = sorted([*IMAGES, 'other/x.png', 'sub/a.jpg', 'sub/deep/a.jpg'])
    assert names(found, folder) == expected


def test_patterns(folder: Path) -> None:
    found, skipped = find_images('photos/*', Path('out'))
    assert (len(found), len(skipped)) == (len(IMAGES), len(OTHERS) - 1)  # without the hidden one
    found, skipped = find_images('photos/**/a.jpg', Path('out'))
    assert names(found, Path('photos')) == ['a.jpg', 'sub/a.jpg', 'sub/deep/a.jpg']
    assert skipped == []
    assert find_images('photos/*.bmp', Path('out')) == ([], [])


def test_a_named_file_is_taken_whatever_it_is(folder: Path) -> None:
    for name in ('README', 'a[1].jpg', 'gone.jpg', '.hidden.jpg'):
        (folder / 'a[1].jpg').touch()
        assert find_images(f'photos/{name}', Path('out')) == ([Path('photos', name)], [])


def test_pictures_of_an_earlier_run_are_no_images(folder: Path) -> None:
    found, skipped = find_images('photos', Path('photos/sub'))
    assert names(found, Path('photos')) == sorted(IMAGES)
    assert len(skipped) == len(OTHERS)
    # Unless they are asked for.
    for asked in ('photos/sub', 'photos/sub/deep', 'photos/sub/**/*.jpg'):
        assert find_images(asked, Path('photos/sub'))[0]


def test_suffixes_are_those_that_pillow_reads() -> None:
    assert {'.jpg', '.jfif', '.jpe', '.gif', '.webp', '.ppm', '.tiff', '.bmp'} <= image_suffixes()
    # Saved but not read, programs, and what is only recognised.
    assert not {'.pdf', '.eps', '.mpg', '.h5'} & image_suffixes()
