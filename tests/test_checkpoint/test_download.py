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
        self.requests: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests.append(self.path)
                content = site.contents.get(self.path)
                self.send_response(404 if content is None else 200)
                content = content or b''
                extra = 100 if self.path in site.short else 0
                self.send_header('Content-Length', str(len(content) + extra))
                self.end_headers()
                self.wfile.write(content)

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
    return sorted(path.name for path in folder.iterdir() if path.suffix != '.lock')


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
