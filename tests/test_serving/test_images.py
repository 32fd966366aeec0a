"""Uploads into pixels."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from mmdetr.serving.images import FORMATS, RefusedUploadError, decode_upload
from tests.helpers.hostile import HOSTILE, png, webp
from tests.helpers.serving import encode, noise

LIMIT = 50_000_000


def status_of(content: bytes, limit: int = LIMIT) -> int:
    with pytest.raises(RefusedUploadError) as caught:
        decode_upload(content, limit)
    assert '\n' not in str(caught.value)
    return caught.value.status


@pytest.mark.parametrize('kind', ['PNG', 'BMP', 'TIFF'])
def test_pixels_are_rgb(kind: str) -> None:
    pixels = noise(5, 9)
    assert kind in FORMATS
    np.testing.assert_array_equal(decode_upload(encode(pixels, kind), LIMIT), pixels)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_images_are_turned_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = noise(6, 10)
    stored = Image.fromarray(pixels)
    stored.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(stored))
    np.testing.assert_array_equal(decode_upload(encode(pixels, exif=exif), LIMIT), upright)


@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_uploads_are_refused(name: str) -> None:
    content, statuses = HOSTILE[name]
    assert status_of(content()) in statuses


def test_pixels_are_counted_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        raise AssertionError('decoded')

    monkeypatch.setattr('PIL.ImageFile.ImageFile.load', load)
    assert status_of(png(101, 100), 10_000) == 413
    monkeypatch.setattr('PIL.Image.open', load)  # which allocates the canvas of a WebP
    assert status_of(webp(101, 100), 10_000) == 413


@pytest.mark.parametrize('options', [dict(), dict(lossless=True), dict(exif=b'Exif\0\0')])
def test_size_of_a_webp_is_read_from_its_head(options: dict) -> None:
    content = encode(noise(30, 41), 'WEBP', **options)
    assert status_of(content, 30 * 41 - 1) == 413
    assert decode_upload(content, 30 * 41).shape == (30, 41, 3)
