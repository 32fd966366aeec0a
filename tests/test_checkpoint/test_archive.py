"""A damaged or hostile zip file gives its content or a CheckpointError, and nothing else."""

import os
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from mmdetr.checkpoint import CheckpointError, load_file

CONTENT = dict(w=torch.arange(5.0), n=torch.ones(3, dtype=torch.int8), text='a')


def written(path: Path) -> bytes:
    torch.save(CONTENT, path)
    return path.read_bytes()


def same(content: dict[str, Any]) -> bool:
    return (
        content.keys() == CONTENT.keys()
        and content['text'] == 'a'
        and all(torch.equal(content[name], CONTENT[name]) for name in 'wn')  # type: ignore[arg-type]
    )


def outcome(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    try:
        content = load_file(path)
    except CheckpointError as error:
        return 'refused' if str(path) in str(error) else f'no file named: {error}'
    assert same(content)
    return 'same'


def test_random_flips_in_the_whole_file(tmp_path: Path) -> None:
    whole = written(tmp_path / 'a.pth')
    drawn = random.Random(0)
    outcomes = set()
    for _ in range(1500):
        data = bytearray(whole)
        for _ in range(drawn.choice((1, 1, 2, 8))):
            data[drawn.randrange(len(data))] ^= 1 << drawn.randrange(8)
        outcomes.add(outcome(tmp_path / 'a.pth', bytes(data)))
    assert outcomes == {'refused', 'same'}


def directory_entries(data: bytes) -> list[int]:
    """Offsets of the entries of the central directory."""
    found, place = [], data.find(b'PK\x01\x02')
    while place >= 0:
        found.append(place)
        place = data.find(b'PK\x01\x02', place + 1)
    return found


@pytest.mark.parametrize(
    ('offset', 'value'),
    [
        (38, b'\x10'),  # a folder: torch reads nothing, the tensor is what was in memory
        (8, b'\x09'),  # encrypted
        (10, b'\x08'),  # compressed
        (24, b'\xff\xff\x00\x00'),  # longer
        (20, b'\x07\x00\x00\x00'),
        (42, b'\x01\x00\x00\x00'),  # elsewhere
        (34, b'\x01'),  # on another disk
        (46, b'\xff'),  # a name that is not UTF-8
    ],
    ids=['folder', 'encrypted', 'compressed', 'longer', 'packed', 'moved', 'disk', 'name'],
)
def test_entry_that_is_not_regular(tmp_path: Path, offset: int, value: bytes) -> None:
    whole = written(tmp_path / 'a.pth')
    for entry in directory_entries(whole):
        data = bytearray(whole)
        data[entry + offset : entry + offset + len(value)] = value
        assert outcome(tmp_path / 'a.pth', bytes(data)) == 'refused'


def test_other_archives(tmp_path: Path) -> None:
    path = tmp_path / 'a.pth'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('notes/readme.txt', 'hello')
    with pytest.raises(CheckpointError, match=r'no zip file of torch\.save'):
        load_file(path)
    written(tmp_path / 'b.pth')
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with (
            zipfile.ZipFile(tmp_path / 'b.pth') as source,
            zipfile.ZipFile(path, 'w', method) as target,
        ):
            for name in source.namelist():
                target.writestr(name, source.read(name))
        if method == zipfile.ZIP_STORED:
            assert same(load_file(path))
        else:
            with pytest.raises(CheckpointError, match='compressed'):
                load_file(path)


def test_joined_files(tmp_path: Path) -> None:
    whole = written(tmp_path / 'a.pth')
    assert outcome(tmp_path / 'a.pth', whole + whole) == 'refused'
    assert outcome(tmp_path / 'a.pth', whole + b'\0') == 'refused'


def test_too_many_entries_are_refused_at_once(tmp_path: Path) -> None:
    data = bytearray(written(tmp_path / 'a.pth'))
    end = data.rfind(b'PK\x06\x06')
    if end >= 0:
        data[end + 24 : end + 40] = struct.pack('<2Q', 10**12, 10**12)
    data[-14:-10] = b'\xff' * 4
    assert outcome(tmp_path / 'a.pth', bytes(data)) == 'refused'


@pytest.mark.parametrize(
    'variables',
    [
        {'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD': '1'},
        {'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD': '1', 'TORCH_FORCE_WEIGHTS_ONLY_LOAD': '1'},
    ],
    ids=['no', 'both'],
)
@pytest.mark.parametrize('legacy', [False, True], ids=['zip', 'legacy'])
def test_variables_of_torch_change_nothing(
    tmp_path: Path, monkeypatch: Any, variables: dict[str, str], legacy: bool
) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return os.system, (f'touch {tmp_path / "flag"}',)

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / 'a.pth'
    torch.save(CONTENT, path, _use_new_zipfile_serialization=not legacy)
    assert same(load_file(path))
    torch.save({'w': Hostile()}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match='more than plain data'):
        load_file(path)
    assert not (tmp_path / 'flag').exists()
    assert {name: os.environ[name] for name in variables} == variables


def test_pipe_and_device_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe.pth')
    for path in (tmp_path / 'pipe.pth', Path('/dev/zero'), tmp_path):
        with pytest.raises(CheckpointError, match='folder, pipe or device'):
            load_file(path)
