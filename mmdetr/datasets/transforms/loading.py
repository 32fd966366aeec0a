"""Read image files and turn the dataset's instances into arrays."""

import io
from typing import Any

import cv2
import mmengine.fileio as fileio
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms import LoadAnnotations as MMCVLoadAnnotations
from PIL import Image, ImageOps, UnidentifiedImageError

from mmdetr.datasets.coco_masks import draw_mask
from mmdetr.registry import TRANSFORMS

# Pillow's conversion to RGB clips these at 255, which leaves a white picture.
DEEP_MODES = ('I', 'F')
# A program that Pillow would hand to Ghostscript, and that need not end.
PROGRAM_FORMATS = ('EPS',)


class UnreadableImageError(OSError):
    """An image file that is missing, broken, not the one that was annotated, or of no use.

    The message names the file.
    """


@TRANSFORMS.register_module()
class LoadImageFromFile(BaseTransform):
    """Load ``img_path`` as the authors do, ``PIL.Image.open(f).convert('RGB')``, in BGR order.

    mmcv's loader is not used because it differs in two ways: it paints grey images with alpha on
    a coloured canvas, where the authors drop the alpha channel, and it always obeys the EXIF
    orientation.

    EXIF orientation: where the dataset states ``width`` and ``height``, the stored pixels are
    taken as they are, as the authors do, unless only the rotated image has the stated size. Where
    no size is stated (inference on one's own photograph) the image is turned upright.

    Required keys: ``img_path``; ``width`` and ``height`` where known.
    Added keys: ``img`` uint8 [h, w, 3] BGR, ``img_shape`` and ``ori_shape`` (h, w).

    Args:
        backend_args: Of mmengine's file backend, for images that are not local files.

    Raises:
        UnreadableImageError: The file is missing, broken, larger than Pillow's limit (179 million
            pixels), has another size than the annotation file states, or holds numbers that 8
            bits cannot (16-bit colour keeps its upper 8 bits, as with the authors).
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        path = results['img_path']
        stated_size = (results['width'], results['height']) if 'width' in results else None
        try:
            content = fileio.get(path, backend_args=self.backend_args)
            img = _decode(content, stated_size)
        # Decoders raise whatever a broken file leads them into (SyntaxError, struct.error, ...).
        except Exception as error:
            raise UnreadableImageError(f'cannot read image {path}: {error}') from error
        results['img'] = img
        results['img_shape'] = results['ori_shape'] = img.shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'


def decode_image(content: bytes | Image.Image) -> np.ndarray:
    """Turn an image that is no file into uint8 [h, w, 3] BGR, by the rules for files.

    Args:
        content: An image file's content, or Pillow's image, which is not changed.

    Raises:
        UnreadableImageError: It is broken, or holds numbers that 8 bits cannot.
    """
    try:
        return _decode(content, None)
    # As in LoadImageFromFile: decoders raise whatever a broken file leads them into.
    except Exception as error:
        raise UnreadableImageError(f'cannot read image: {error}') from error


def _decode(content: bytes | Image.Image, stated_size: tuple[int, int] | None) -> np.ndarray:
    """Turn an image file's content into uint8 [h, w, 3] BGR; ``stated_size`` is (w, h)."""
    if not content:
        raise ValueError('the file is empty')
    try:
        # A copy, since the image is turned in place.
        image = (
            content.copy() if isinstance(content, Image.Image) else Image.open(io.BytesIO(content))
        )
    except UnidentifiedImageError:
        raise ValueError('it is no image, or of an unknown format') from None
    with image:
        if image.format in PROGRAM_FORMATS:
            raise ValueError(f'{image.format} files are programs; convert it to PNG first')
        _orient(image, stated_size)
        if image.mode.startswith(DEEP_MODES):
            raise ValueError(
                f'mode {image.mode} has more than 8 bits per channel; '
                'convert it to an 8-bit image first'
            )
        rgb = image if image.mode == 'RGB' else image.convert('RGB')
        return cv2.cvtColor(np.asarray(rgb), cv2.COLOR_RGB2BGR)


def _orient(image: Image.Image, stated_size: tuple[int, int] | None) -> None:
    """Turn an image upright in place unless its stored pixels have the stated size."""
    stored_size = image.size
    if stored_size == stated_size:
        return
    # Before turning, which decodes: a wrong size may be a gigantic one.
    if stated_size is None or stored_size[::-1] == stated_size:
        ImageOps.exif_transpose(image, in_place=True)
    if stated_size is not None and image.size != stated_size:
        raise ValueError(
            f'it is {stored_size[0]}x{stored_size[1]} pixels, but the annotation file '
            f'says {stated_size[0]}x{stated_size[1]}'
        )


@TRANSFORMS.register_module()
class LoadAnnotations(MMCVLoadAnnotations):
    """mmcv's ``LoadAnnotations`` without the objects that are not to be trained on, and with masks.

    Crowds (``ignore_flag=1``) give no ground truth: a set loss has no way to ignore a region.

    Required keys: ``instances``, left as it is; for masks ``width`` and ``height``.
    Added keys: ``gt_bboxes`` float32 [M, 4] absolute xyxy, ``gt_bboxes_labels`` int64 [M] and,
    if asked for, ``gt_masks`` bool [M, h, w] in the frame of the original image.

    Args:
        with_mask: Draw each instance's ``mask`` (polygons or RLE, as in a COCO file).
        **kwargs: mmcv's arguments.

    Raises:
        ValueError: An instance has no ``mask``.
    """

    def __init__(self, with_mask: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.with_mask = with_mask

    def transform(self, results: dict) -> dict:
        instances = results['instances']
        results['instances'] = [each for each in instances if not each['ignore_flag']]
        results = super().transform(results)
        if self.with_mask:
            results['gt_masks'] = _draw_masks(results)
        results['instances'] = instances
        return results


def _draw_masks(results: dict) -> np.ndarray:
    width, height, instances = results['width'], results['height'], results['instances']
    masks = np.empty((len(instances), height, width), dtype=bool)
    for mask, instance in zip(masks, instances, strict=True):
        if 'mask' not in instance:
            raise ValueError(
                f'image id {results.get("img_id")}: LoadAnnotations(with_mask=True) needs a mask '
                'of each instance: set with_mask=True of the dataset'
            )
        mask[:] = draw_mask(instance['mask'], width, height)
    return masks
