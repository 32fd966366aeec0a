"""Names of other systems, on files made for them."""

import unicodedata
from pathlib import Path

import pytest

from mmdetr.datasets import CocoDataset
from mmdetr.datasets.check import check_files
from mmdetr.datasets.file_names import find_files, hint
from tests.helpers.coco_files import GOOD_ANNOTATIONS, GOOD_IMAGES, write_coco

NFC = unicodedata.normalize('NFC', 'é.png')
NFD = unicodedata.normalize('NFD', 'é.png')


@pytest.mark.parametrize(
    ('written', 'there'),
    [
        ('images\\a.png', 'a.png'),  # the prefix is named images as well
        ('sub\\a.png', 'sub/a.png'),
        ('..\\..\\media\\upload\\4\\a.png', 'a.png'),
        ('C:\\data\\a.png', 'a.png'),
        ('/home/other/a.png', 'a.png'),
        ('d%20%C3%A9.png', 'd é.png'),
        (NFC, NFD),
        (NFD, NFC),
        ('https://host.invalid/x/a.png?y=1', 'a.png'),
        ('https://host.invalid/x/d%20e.png', 'd e.png'),
        ('upload\\0a1b2c3d-a.png', 'a.png'),
    ],
)
def test_read_as_the_one_file_that_is_meant(tmp_path: Path, written: str, there: str) -> None:
    prefix = tmp_path / 'images'
    (prefix / there).parent.mkdir(parents=True)
    (prefix / there).touch()
    paths, read = find_files([written], str(prefix))
    assert paths == [str(prefix / there)]
    assert list(read.values()) == [[written]]


def test_names_that_exist_are_taken_literally(tmp_path: Path) -> None:
    names = ['a b/ü[1]#%20?/x.png', 'a\\b.png', '%41.png', NFC]
    for name in [*names, 'A.png']:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    paths, read = find_files(names, str(tmp_path))
    assert paths == [f'{tmp_path}/{name}' for name in names]
    assert read == {}


def test_two_names_never_become_one_file(tmp_path: Path) -> None:
    (tmp_path / '1.png').touch()
    names = ['left\\1.png', 'right\\1.png']
    assert find_files(names, str(tmp_path)) == ([f'{tmp_path}/{name}' for name in names], {})
    # The plain name already means that file.
    assert find_files(['1.png', 'left\\1.png'], str(tmp_path))[1] == {}


def test_hints(tmp_path: Path) -> None:
    prefix = tmp_path / 'images'
    prefix.mkdir()
    (prefix / 'A.PNG').touch()
    assert 'A.PNG exists (other case or suffix)' in str(hint(f'{prefix}/a.png', str(prefix)))
    twice = hint(f'{prefix}/images/A.PNG', str(prefix))
    assert 'named twice' in str(twice)
    assert hint(f'{prefix}/nothing.png', str(prefix)) is None


def test_an_address_without_a_file_is_missing(tmp_path: Path) -> None:
    images = [
        dict(each, file_name=f'https://host.invalid/{each["id"]}.png') for each in GOOD_IMAGES
    ]
    ann_file = write_coco(tmp_path, images, GOOD_ANNOTATIONS)
    dataset = CocoDataset(ann_file, data_prefix=dict(img=str(tmp_path)))
    [finding] = check_files(dataset, 'data', None)
    assert finding.level == 'error'
    assert '4 of 4 image files looked for are missing: https://host.invalid/1.png' in finding.text
