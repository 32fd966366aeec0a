"""Uploads that no service should be hurt by. Each is small; what it stands for may not be."""

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator

from PIL import Image

from .serving import encode, noise


def png(width: int, height: int, pixels: bytes = b'') -> bytes:
    """A PNG that states a size and has other pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', check)

    head = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(pixels, 9)
    signature = b'\x89PNG\r\n\x1a\n'
    return signature + chunk(b'IHDR', head) + chunk(b'IDAT', data) + chunk(b'IEND', b'')


def webp(width: int, height: int) -> bytes:
    """The head of an extended WebP of that size, without pixels."""
    sizes = (width - 1).to_bytes(3, 'little') + (height - 1).to_bytes(3, 'little')
    chunk = b'VP8X' + struct.pack('<I', 10) + b'\x00\x00\x00\x00' + sizes
    return b'RIFF' + struct.pack('<I', 4 + len(chunk)) + b'WEBP' + chunk


def jpeg_of_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    content = encode(noise(64, 64), 'JPEG', progressive=True)
    start = content.rindex(b'\xff\xda')
    return content[:start] + content[start:-2] * count + content[-2:]


def text_bomb() -> bytes:
    """A PNG with 20 MB of text, compressed."""
    text = b'zTXt' + b'a\0\0' + zlib.compress(bytes(20_000_000), 9)
    chunk = struct.pack('>I', len(text) - 4) + text + struct.pack('>I', zlib.crc32(text))
    content = png(8, 8, bytes(200))
    return content[:33] + chunk + content[33:]


def frame_bomb() -> bytes:
    """A GIF that states 65535 x 65535 pixels."""
    content = io.BytesIO()
    Image.new('P', (8, 8)).save(content, 'GIF')
    changed = bytearray(content.getvalue())
    changed[6:10] = b'\xff' * 4
    return bytes(changed)


def bmp(width: int, height: int) -> bytes:
    """A BMP that states a size and has few pixels."""
    head = struct.pack('<IiiHHIIiiII', 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b'BM' + struct.pack('<IHHI', 54 + 100, 0, 0, 54) + head + bytes(100)


# By name, with the statuses that may answer them.
HOSTILE: dict[str, tuple[Callable[[], bytes], set[int]]] = {
    'nothing': (lambda: b'', {400}),
    'text': (lambda: b'hello ' * 100, {415}),
    'web page': (lambda: b'<!doctype html><html>', {415}),
    'program': (lambda: b'\x7fELF' + bytes(200), {415}),
    'archive': (lambda: b'PK\x03\x04' + bytes(200), {415}),
    'EPS': (lambda: b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', {415}),
    'SVG': (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>', {415}),
    'PNG bomb': (lambda: png(40_000, 40_000, bytes(1_000_000)), {413}),
    'PNG of no width': (lambda: png(0, 10), {415, 422}),
    'PNG of 2^31 pixels a side': (lambda: png(2**31 - 1, 2**31 - 1), {413}),
    'PNG without pixels': (lambda: png(4000, 4000), {422}),
    'PNG with a text bomb': (text_bomb, {415, 422}),
    'WebP bomb': (lambda: webp(2**24, 2**24), {413}),
    'WebP without pixels': (lambda: webp(100, 100), {415, 422}),
    'GIF bomb': (frame_bomb, {413}),
    'JPEG of 1000 scans': (lambda: jpeg_of_scans(1000), {422}),
    'JPEG head alone': (lambda: b'\xff\xd8\xff', {415, 422}),
    'TIFF head alone': (lambda: b'II*\x00\x08\x00\x00\x00', {415, 422}),
    'BMP bomb': (lambda: bmp(60_000, 60_000), {413}),
}


def damaged_uploads(count: int, seed: int = 0) -> Iterator[bytes]:
    """Yield images cut off, with noise in place of a part, or of nothing but noise."""
    draw = random.Random(seed)
    whole = [encode(noise(48, 64), kind) for kind in ('JPEG', 'PNG', 'WEBP', 'BMP', 'GIF', 'TIFF')]
    for number in range(count):
        content = bytearray(draw.choice(whole))
        if number % 3 == 0:
            del content[draw.randrange(1, len(content) // 2) :]
        elif number % 3 == 1:
            for _ in range(draw.randrange(1, 40)):
                content[draw.randrange(min(len(content), 600))] = draw.randrange(256)
        else:
            content = bytearray(draw.randbytes(draw.randrange(1, 2000)))
        yield bytes(content)
