"""The frame of a photograph: as its pixels are stored, or as viewers show it.

Cameras store a picture as the sensor saw it, with an EXIF tag that tells viewers how to turn it.
"""

from typing import Literal, TypeAlias

from PIL import Image, ImageOps

ExifFrame: TypeAlias = Literal['shown', 'stored']
EXIF_FRAMES = ('shown', 'stored')
ORIENTATION_TAG = 0x0112
_NONE = 1
_KNOWN = range(2, 9)
_SWAPS_SIDES = range(5, 9)
_UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def read_orientation(image: Image.Image, may_decode: bool = True) -> int:
    """Return the EXIF orientation of an opened image, 1..8; 1 where it states none or nonsense.

    Args:
        image: Not decoded yet: Pillow turns a TIFF while decoding and forgets its tag.
        may_decode: A PNG may state it behind its pixels, which are then decoded.
    """
    try:
        exif = image.getexif() if may_decode else Image.Image.getexif(image)
        value = exif.get(ORIENTATION_TAG)
    except Exception:  # a broken EXIF block, which viewers ignore as well
        return _NONE
    return value if type(value) is int and value in _KNOWN else _NONE


def frame_sizes(image: Image.Image, orientation: int) -> dict[str, tuple[int, int]]:
    """Return (w, h) of both frames of an image that is not decoded yet."""
    turned = image.size[::-1] if orientation in _SWAPS_SIDES else image.size
    # Pillow states the size of a TIFF as it is shown.
    stored, shown = (turned, image.size) if image.format == 'TIFF' else (image.size, turned)
    return {'stored': stored, 'shown': shown}


def stated_frame(
    sizes: dict[str, tuple[int, int]], stated_size: tuple[int, int] | None
) -> str | None:
    """Return the frame that an annotation file's size means; None where it fits both or neither."""
    fitting = [frame for frame in EXIF_FRAMES if sizes[frame] == stated_size]
    return fitting[0] if len(fitting) == 1 else None


def turn(image: Image.Image, orientation: int, frame: str) -> Image.Image:
    """Return an opened image in a frame."""
    if orientation == _NONE:
        return image
    if image.format == 'TIFF':
        image.load()  # which turns it
        return image if frame == 'shown' else image.transpose(_UNDO[orientation])
    if frame == 'shown':
        ImageOps.exif_transpose(image, in_place=True)
    return image
