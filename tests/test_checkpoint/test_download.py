"""What comes from the net is the file that the address names, whole, or an error."""

import hashlib
import io
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

from mmdetr.checkpoint import CheckpointError, load_file
from mmdetr.checkpoint.download import fetch


def file_of(value: float) -> bytes:
    file = io.BytesIO()
    torch.save({'w': torch.full((3,), value)}, file)
    return file.getvalue()


class Site:
    """Contents by path; ``short`` are announced as longer than they are."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.short: set[str] = set()
        self.tags: dict[str, str] = {}
        self.requests: list[str] = []
        self.continued: list[int] = []
        self.most: int | None = None  # bytes before the connection breaks
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests.append(self.path)
                content = site.contents.get(self.path)
                tag, start = site.tags.get(self.path), 0
                if content and tag and self.headers.get('If-Range') == tag:
                    start = int(self.headers['Range'].removeprefix('bytes=').removesuffix('-'))
                    site.continued.append(start)
                refused = content is not None and start >= len(content) > 0
                self.send_response(
                    404 if content is None else 416 if refused else 206 if start else 200
                )
                content = b'' if content is None or refused else content[start:]
                extra = 100 if self.path in site.short else 0
                if tag:
                    self.send_header('ETag', tag)
                self.send_header('Content-Length', str(len(content) + extra))
                self.end_headers()
                self.wfile.write(content[: site.most])

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.address = f'http://127.0.0.1:{self.server.server_port}'
        Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: Any) -> Iterator[Site]:
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    site = Site()
    yield site
    site.server.shutdown()
    site.server.server_close()


def kept(tmp_path: Path) -> list[str]:
    folder = tmp_path / 'hub' / 'checkpoints'
    return sorted(path.name for path in folder.iterdir() if path.suffix not in ('.lock', '.sha256'))


def test_equal_last_names_are_different_files(site: Site, tmp_path: Path) -> None:
    paths = ('/one/model.pth', '/two/model.pth', '/two/model.pth?revision=2')
    for value, path in enumerate(paths):
        site.contents[path] = file_of(value)
    for _ in range(2):
        for value, path in enumerate(paths):
            assert load_file(site.address + path)['w'].tolist() == [value] * 3
    assert len(site.requests) == 3
    assert len(kept(tmp_path)) == 3


@pytest.mark.parametrize('kind', ['half', 'short', 'login page', 'empty'])
def test_broken_download_is_not_kept(site: Site, tmp_path: Path, kind: str) -> None:
    whole = file_of(1)
    broken = dict(half=whole[: len(whole) // 2], short=whole[:-9], empty=b'')
    site.contents['/a.pth'] = broken.get(kind, b'<!DOCTYPE html><title>Log in</title>')
    if kind == 'short':
        site.short.add('/a.pth')
    with pytest.raises((CheckpointError, OSError), match=r'127\.0\.0\.1.*/a\.pth'):
        load_file(f'{site.address}/a.pth')
    assert kept(tmp_path) == []
    site.contents['/a.pth'] = whole
    site.short.clear()
    assert load_file(f'{site.address}/a.pth')['w'].tolist() == [1, 1, 1]


def test_hash_in_the_name_is_that_of_the_content(site: Site, tmp_path: Path) -> None:
    whole = file_of(2)
    name = f'/net-{hashlib.sha256(whole).hexdigest()[:8]}.pth'
    site.contents[name] = file_of(3)
    with pytest.raises(OSError, match='does not have the hash'):
        load_file(site.address + name)
    folder = tmp_path / 'hub' / 'checkpoints'
    (folder / name[1:]).write_bytes(whole)  # put there by hand, or by torch
    assert load_file(site.address + name)['w'].tolist() == [2, 2, 2]
    assert len(site.requests) == 1
    (folder / name[1:]).write_bytes(file_of(4))  # another file of that name
    site.contents[name] = whole
    assert load_file(site.address + name)['w'].tolist() == [2, 2, 2]


def test_silent_server_is_left_in_time(site: Site, tmp_path: Path) -> None:
    with socket.create_server(('127.0.0.1', 0)) as silent:
        address = f'http://127.0.0.1:{silent.getsockname()[1]}/a.pth'
        with pytest.raises(OSError, match=r'cannot download .*timed out'):
            fetch(address, check=load_file, seconds=0.3)
    assert kept(tmp_path) == []


def test_interrupted_download_goes_on(site: Site, tmp_path: Path) -> None:
    """From where it was, if the server says by a tag that the content is the same."""
    whole = file_of(5)
    site.contents['/a.pth'], site.tags['/a.pth'], site.most = whole, '"one"', 700
    with pytest.raises(OSError, match=r'bytes came|more expected'):
        load_file(f'{site.address}/a.pth')
    site.most = None
    assert load_file(f'{site.address}/a.pth')['w'].tolist() == [5, 5, 5]
    assert site.continued == [700]


def test_interrupted_download_of_what_changed_begins_anew(site: Site, tmp_path: Path) -> None:
    site.contents['/a.pth'], site.tags['/a.pth'], site.most = file_of(5), '"one"', 700
    with pytest.raises(OSError, match=r'bytes came|more expected'):
        load_file(f'{site.address}/a.pth')
    site.contents['/a.pth'], site.tags['/a.pth'], site.most = file_of(6), '"two"', None
    assert load_file(f'{site.address}/a.pth')['w'].tolist() == [6, 6, 6]
    assert site.continued == []


def test_part_that_nothing_follows(site: Site, tmp_path: Path) -> None:
    """A process that died after the last byte, before the file had its name."""
    whole = file_of(5)
    site.contents['/a.pth'], site.tags['/a.pth'], site.most = whole, '"one"', 700
    with pytest.raises(OSError, match=r'bytes came|more expected'):
        load_file(f'{site.address}/a.pth')
    (part,) = (tmp_path / 'hub' / 'checkpoints').glob('*.part.pth')
    part.write_bytes(whole)
    site.most = None
    assert load_file(f'{site.address}/a.pth')['w'].tolist() == [5, 5, 5]


def test_file_keeps_the_hash_of_its_first_download(site: Site, tmp_path: Path) -> None:
    site.contents['/a.pth'] = file_of(1)
    load_file(f'{site.address}/a.pth')
    (name,) = kept(tmp_path)
    (tmp_path / 'hub' / 'checkpoints' / name).write_bytes(file_of(2))
    with pytest.raises(OSError, match=r'is not what .* was at its first download'):
        load_file(f'{site.address}/a.pth')


def test_stated_hash(site: Site, tmp_path: Path) -> None:
    site.contents['/a.pth'] = whole = file_of(1)
    with pytest.raises(OSError, match='hash 0000'):
        fetch(f'{site.address}/a.pth', load_file, sha256='0000')
    assert kept(tmp_path) == []
    fetch(f'{site.address}/a.pth', load_file, sha256=hashlib.sha256(whole).hexdigest())


def test_without_network(tmp_path: Path, monkeypatch: Any) -> None:
    """The message says which file goes where; put there, it is taken."""
    monkeypatch.setenv('MMDETR_HOME', str(tmp_path / 'home'))
    address = 'http://127.0.0.1:9/net.pth'
    with pytest.raises(
        OSError, match=r'cannot download .*net\.pth.*put the file there as '
    ) as info:
        load_file(address)
    place = Path(str(info.value).rpartition(' as ')[2])
    assert place.parent == tmp_path / 'home' / 'checkpoints'
    place.write_bytes(file_of(7))
    assert load_file(address)['w'].tolist() == [7, 7, 7]
