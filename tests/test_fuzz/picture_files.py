"""Image files of every kind, good ones and such that only look good."""

import io
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

WIDTH, HEIGHT = 60, 40
ORIENTATION = 0x0112
rng = np.random.default_rng(0)
# Smooth, so that a damaged picture is not another random one.
GRADIENT = np.linspace(0, 255, WIDTH)[None, :, None] * np.ones((HEIGHT, 1, 3))
RGB = (0.8 * GRADIENT + 40 * rng.random((HEIGHT, WIDTH, 3))).astype(np.uint8)
PICTURE = Image.fromarray(RGB)


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation: int, kind: str = 'JPEG', picture: Image.Image = PICTURE) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(picture, kind, exif=exif)


def frames() -> list[Image.Image]:
    return [Image.fromarray(np.roll(RGB, 7 * i, axis=1)) for i in range(1, 4)]


def deep(suffix: str, pixels: np.ndarray) -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


# By file name; the suffix is not always the truth.
GOOD = {
    'rgb.jpg': encoded(PICTURE, 'JPEG'),
    'progressive.jpg': encoded(PICTURE, 'JPEG', progressive=True),
    'grey.jpg': encoded(PICTURE.convert('L'), 'JPEG'),
    'cmyk.jpg': encoded(PICTURE.convert('CMYK'), 'JPEG'),
    'rgb.png': encoded(PICTURE, 'PNG'),
    'rgba.png': encoded(PICTURE.convert('RGBA'), 'PNG'),
    'la.png': encoded(PICTURE.convert('LA'), 'PNG'),
    'one_bit.png': encoded(PICTURE.convert('1'), 'PNG'),
    'palette.png': encoded(PICTURE.quantize(16), 'PNG'),
    'transparent.png': encoded(PICTURE.quantize(16), 'PNG', transparency=3),
    'transparent_bytes.png': encoded(PICTURE.quantize(16), 'PNG', transparency=bytes(range(16))),
    'animated.gif': encoded(PICTURE, 'GIF', save_all=True, append_images=frames()),
    'animated.webp': encoded(PICTURE, 'WEBP', save_all=True, append_images=frames(), lossless=True),
    'rgb.webp': encoded(PICTURE, 'WEBP'),
    'rgb.bmp': encoded(PICTURE, 'BMP'),
    'rgb.tiff': encoded(PICTURE, 'TIFF'),
    'png_named.jpg': encoded(PICTURE, 'PNG'),
    'jpg_named.png': encoded(PICTURE, 'JPEG'),
    **{f'orientation{i}.jpg': turned(i) for i in range(1, 9)},
}


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', checksum)


def png_header(width: int, height: int, content: bytes = b'') -> bytes:
    """A PNG that claims a size, with hardly any pixels."""
    header = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0))
    return (
        b'\x89PNG\r\n\x1a\n' + header + chunk(b'IDAT', zlib.compress(content)) + chunk(b'IEND', b'')
    )


def jpeg_header(width: int, height: int) -> bytes:
    content = bytearray(GOOD['rgb.jpg'])
    place = content.index(b'\xff\xc0') + 5
    content[place : place + 4] = struct.pack('>HH', height, width)
    return bytes(content)


def gif_header(width: int, height: int) -> bytes:
    content = bytearray(GOOD['animated.gif'])
    content[6:10] = struct.pack('<HH', width, height)
    return bytes(content)


BAD = {
    'empty.jpg': b'',
    'text.jpg': b'no image at all\n',
    'html.png': b'<!DOCTYPE html><html>404</html>',
    'zeros.png': bytes(5000),
    'half.jpg': GOOD['rgb.jpg'][: len(GOOD['rgb.jpg']) // 2],
    'half.png': GOOD['rgb.png'][: len(GOOD['rgb.png']) // 2],
    'header.jpg': GOOD['rgb.jpg'][:20],
    'grey16.png': deep('.png', RGB[..., 0].astype(np.uint16) * 257),
    'colour16.png': deep('.png', RGB.astype(np.uint16) * 257 - 100),
    'colour16.tiff': deep('.tiff', RGB.astype(np.uint16) * 257),
    'float.tiff': encoded(Image.fromarray(RGB[..., 0].astype(np.float32)), 'TIFF'),
    # Ghostscript would run it for ever.
    'program.jpg': b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 60 40\n%%EndComments\n{} loop\n',
    'bomb.png': png_header(100_000, 100_000),
    'large.png': png_header(12_000, 12_000),
    'large.jpg': jpeg_header(12_000, 12_000),
    'large.gif': gif_header(60_000, 2_900),
    'other_size.jpg': encoded(PICTURE.resize((30, 20)), 'JPEG'),
}


def write(folder: Path, files: dict[str, bytes], names: Iterable[str] | None = None) -> None:
    for name in files if names is None else names:
        (folder / name).write_bytes(files[name])
