"""Read image files and turn the dataset's instances into arrays."""

import io
import re
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms import LoadAnnotations as MMCVLoadAnnotations
from PIL import Image, UnidentifiedImageError

from mmdetr.datasets.local_files import describe_other_content, read_file
from mmdetr.registry import TRANSFORMS

from .mask_loading import EmptyMasks, draw_masks
from .orientation import EXIF_FRAMES, ExifFrame, frame_sizes, read_orientation, stated_frame, turn

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


@TRANSFORMS.register_module()
class LoadImageFromFile(BaseTransform):
    """Load ``img_path`` as the authors do, ``PIL.Image.open(f).convert('RGB')``, in BGR order.

    mmcv's loader is not used because it paints grey images with alpha on a coloured canvas, where
    the authors drop the alpha channel, and asks nobody before it obeys the EXIF orientation.

    EXIF orientation, the same in training, testing and use: where the dataset states ``width`` and
    ``height`` and only one frame has that size, stored or shown as viewers turn it, that frame
    counts. Where this does not decide (turned by 180 degrees, mirrored, square, or no size, as for
    one's own photograph), ``exif_frame`` does. The authors read what is stored.

    Required keys: ``img_path``; ``width`` and ``height`` where known.
    Added keys: ``img`` uint8 [h, w, 3] BGR, ``img_shape`` and ``ori_shape`` (h, w).

    Args:
        backend_args: Of mmengine's file backend, for images that are not local files.
        exif_frame: ``'shown'``, as labelling tools show pictures, or ``'stored'``.

    Raises:
        UnreadableImageError: The file is missing, broken, no regular file, larger than Pillow's
            limit (179 million pixels), has another size than the annotation file states, or has
            more than 8 bits per channel.
    """

    def __init__(self, backend_args: dict | None = None, exif_frame: ExifFrame = 'shown') -> None:
        if exif_frame not in EXIF_FRAMES:
            raise ValueError(f"exif_frame must be 'shown' or 'stored', got {exif_frame!r}")
        self.backend_args = backend_args
        self.exif_frame = exif_frame

    def transform(self, results: dict) -> dict:
        path = results['img_path']
        stated_size = (results['width'], results['height']) if 'width' in results else None
        try:
            content = read_file(path, self.backend_args)
            img = _decode(content, stated_size, self.exif_frame)
        # Decoders raise whatever a broken file leads them into (SyntaxError, struct.error, ...).
        except Exception as error:
            raise UnreadableImageError(f'cannot read image {path}: {error}') from error
        results['img'] = img
        results['img_shape'] = results['ori_shape'] = img.shape[:2]
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(backend_args={self.backend_args}, '
            f'exif_frame={self.exif_frame!r})'
        )


def decode_image(content: bytes | Image.Image, exif_frame: str = 'shown') -> np.ndarray:
    """Turn an image that is no file into uint8 [h, w, 3] BGR, by the rules for files.

    Args:
        content: An image file's content, or Pillow's image, which is not changed.
        exif_frame: As of :class:`LoadImageFromFile`.

    Raises:
        UnreadableImageError: It is broken, or holds numbers that 8 bits cannot.
    """
    try:
        if isinstance(content, Image.Image):
            _refuse_deep(content, b'')  # before copying, which drops what tells it
            return image_to_bgr(content.copy(), None, exif_frame)
        return _decode(content, None, exif_frame)
    # As in LoadImageFromFile: decoders raise whatever a broken file leads them into.
    except Exception as error:
        raise UnreadableImageError(f'cannot read image: {error}') from error


def _decode(content: bytes, stated_size: tuple[int, int] | None, exif_frame: str) -> np.ndarray:
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
        exif_frame: The frame where the size does not decide, see :class:`LoadImageFromFile`.
    """
    # Before turning, which decodes: a wrong size may be a gigantic one.
    if stated_size not in (None, image.size, image.size[::-1]):
        raise other_size(image.size, stated_size)
    # Decoding may find it; a PNG states it behind its pixels at times.
    orientation = read_orientation(image)
    sizes = frame_sizes(image, orientation)
    if stated_size is not None and stated_size not in sizes.values():
        raise other_size(image.size, stated_size)
    image = turn(image, orientation, stated_frame(sizes, stated_size) or exif_frame)
    rgb = image if image.mode == 'RGB' else image.convert('RGB')
    return cv2.cvtColor(np.asarray(rgb), cv2.COLOR_RGB2BGR)


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


@TRANSFORMS.register_module()
class LoadAnnotations(MMCVLoadAnnotations):
    """mmcv's ``LoadAnnotations`` without the objects that are not to be trained on, and with masks.

    Crowds (``ignore_flag=1``) give no ground truth: a set loss has no way to ignore a region.

    Required keys: ``instances``, left as it is; for masks ``width`` and ``height``.
    Added keys: ``gt_bboxes`` float32 [M, 4] absolute xyxy, ``gt_bboxes_labels`` int64 [M] and,
    if asked for, ``gt_masks`` bool [M, h, w] in the frame of the original image.

    Args:
        with_mask: Draw each instance's ``mask`` (polygons or RLE, as in a COCO file). Objects
            whose mask has no pixel stay; a warning counts their images.
        **kwargs: mmcv's arguments.

    Raises:
        ValueError: An instance has no ``mask``.
    """

    def __init__(self, with_mask: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.with_mask = with_mask
        self._empty_masks = EmptyMasks()

    def transform(self, results: dict) -> dict:
        instances = results['instances']
        results['instances'] = [each for each in instances if not each['ignore_flag']]
        results = super().transform(results)
        if self.with_mask:
            results['gt_masks'] = draw_masks(results)
            self._empty_masks.look_at(results.get('img_id'), results['gt_masks'])
        results['instances'] = instances
        return results
