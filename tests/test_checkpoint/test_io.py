"""Reading runs nothing, writing never leaves half a file."""

import argparse
import errno
import multiprocessing
import os
import pickle
import resource
import signal
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file as save_safetensors

from mmdetr.checkpoint import CheckpointError, load_file, save_file
from mmdetr.checkpoint.io import remove_temporary_files

FORK = multiprocessing.get_context('fork')


class Hostile:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f'touch {self.path}',)


class HostileArray:
    """An array of object pointers made of raw bytes, by way of a dtype that hides them."""

    def __reduce__(self) -> Any:
        reconstruct, arguments, _ = np.zeros(1).__reduce__()
        return reconstruct, arguments, (1, (1,), HiddenPointers(), False, b'A' * 8)


class HiddenPointers:
    def __reduce__(self) -> Any:
        return np.dtype, ('O', False, True), (3, '|', None, None, None, -1, -1, 0)


def test_types_of_other_codebases(tmp_path: Path) -> None:
    content = dict(
        tensor=torch.arange(3),
        parameter=torch.nn.Parameter(torch.ones(2)),
        array=np.arange(6.0).reshape(2, 3),
        fortran=np.asfortranarray(np.arange(6).reshape(2, 3)),
        big_endian=np.arange(3, dtype='>i4'),
        text=np.array(['a', 'bc']),
        number=np.float64(1.5),
        count=np.int64(7),
        history=HistoryBuffer([1.0, 3.0], [1, 1], max_length=9),
        args=argparse.Namespace(lr=0.1, device='cuda'),
        nested=[{'a': (1, None)}, {2}],
    )
    torch.save(content, tmp_path / 'a.pth')
    loaded = load_file(tmp_path / 'a.pth', verify=True)
    assert loaded.keys() == content.keys()
    for key in ('array', 'fortran', 'big_endian', 'text'):
        assert loaded[key].dtype.kind == content[key].dtype.kind
        np.testing.assert_array_equal(loaded[key], content[key])
    assert loaded['number'] == 1.5
    assert loaded['count'] == 7
    assert isinstance(loaded['history'], HistoryBuffer)
    assert loaded['history'].mean() == 2.0
    assert loaded['history'].max_length == 9
    assert loaded['args'] == content['args']
    assert loaded['nested'] == content['nested']
    # What was loaded can be written and read again.
    torch.save(loaded, tmp_path / 'b.pth')
    again = load_file(tmp_path / 'b.pth')
    np.testing.assert_array_equal(again['array'], content['array'])
    assert again['history'].max_length == 9
    assert again['history'].mean() == 2.0
    assert type(torch.load(tmp_path / 'b.pth', weights_only=False)['history']) is HistoryBuffer


def test_numpy_one_spelling(tmp_path: Path) -> None:
    """numpy 1 wrote numpy.core, numpy 2 writes numpy._core."""
    written = pickle.dumps(dict(a=np.arange(3.0), b=np.float64(2)), protocol=2)
    old = written.replace(b'numpy._core.multiarray', b'numpy.core.multiarray')
    torch.save({}, tmp_path / 'a.pth')
    with torch.serialization.safe_globals([]):
        _replace_pickle(tmp_path / 'a.pth', old)
    loaded = load_file(tmp_path / 'a.pth')
    np.testing.assert_array_equal(loaded['a'], [0, 1, 2])
    assert loaded['b'] == 2


def _replace_pickle(path: Path, data: bytes) -> None:
    reader = torch._C.PyTorchFileReader(str(path))
    names = reader.get_all_records()
    records = {name: reader.get_record(name) for name in names}
    records['data.pkl'] = data
    del reader
    writer = torch._C.PyTorchFileWriter(str(path))
    for name, record in records.items():
        if name not in ('version', '.data/serialization_id'):
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()


@pytest.mark.parametrize('legacy', [False, True], ids=['zip', 'legacy'])
def test_hostile_file_runs_nothing(tmp_path: Path, legacy: bool, monkeypatch: Any) -> None:
    flag, path = tmp_path / 'flag', tmp_path / 'a.pth'
    torch.save({'w': Hostile(flag)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r'a\.pth asks for more than plain data.*system'):
        load_file(path)
    assert not flag.exists()
    monkeypatch.delenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', raising=False)
    torch.load(path, weights_only=False)
    assert flag.exists(), 'the file is not hostile at all'


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
def test_bare_pickle_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / 'a.bin'
    path.write_bytes(pickle.dumps(Hostile(tmp_path / 'flag')))
    with pytest.raises(CheckpointError, match=r'a\.bin'):
        load_file(path)
    assert not (tmp_path / 'flag').exists()


@pytest.mark.parametrize(
    ('hostile', 'name'),
    [
        (HostileArray(), "numpy data of type 'O'"),
        (np.array([{}], dtype=object), 'numpy data of type'),
        (argparse.ArgumentParser, 'argparse.ArgumentParser'),
        (eval, 'eval'),
    ],
    ids=['pointers', 'objects', 'class', 'function'],
)
def test_refused_types(tmp_path: Path, hostile: Any, name: str) -> None:
    torch.save({'a': hostile}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=name):
        load_file(tmp_path / 'a.pth')


def test_getattr_in_a_file_gives_nothing(tmp_path: Path) -> None:
    """mmengine's own files ask for getattr, for the names of HistoryBuffer's statistics."""

    class Attribute:
        def __reduce__(self) -> Any:
            return getattr, (argparse.Namespace, '__init__')

    torch.save({'a': Attribute()}, tmp_path / 'a.pth')
    assert load_file(tmp_path / 'a.pth') == {'a': None}


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('kind', ['truncated', 'empty', 'text', 'image'])
def test_damaged_and_foreign_files(tmp_path: Path, suffix: str, kind: str) -> None:
    path = tmp_path / f'weights{suffix}'
    if kind == 'truncated':
        save = save_safetensors if suffix == '.safetensors' else torch.save
        save({'w': torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:-200])
    else:
        path.write_bytes({'empty': b'', 'text': b'hello world\n', 'image': b'\xff\xd8\xff'}[kind])
    with pytest.raises(CheckpointError, match=rf'weights\{suffix} is truncated or no'):
        load_file(path)


def test_flipped_bit(tmp_path: Path) -> None:
    path = tmp_path / 'a.pth'
    weight = torch.linspace(1, 2, 100)
    torch.save({'w': weight}, path)
    content = bytearray(path.read_bytes())
    content[content.index(weight.numpy().tobytes()) + 7] ^= 4
    path.write_bytes(content)
    assert not torch.equal(load_file(path, verify=False)['w'], weight)
    with pytest.raises(CheckpointError, match=r'a\.pth is damaged'):
        load_file(path)


def test_missing_file_and_unknown_addresses(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'none\.pth'):
        load_file(tmp_path / 'none.pth')
    with pytest.raises(ValueError, match='s3'):
        load_file('s3://bucket/a.pth')
    with pytest.raises(ValueError, match=r"'resnet5'.*resnet50"):
        load_file('torchvision://resnet5')


def test_safetensors(tmp_path: Path) -> None:
    save_safetensors({'w': torch.arange(3)}, tmp_path / 'a.safetensors')
    assert load_file(tmp_path / 'a.safetensors')['w'].tolist() == [0, 1, 2]


def test_download(tmp_path: Path, monkeypatch: Any) -> None:
    """A hostile file runs nothing when it comes from the net either; a file is fetched once."""
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    (tmp_path / 'site').mkdir()
    torch.save({'w': torch.ones(2)}, tmp_path / 'site' / 'good.pth')
    torch.save(Hostile(tmp_path / 'flag'), tmp_path / 'site' / 'bad.pth')
    requests = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            requests.append(args)

    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Handler, directory=tmp_path / 'site'))
    Thread(target=server.serve_forever, daemon=True).start()
    address = f'http://127.0.0.1:{server.server_port}'
    try:
        for _ in range(2):
            assert load_file(f'{address}/good.pth')['w'].tolist() == [1, 1]
        assert len(requests) == 1
        with pytest.raises(CheckpointError, match=r'bad\.pth'):
            load_file(f'{address}/bad.pth')
        with pytest.raises(OSError, match=r'cannot download .*none\.pth'):
            load_file(f'{address}/none.pth')
    finally:
        server.shutdown()
    assert not (tmp_path / 'flag').exists()


# Writing


def test_save_and_load(tmp_path: Path) -> None:
    save_file({'w': torch.arange(3)}, tmp_path / 'a.pth')
    assert load_file(tmp_path / 'a.pth')['w'].tolist() == [0, 1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ['a.pth']


def test_mode_follows_umask(tmp_path: Path) -> None:
    save_file({}, tmp_path / 'a.pth')
    (tmp_path / 'b.pth').touch()
    assert (tmp_path / 'a.pth').stat().st_mode == (tmp_path / 'b.pth').stat().st_mode


def _write_limited(path: Path, limit: int, weight: torch.Tensor, error: Any) -> None:
    """Run in a child: file size limited, as by a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        save_file({'w': weight}, path)
    except OSError as caught:
        error.send(str(caught))


@pytest.mark.parametrize('exists', [True, False])
def test_full_disk(tmp_path: Path, exists: bool) -> None:
    path = tmp_path / 'a.pth'
    if exists:
        save_file({'w': torch.zeros(3)}, path)
    received, sent = FORK.Pipe()
    child = FORK.Process(target=_write_limited, args=(path, 100_000, torch.ones(100_000), sent))
    child.start()
    child.join()
    message = received.recv()
    assert f'cannot write {path}: File too large' in message
    assert ('previous file of that name is intact' in message) == exists
    assert [p.name for p in tmp_path.iterdir()] == ['a.pth'] * exists
    if exists:
        assert load_file(path)['w'].tolist() == [0, 0, 0]


@pytest.mark.parametrize('function', ['fsync', 'replace'])
def test_failure_at_the_last_moment(tmp_path: Path, monkeypatch: Any, function: str) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    path = tmp_path / 'a.pth'
    save_file({'w': 1}, path)
    monkeypatch.setattr(f'mmdetr.checkpoint.io.os.{function}', fail)
    with pytest.raises(OSError, match=r'a\.pth: No space left on device; the previous') as caught:
        save_file({'w': 2}, path)
    assert caught.value.errno == errno.ENOSPC
    assert [p.name for p in tmp_path.iterdir()] == ['a.pth']
    assert load_file(path) == {'w': 1}


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r'cannot write .*none/a\.pth: No such file'):
        save_file({}, tmp_path / 'none' / 'a.pth')


def _write_forever(path: Path, weights: list[torch.Tensor]) -> None:
    for i in range(10**9):
        save_file({'w': weights[i % 10], 'i': i % 10}, path)


def test_killed_writer_leaves_an_intact_file(tmp_path: Path) -> None:
    path = tmp_path / 'a.pth'
    weights = [torch.full((500_000,), i) for i in range(10)]
    save_file({'w': weights[0], 'i': 0}, path)
    stray = set()
    for round_ in range(20):
        child = FORK.Process(target=_write_forever, args=(path, weights))
        before = path.stat().st_mtime_ns
        child.start()
        while path.stat().st_mtime_ns == before:
            time.sleep(0.001)
        time.sleep(0.0017 * round_)
        child.kill()
        child.join()
        content = load_file(path, verify=True)
        assert (content['w'] == content['i']).all()
        stray |= {p.name for p in remove_temporary_files(tmp_path)}
    assert stray, 'no child was killed while it was writing'
    assert [p.name for p in tmp_path.iterdir()] == ['a.pth']


def test_only_own_temporary_files_are_removed(tmp_path: Path) -> None:
    for name in ('.a.pth.123.tmp', '.notes.tmp', 'b.123.tmp', '.a.pth.123'):
        (tmp_path / name).touch()
    assert [path.name for path in remove_temporary_files(tmp_path)] == ['.a.pth.123.tmp']
