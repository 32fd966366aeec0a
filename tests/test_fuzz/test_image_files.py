"""Image files of every kind: the authors' pixels, or an error that names the file."""

import contextlib
import io
import multiprocessing
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmdetr.datasets.transforms import LoadImageFromFile, Resize, UnreadableImageError

from ..test_datasets.test_loading import UPRIGHT
from .picture_files import BAD, GOOD, HEIGHT, ORIENTATION, RGB, WIDTH, png_header, turned, write
from .profiles import profiles

SIZE = dict(width=WIDTH, height=HEIGHT)
# Pillow's remarks on odd files.
pytestmark = pytest.mark.filterwarnings('ignore')


def load(path: Path, **stated: int) -> np.ndarray | None:
    """The pixels, or None where they are refused with an error that names the file."""
    message = None
    try:
        results = LoadImageFromFile()(dict(img_path=str(path), **stated))
    except UnreadableImageError as error:
        message = str(error)
    if message is not None:
        assert message.startswith(f'cannot read image {path}: ')
        assert len(message) < 2 * len(str(path)) + 250
        assert ' at 0x' not in message
        return None
    img = results['img']
    assert img.dtype == np.uint8
    assert img.shape == (*results['img_shape'], 3) == (*results['ori_shape'], 3)
    assert img.flags.writeable
    assert img.flags.c_contiguous
    return img


def authors(content: bytes, stated: dict) -> np.ndarray | None:
    """Their ``Image.open(f).convert('RGB')`` in BGR order; None for what must be refused.

    The image is as viewers show it, unless the stated size is that of the stored pixels alone.
    """
    size = (stated['width'], stated['height']) if stated else None
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.format == 'EPS' or image.mode[0] in 'IF' or bits(image, content) > 8:
                return None
            operation: Callable = UPRIGHT[1]
            image.load()  # or the look for a tag would decode, and broken pixels be a broken tag
            with contextlib.suppress(Exception):  # a broken tag is none
                operation = UPRIGHT.get(image.getexif().get(ORIENTATION), UPRIGHT[1])
            stored = np.asarray(image.convert('RGB'))[..., ::-1]
    except Exception:
        return None
    for pixels in (operation(stored), stored):
        if size in (None, pixels.shape[1::-1]):
            return pixels
    return None


def bits(image: Image.Image, content: bytes) -> int:
    """Bits per channel, from the headers of the formats that can have more than 8."""
    if image.format == 'PNG':
        return content[24]
    return int(np.max(image.tag_v2.get(258, 8))) if image.format == 'TIFF' else 8


def same(first: np.ndarray | None, second: np.ndarray | None) -> bool:
    if first is None or second is None:
        return first is second
    return np.array_equal(first, second)


@pytest.mark.parametrize('stated', [SIZE, {}], ids=['stated', 'unknown'])
@pytest.mark.parametrize('name', GOOD)
def test_good_files(tmp_path: Path, name: str, stated: dict) -> None:
    write(tmp_path, GOOD, [name])
    pixels = load(tmp_path / name, **stated)
    assert pixels is not None
    np.testing.assert_array_equal(pixels, authors(GOOD[name], stated))
    if not name.startswith(('grey', 'la', 'one_bit', 'orientation')):
        # Sooner or later everybody's decoder is wrong in the same way; this is the original.
        assert np.abs(pixels[..., ::-1] - RGB.astype(float)).mean() < 12


@pytest.mark.parametrize('orientation', range(5, 9))
def test_upright_size_turns_the_image(tmp_path: Path, orientation: int) -> None:
    content = turned(orientation, 'PNG')
    (tmp_path / 'turned.png').write_bytes(content)
    pixels = load(tmp_path / 'turned.png', width=HEIGHT, height=WIDTH)
    np.testing.assert_array_equal(pixels, UPRIGHT[orientation](RGB)[..., ::-1])


@pytest.mark.parametrize('orientation', range(1, 9))
def test_square_image_is_turned_as_it_is_shown(tmp_path: Path, orientation: int) -> None:
    square = RGB[:, :HEIGHT]
    content = turned(orientation, 'PNG', Image.fromarray(square))
    (tmp_path / 'square.png').write_bytes(content)
    pixels = load(tmp_path / 'square.png', width=HEIGHT, height=HEIGHT)
    np.testing.assert_array_equal(pixels, UPRIGHT[orientation](square)[..., ::-1])


def test_programs_are_not_run(tmp_path: Path) -> None:
    write(tmp_path, BAD, ['program.jpg'])
    with pytest.raises(UnreadableImageError, match='EPS files are programs'):
        LoadImageFromFile()(dict(img_path=str(tmp_path / 'program.jpg')))


@pytest.mark.parametrize('name', BAD)
def test_bad_files(tmp_path: Path, name: str) -> None:
    write(tmp_path, BAD, [name])
    assert load(tmp_path / name, **SIZE) is None


def test_no_file(tmp_path: Path) -> None:
    (tmp_path / 'folder.jpg').mkdir()
    (tmp_path / 'dangling.jpg').symlink_to(tmp_path / 'nothing')
    for name in ('folder.jpg', 'dangling.jpg', 'missing.jpg', 'x' * 300, 'a\0b.jpg', '\ud800.jpg'):
        assert load(tmp_path / name, **SIZE) is None


@pytest.mark.parametrize(('width', 'height'), [(1, 1), (1, 500), (500, 1), (2, 65000)])
def test_thin_images(tmp_path: Path, width: int, height: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'thin.png')
    loaded = load(tmp_path / 'thin.png', width=width, height=height)
    np.testing.assert_array_equal(loaded, pixels[..., ::-1])


CUT = [
    *('rgb.jpg', 'progressive.jpg', 'cmyk.jpg', 'rgb.png', 'palette.png', 'la.png'),
    *('animated.gif', 'rgb.webp', 'rgb.bmp', 'rgb.tiff'),
]


@pytest.mark.parametrize('name', CUT)
def test_truncated_file_is_whole_or_refused(tmp_path: Path, name: str) -> None:
    """What lies behind the last pixel may be missing; grey or half a picture is never given."""
    content = GOOD[name]
    whole = authors(content, SIZE)
    lengths = {*range(0, 40, 7), *range(len(content) - 15, len(content))}
    lengths |= set(np.linspace(40, len(content) - 16, 12).astype(int).tolist())
    for length in lengths:
        path = tmp_path / f'{length}_{name}'
        path.write_bytes(content[:length])
        pixels = load(path, **SIZE)
        assert pixels is None or np.array_equal(pixels, whole)
    assert load(tmp_path / f'{min(lengths)}_{name}') is None


@st.composite
def damaged(draw: Any) -> bytes:
    content = bytearray(GOOD[draw(st.sampled_from(sorted(GOOD)))])
    for _ in range(draw(st.integers(1, 4))):
        # Headers are where most can go wrong.
        place = draw(st.integers(0, min(200, len(content) - 1)) | st.integers(0, len(content) - 1))
        if draw(st.booleans()):
            content[place] ^= 1 << draw(st.integers(0, 7))
        else:
            length = draw(st.integers(1, 4))
            content[place : place + length] = draw(st.binary(max_size=4))
        if not content:
            break
    return bytes(content)


@profiles(quick=250, long=15_000)
def test_damaged_files(profile: Any, tmp_path: Path) -> None:
    @profile
    @given(damaged(), st.sampled_from([SIZE, {}, dict(width=HEIGHT, height=WIDTH)]))
    def check(content: bytes, stated: dict) -> None:
        path = tmp_path / 'damaged'
        path.write_bytes(content)
        if claims_much(content):
            return
        assert same(load(path, **stated), authors(content, stated))

    check()


def claims_much(content: bytes) -> bool:
    """Whether decoding would only test the patience of whoever runs the tests."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.width * image.height > 5_000_000
    except Exception:
        return False


# ---- memory ----


def allocated_mib(function: Callable) -> float:
    """Growth of the peak memory of a process that does nothing else."""

    def measure(queue: Any) -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        function()
        queue.put((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)

    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    process = context.Process(target=measure, args=(queue,))
    process.start()
    growth = queue.get(timeout=120)
    process.join(timeout=120)
    return growth


def test_claims_of_size_allocate_nothing(tmp_path: Path) -> None:
    names = ['bomb.png', 'large.png', 'large.jpg', 'large.gif']
    write(tmp_path, BAD, names)
    (tmp_path / 'column.png').write_bytes(png_header(1, 100_000_000))

    def read_all() -> None:
        for name in [*names, 'column.png']:
            assert load(tmp_path / name, **SIZE) is None

    assert allocated_mib(read_all) < 50


@pytest.mark.parametrize(
    ('size', 'scale'),
    [((1, 65_000), (400, None)), ((65_000, 2), (600, None)), ((3_000_000, 1), (800, None))],
)
def test_resizing_allocates_no_gigabytes(size: tuple, scale: tuple) -> None:
    def resize() -> None:
        img = np.zeros((size[1], size[0], 3), dtype=np.uint8)
        with pytest.raises(UnreadableImageError, match=r'cannot use image a\.png: its \d+x\d+'):
            Resize(scale, keep_ratio=True)(dict(img=img, img_path='a.png'))

    assert allocated_mib(resize) < 50
