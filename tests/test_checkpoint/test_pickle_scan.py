"""Pickles that torch's reader would believe too much are refused at once."""

import io
import pickle
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmdetr.checkpoint import CheckpointError, load_file

SECONDS = 20  # of the processor; each takes two at most


def with_pickle(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Replace the pickle of a file of torch.save's, with the right checksum."""
    with zipfile.ZipFile(path) as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in parts.items():
            archive.writestr(name, change(content) if name.endswith('/data.pkl') else content)


def refusal(path: Path) -> str:
    start = time.process_time()
    with pytest.raises(CheckpointError) as caught:
        load_file(path)
    assert time.process_time() - start < SECONDS
    assert str(path) in str(caught.value)
    return str(caught.value)


def replaced(path: Path, content: bytes) -> str:
    """What is said of a file whose pickle is another one: in the zip format and without."""
    torch.save(dict(w=torch.zeros(3)), path)
    with_pickle(path, lambda _: content)
    zipped = refusal(path)
    path.write_bytes(content)
    assert refusal(path) == zipped
    return zipped


def nested(levels: int) -> bytes:
    """A tuple of a tuple ..., each twice the one before, as the key of a dict."""
    twice = b'q\x00h\x00\x86'
    return b'\x80\x02}(' + b')' + twice * levels + b'K\x01u.'


@pytest.mark.parametrize('count', [8, 2, 4])
def test_storages_of_another_size_than_their_records(tmp_path: Path, count: int) -> None:
    """More of them would be read beyond the record."""
    path = tmp_path / 'a.pth'
    torch.save(dict(w=torch.arange(3.0)), path)
    numbers = b'K\x03tq'  # the last item of the tuple that stands for the storage

    def change(content: bytes) -> bytes:
        assert content.count(numbers) == 1
        return content.replace(numbers, b'K' + bytes([count]) + numbers[2:])

    with_pickle(path, change)
    assert f'have {count} numbers of 4 bytes, its record has 12 bytes' in refusal(path)
    with_pickle(path, lambda content: content.replace(b'K' + bytes([count]) + b'tq', numbers))
    assert torch.equal(load_file(path)['w'], torch.arange(3.0))


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16, torch.bool, torch.uint16])
def test_every_dtype_has_its_size(tmp_path: Path, dtype: torch.dtype) -> None:
    content = dict(w=torch.ones(5, dtype=dtype), half=torch.arange(9)[3:5], none=torch.ones(0, 2))
    torch.save(content, tmp_path / 'a.pth')
    loaded = load_file(tmp_path / 'a.pth')
    assert all(torch.equal(loaded[name], content[name]) for name in content)


def test_nested_tuples(tmp_path: Path) -> None:
    assert 'items or 200 levels' in replaced(tmp_path / 'a.pth', nested(60))
    assert 'items or 200 levels' in replaced(
        tmp_path / 'a.pth', b'\x80\x02]' + b'](' * 5000 + b'e' * 5000 + b'.'
    )
    path = tmp_path / 'small.pth'
    torch.save([], path)
    with_pickle(path, lambda _: nested(3))
    assert load_file(path) == {((((),) * 2,) * 2,) * 2: 1}


def test_lists_inside_themselves(tmp_path: Path) -> None:
    assert 'inside of itself' in replaced(tmp_path / 'a.pth', b'\x80\x02]q\x00h\x00a.')


def test_very_many_small_objects(tmp_path: Path) -> None:
    torch.save([], tmp_path / 'a.pth')
    with_pickle(tmp_path / 'a.pth', lambda _: b'\x80\x02](' + b'K\x01' * 20_000_000 + b'e.')
    assert 'steps' in refusal(tmp_path / 'a.pth')


def test_very_many_tensors_of_one_storage(tmp_path: Path, monkeypatch: Any) -> None:
    """The zip has one entry, so that its number of entries tells nothing."""
    monkeypatch.setattr('mmdetr.checkpoint.pickle_scan._MOST_STEPS', 10_000)
    path = tmp_path / 'a.pth'
    storage = torch.zeros(1000)
    torch.save([storage[i:] for i in range(100)], path)
    assert len(load_file(path)) == 100
    torch.save([storage[i:] for i in range(1000)], path)
    assert 'steps' in refusal(path)


@pytest.mark.parametrize(
    'name', ['torch\nFloatTensor', 'torch\nTensor', 'torch.storage\nUntypedStorage']
)
def test_memory_without_content(tmp_path: Path, name: str) -> None:
    """``torch.FloatTensor(5)`` is whatever was there."""
    call = b'\x80\x02}X\x01\x00\x00\x00wc' + name.encode() + b'\nK\x05\x85Rs.'
    assert 'without content' in replaced(tmp_path / 'a.pth', call)
    call = b'\x80\x02cbuiltins\nbytearray\nJ' + struct.pack('<i', 2**31 - 1) + b'\x85R.'
    assert 'bytearray without content' in replaced(tmp_path / 'a.pth', call)


@pytest.mark.parametrize('legacy', [False, True])
def test_plain_data_is_read_as_before(tmp_path: Path, legacy: bool) -> None:
    shared = [1, 2.5, None, True, 2**70, 'ä', b'bytes', bytearray(b'more'), {1, 2}, 1j]
    content: dict[Any, Any] = {
        'weights': {'w': torch.ones(2, 3), 'p': torch.nn.Parameter(torch.ones(2))},
        'twice': [shared, shared],
        (1, ('a', 2)): torch.Size([1, 2]),
    }
    torch.save(content, tmp_path / 'a.pth', _use_new_zipfile_serialization=not legacy)
    loaded = load_file(tmp_path / 'a.pth')
    assert loaded['twice'] == content['twice']
    assert loaded[1, ('a', 2)] == (1, 2)
    assert all(torch.equal(loaded['weights'][name], content['weights'][name]) for name in 'wp')


def test_half_a_pickle_is_left_to_torch(tmp_path: Path) -> None:
    whole = pickle.dumps(dict(a=[1, 2, (3, 4)]), protocol=2)
    file = io.BytesIO()
    for length in range(1, len(whole)):
        file = io.BytesIO(whole[:length])
        (tmp_path / 'a.pth').write_bytes(file.getvalue())
        assert 'truncated or no checkpoint' in refusal(tmp_path / 'a.pth')
