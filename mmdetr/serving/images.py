"""Uploaded bytes into pixels; what the header says is checked before anything is decoded."""

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from mmdetr.utils.files import describe_other_content
from mmdetr.utils.image_decoding import image_to_bgr, refuse_useless

# What cameras and browsers make. Others of Pillow's formats are rare in uploads, and each is a
# parser that strangers can feed.
FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'GIF', 'TIFF')
# A progressive JPEG has about ten scans. Each may go over the whole image in a few bytes.
_MAX_SCANS = 100
_START_OF_SCAN = b'\xff\xda'


class RefusedUploadError(Exception):
    """An upload that gets no detections.

    Attributes:
        status: HTTP status of the answer.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def decode_upload(content: bytes, max_pixels: int) -> np.ndarray:
    """Decode an image file, turned upright by its EXIF tag.

    Args:
        content: Of the file.
        max_pixels: Limit of width times height, by the header.

    Returns:
        uint8 [h, w, 3] RGB.

    Raises:
        RefusedUploadError: 400 for nothing, 413 for too many pixels, 415 for what is no image of
            ``FORMATS``, 422 for one that is broken or has more than 8 bits per channel.
    """
    if not content:
        raise RefusedUploadError(400, 'the upload is empty')
    # Pillow allocates the whole canvas of a WebP when it opens one.
    if (size := _webp_size(content)) is not None:
        _check_pixels(size, max_pixels)
    with _open(content) as image:
        _check_pixels(image.size, max_pixels)
        if image.format == 'JPEG' and content.count(_START_OF_SCAN) > _MAX_SCANS:
            raise RefusedUploadError(422, f'a JPEG of more than {_MAX_SCANS} scans is not decoded')
        try:
            refuse_useless(image, content)
            return np.ascontiguousarray(image_to_bgr(image)[..., ::-1])
        except Exception as error:  # decoders raise whatever a broken file leads them into
            raise RefusedUploadError(422, f'the image cannot be decoded: {error}') from error


def _open(content: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        other = describe_other_content(content)
        reason = f'the upload is no image of the formats {", ".join(FORMATS)}'
        raise RefusedUploadError(415, f'{reason}: {other}' if other else reason) from None
    except Image.DecompressionBombError as error:
        raise RefusedUploadError(413, 'the image has too many pixels') from error
    except Exception as error:
        raise RefusedUploadError(422, f'the header cannot be read: {error}') from error


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise RefusedUploadError(
            413, f'{width} x {height} pixels are more than the {max_pixels:,} that are taken'
        )


def _webp_size(content: bytes) -> tuple[int, int] | None:
    """Read (w, h) of a WebP's canvas; None for other files and for what states none."""
    if content[:4] != b'RIFF' or content[8:12] != b'WEBP' or len(content) < 30:
        return None
    kind, data = content[12:16], content[20:30]
    if kind == b'VP8X':
        width, height = (int.from_bytes(data[i : i + 3], 'little') + 1 for i in (4, 7))
    elif kind == b'VP8L':
        bits = int.from_bytes(data[1:5], 'little')
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (int.from_bytes(data[i : i + 2], 'little') & 0x3FFF for i in (6, 8))
    return width, height
