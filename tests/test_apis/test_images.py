"""Whatever people hand in as an image gives the pixels of the file, or a sentence."""

import io
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmdetr.apis import images
from mmdetr.apis.images import is_single, to_pipeline_input
from mmdetr.datasets.transforms import LoadImageFromFile, UnreadableImageError

RGB = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
ORIENTATION = 0x112


def read(img: Any) -> dict[str, Any]:
    assert is_single(img)
    return to_pipeline_input(img, LoadImageFromFile())


def pixels(img: Any) -> np.ndarray:
    data = read(img)
    assert data['img_shape'] == data['ori_shape'] == data['img'].shape[:2]
    assert data['img'].dtype == np.uint8
    assert data['img'].flags.c_contiguous
    return data['img'][..., ::-1]


def encoded(picture: Image.Image, suffix: str = 'PNG', **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, suffix, **options)
    return file.getvalue()


PICTURE = Image.fromarray(RGB)
PNG = encoded(PICTURE)
CHANNELS_FIRST = torch.from_numpy(RGB).permute(2, 0, 1)


@pytest.mark.parametrize(
    'img',
    [
        PICTURE,
        PICTURE.convert('RGBA'),
        PNG,
        bytearray(PNG),
        memoryview(PNG),
        io.BytesIO(PNG),
        RGB[..., ::-1],
        np.dstack([RGB[..., ::-1], RGB[..., 0]]),
        CHANNELS_FIRST,
        CHANNELS_FIRST.contiguous(),
        torch.cat([CHANNELS_FIRST, CHANNELS_FIRST[:1]]),
        CHANNELS_FIRST / 255,
        (CHANNELS_FIRST / 255).double().requires_grad_(),
    ],
)
def test_the_pixels_of_the_file(img: Any) -> None:
    assert np.array_equal(pixels(img), RGB)


def test_paths(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    # A sign of a glob pattern in a name is no pattern.
    for name in ('a.png', 'a[1].png', '图像.png'):
        (tmp_path / name).write_bytes(PNG)
        for img in (name, Path(name), tmp_path / name):
            assert np.array_equal(pixels(img), RGB)
    with (tmp_path / 'a.png').open('rb') as file:
        assert np.array_equal(pixels(file), RGB)


def test_grey_is_repeated() -> None:
    grey = RGB[..., 0]
    for img in (grey, grey[..., None], torch.from_numpy(grey)[None], Image.fromarray(grey)):
        assert np.array_equal(pixels(img), np.dstack([grey] * 3))


@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_of_pil_images_and_bytes_is_that_of_files(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    content = encoded(PICTURE, exif=exif)
    (tmp_path / 'a.png').write_bytes(content)
    expected = pixels(tmp_path / 'a.png')
    assert np.array_equal(pixels(content), expected)
    with Image.open(tmp_path / 'a.png') as picture:
        assert np.array_equal(pixels(picture), expected)
        # The caller's image is not turned.
        assert np.array_equal(np.asarray(picture), RGB)
        assert np.array_equal(pixels(picture), expected)


@pytest.mark.parametrize(
    ('img', 'error', 'match'),
    [
        (None, TypeError, 'no image: NoneType; taken is a path'),
        (3, TypeError, 'no image: int'),
        ({'img': PNG}, TypeError, 'no image: dict'),
        ({'a.png'}, TypeError, 'no image: set'),
        (RGB.astype(np.uint16), ValueError, r'got uint16 \(9, 12, 3\); which range'),
        (RGB / 255.0, ValueError, 'got float64 .* which range'),
        (RGB > 9, ValueError, 'got bool'),
        (np.stack([RGB, RGB]), ValueError, r'got uint8 \(2, 9, 12, 3\); pass several'),
        (RGB.transpose(2, 0, 1), ValueError, r'array.transpose\(1, 2, 0\)'),
        (np.zeros((0, 5, 3), np.uint8), ValueError, r'got uint8 \(0, 5, 3\)'),
        (np.zeros((5, 5, 2), np.uint8), ValueError, r'got uint8 \(5, 5, 2\)'),
        (torch.from_numpy(RGB), ValueError, r'tensor.permute\(2, 0, 1\)'),
        (CHANNELS_FIRST[..., :3], ValueError, 'may come first or last'),
        (CHANNELS_FIRST.float(), ValueError, r'values 0 to 255; .*torch.uint8'),
        (CHANNELS_FIRST / 127.5 - 1, ValueError, 'values -1 to 1; a normalised'),
        (CHANNELS_FIRST / 255 * torch.nan, ValueError, 'values nan to nan'),
        (CHANNELS_FIRST.int(), ValueError, r'got torch.int32 \[3, 9, 12\]'),
        (CHANNELS_FIRST[None], ValueError, r'list\(tensor\)'),
        (CHANNELS_FIRST[0], ValueError, r'got torch.uint8 \[9, 12\]'),
        (b'no image', UnreadableImageError, 'cannot read image: it is no image'),
        (b'', UnreadableImageError, 'cannot read image: the file is empty'),
        (PNG[:200], UnreadableImageError, 'cannot read image'),
        (Image.new('I', (5, 5)), UnreadableImageError, 'more than 8 bits'),
        (io.StringIO('text'), TypeError, "opened with 'rb'"),
        ('gone.png', UnreadableImageError, r'gone\.png'),
        ('*.png', UnreadableImageError, r'glob\.glob'),
        ('.', UnreadableImageError, 'is a folder'),
        ('', UnreadableImageError, 'cannot read image'),
        ('/dev/zero', UnreadableImageError, 'no regular file'),
        ('data:image/png;base64,AAAA', UnreadableImageError, 'decoded bytes'),
        ('A' * 10000, UnreadableImageError, r'^A{40}\.\.\. is no path'),
    ],
)
def test_the_rest_is_refused_in_one_sentence(img: Any, error: type, match: str) -> None:
    with pytest.raises(error, match=match) as caught:
        read(img)
    assert '\n' not in str(caught.value)


# --- URLs ---


class Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == '/gone.png':
            self.send_error(404)
        elif self.path == '/silent.png':
            self.server.shutting_down.wait(20)
        else:
            self.send_response(200)
            size = len(PNG) + (self.path == '/half.png')
            self.send_header('Content-Length', str(size))
            self.end_headers()
            content = b'<html>Log in</html>' if self.path == '/login.png' else PNG
            self.wfile.write(content.ljust(len(PNG)))

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def address(monkeypatch: Any) -> Iterator[str]:
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    server = ThreadingHTTPServer(('127.0.0.1', 0), Server)
    server.shutting_down = threading.Event()
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutting_down.set()
    server.shutdown()
    server.server_close()
    thread.join()


def test_urls(address: str) -> None:
    data = to_pipeline_input(f'{address}/photo.png?size=1', LoadImageFromFile())
    assert np.array_equal(data['img'][..., ::-1], RGB)
    assert data['img_path'] == f'{address}/photo.png?size=1'


@pytest.mark.parametrize(
    ('name', 'match'),
    [
        ('gone.png', 'cannot be fetched: Not Found'),
        ('silent.png', 'cannot be fetched: timed out'),
        ('half.png', r'ends after \d+ of \d+ bytes'),
        ('login.png', 'it is a web page'),
    ],
)
def test_urls_without_image(address: str, monkeypatch: Any, name: str, match: str) -> None:
    monkeypatch.setattr(images, 'URL_SILENCE', 0.2)
    with pytest.raises(UnreadableImageError, match=f'{name}: .*{match}'):
        to_pipeline_input(f'{address}/{name}', LoadImageFromFile())


def test_urls_of_endless_images(address: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(images, 'URL_SIZE', 10)
    with pytest.raises(UnreadableImageError, match='larger than'):
        to_pipeline_input(f'{address}/a.png', LoadImageFromFile())
    monkeypatch.setattr(images, 'URL_TIME', -1.0)
    with pytest.raises(UnreadableImageError, match='not finished after'):
        to_pipeline_input(f'{address}/a.png', LoadImageFromFile())


def test_urls_that_break_the_protocol() -> None:
    for url in ('http://', 'http://127.0.0.1:port/a.png', 'http://[::1/a.png', 'http://a b/c.png'):
        with pytest.raises(UnreadableImageError, match=r'cannot be fetched'):
            to_pipeline_input(url, LoadImageFromFile())
