"""What the pixels of an image file are, the same in training, testing and deployment.

Needs Pillow and numpy alone: whoever runs an exported model has no torch.
"""

import io
import re

import numpy as np
from PIL import Image, UnidentifiedImageError

from .files import describe_other_content
from .orientation import frame_sizes, read_orientation, stated_frame, turn

# Pillow's conversion to RGB clips these at 255, which leaves a white picture.
DEEP_MODES = ('I', 'F')
# Where the file has more bits than Pillow's mode, as RGB;16B; BGR;16 are 16 bits of all channels.
DEEP_RAW_MODE = re.compile(r'^(?!BGR)[A-Za-z]+;(10|12|14|16|32|64)')
BITS_PER_SAMPLE = 258  # TIFF's tag
UNKNOWN_FORMAT = 'it is no image, or of an unknown format'
# A program that Pillow would hand to Ghostscript, and that need not end.
PROGRAM_FORMATS = ('EPS',)


class UnreadableImageError(OSError):
    """An image file that is missing, broken, not the one that was annotated, or of no use.

    The message names the file.
    """


def decode_image(content: bytes | Image.Image, exif_frame: str = 'shown') -> np.ndarray:
    """Turn an image that is no file into uint8 [h, w, 3] BGR, by the rules for files.

    Args:
        content: An image file's content, or Pillow's image, which is not changed.
        exif_frame: As of :class:`~mmdetr.datasets.transforms.LoadImageFromFile`.

    Raises:
        UnreadableImageError: It is broken, or holds numbers that 8 bits cannot.
    """
    try:
        if isinstance(content, Image.Image):
            _refuse_deep(content, b'')  # before copying, which drops what tells it
            return image_to_bgr(content.copy(), None, exif_frame)
        return decode_bytes(content, None, exif_frame)
    # As in LoadImageFromFile: decoders raise whatever a broken file leads them into.
    except Exception as error:
        raise UnreadableImageError(f'cannot read image: {error}') from error


def decode_bytes(
    content: bytes, stated_size: tuple[int, int] | None, exif_frame: str
) -> np.ndarray:
    """Turn an image file's content into uint8 [h, w, 3] BGR; ``stated_size`` is (w, h)."""
    if not content:
        raise ValueError('the file is empty')
    try:
        image = Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        raise ValueError(describe_other_content(content) or UNKNOWN_FORMAT) from None
    with image:
        refuse_useless(image, content)
        return image_to_bgr(image, stated_size, exif_frame)


def refuse_useless(image: Image.Image, content: bytes) -> None:
    """Refuse what the header of an opened image says to be of no use.

    Args:
        image: Not decoded yet.
        content: Of its file, or as much as holds the headers.
    """
    if image.format in PROGRAM_FORMATS:
        raise ValueError(f'{image.format} files are programs; convert it to PNG first')
    _refuse_deep(image, content)


def _refuse_deep(image: Image.Image, content: bytes) -> None:
    if image.mode.startswith(DEEP_MODES) or _is_deep(image, content):
        raise ValueError(
            f'mode {image.mode} has more than 8 bits per channel; '
            'convert it to an 8-bit image first'
        )


def image_to_bgr(
    image: Image.Image, stated_size: tuple[int, int] | None = None, exif_frame: str = 'shown'
) -> np.ndarray:
    """Turn an opened image into uint8 [h, w, 3] BGR in the frame that counts.

    Args:
        image: As Pillow opened it.
        stated_size: (w, h) of the annotation file, where there is one.
        exif_frame: The frame where the size does not decide, see
            :class:`~mmdetr.datasets.transforms.LoadImageFromFile`.
    """
    # Before turning, which decodes: a wrong size may be a gigantic one.
    if stated_size not in (None, image.size, image.size[::-1]):
        raise other_size(image.size, stated_size)
    if image.format == 'PNG':
        # Reading its orientation decodes it, where broken pixels would pass for a broken EXIF
        # block; decoded again, Pillow shows what came before the damage.
        image.load()
    # Decoding may find it; a PNG states it behind its pixels at times.
    orientation = read_orientation(image)
    sizes = frame_sizes(image, orientation)
    if stated_size is not None and stated_size not in sizes.values():
        raise other_size(image.size, stated_size)
    image = turn(image, orientation, stated_frame(sizes, stated_size) or exif_frame)
    rgb = image if image.mode == 'RGB' else image.convert('RGB')
    # Pillow turns the channels faster than numpy; a bytearray can be written to.
    pixels = np.frombuffer(bytearray(rgb.tobytes('raw', 'BGR')), np.uint8)
    return pixels.reshape(rgb.height, rgb.width, 3)


def other_size(size: tuple[int, int], stated_size: tuple[int, int] | None) -> ValueError:
    stated = 'x'.join(map(str, stated_size or ()))
    return ValueError(f'it is {size[0]}x{size[1]} pixels, but the annotation file says {stated}')


def _is_deep(image: Image.Image, content: bytes) -> bool:
    """Say whether Pillow would drop the lower bits of the channels, whatever their layout."""
    if image.format == 'JPEG2000':
        # The SIZ segment: 38 bytes, the number of channels, then depth less one of each.
        start = content.find(b'\xff\x4f\xff\x51') + 2
        if start < 2:
            return False
        num_channels = int.from_bytes(content[start + 38 : start + 40], 'big')
        depths = content[start + 40 : start + 40 + 3 * num_channels : 3]
        return any(depth & 0x7F > 7 for depth in depths)
    bits = getattr(image, 'tag_v2', {}).get(BITS_PER_SAMPLE) or ()
    if any(each > 8 for each in np.atleast_1d(bits)):
        return True
    for tile in getattr(image, 'tile', ()):
        arguments = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if tile[0].startswith('ppm') and any(type(a) is int and a > 255 for a in arguments):
            return True
        if any(isinstance(a, str) and DEEP_RAW_MODE.search(a) for a in arguments):
            return True
    return False
