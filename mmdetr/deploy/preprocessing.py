"""From an image to the input of an exported network, with numpy and Pillow alone.

Legend: B images, H W size of the network's input, h w size of one image in it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from mmdetr.utils.files import check_regular
from mmdetr.utils.image_decoding import UnreadableImageError, decode_bytes
from mmdetr.utils.resizing import MOST_PIXELS, resized_size

from .metadata import ExportMetadata


class FileLoader:
    """Read image files as ``LoadImageFromFile`` does."""

    def __init__(self, exif_frame: str) -> None:
        self.exif_frame = exif_frame

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        path = results['img_path']
        try:
            check_regular(path)
            with open(path, 'rb') as file:
                img = decode_bytes(file.read(), None, self.exif_frame)
        # As in LoadImageFromFile: decoders raise whatever a broken file leads them into.
        except Exception as error:
            raise UnreadableImageError(f'cannot read image {path}: {error}') from error
        return dict(results, img=img)


def network_size(size: tuple[int, int], metadata: ExportMetadata) -> tuple[int, int]:
    """Return (h, w) that an image of (height, width) gets by the pipeline's rule.

    In a file of fixed size it is smaller where it would not fit.
    """
    height, width = size
    new_width, new_height = width, height
    if metadata.scale is not None:
        first, second = metadata.scale
        assert first is not None
        new_width, new_height = resized_size((width, height), (first, second), metadata.keep_ratio)
    if metadata.size is not None:
        factor = min(metadata.size[0] / new_height, metadata.size[1] / new_width)
        if factor < 1:
            new_height = min(metadata.size[0], max(1, round(new_height * factor)))
            new_width = min(metadata.size[1], max(1, round(new_width * factor)))
    return new_height, new_width


def resize(img: np.ndarray, metadata: ExportMetadata) -> np.ndarray:
    """Resize uint8 [height, width, 3] to [h, w, 3] by Pillow, as the pipeline does.

    Raises:
        UnreadableImageError: It would have more than 100 million pixels.
    """
    height, width = network_size(img.shape[:2], metadata)
    if (height, width) == img.shape[:2]:
        return img
    if height * width > MOST_PIXELS:
        raise UnreadableImageError(
            f'cannot use an image of {img.shape[1]}x{img.shape[0]} pixels: it would become '
            f'{width}x{height}'
        )
    resized = Image.fromarray(img).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def make_inputs(
    images: Sequence[np.ndarray],
    original_sizes: Sequence[tuple[int, int]],
    metadata: ExportMetadata,
) -> dict[str, np.ndarray]:
    """Make what the network takes of resized images.

    Args:
        images: uint8 [h, w, 3] in BGR order.
        original_sizes: (height, width) before resizing.
        metadata: Of the file.

    Returns:
        With postprocessing ``images`` uint8 [B, H, W, 3] RGB, ``original_sizes`` and ``sizes``
        int64 [B, 2]; else ``inputs`` float32 [B, 3, H, W] and ``padding_mask`` bool [B, H, W],
        True on padding. Without ``sizes`` and ``padding_mask`` where the file takes none.
    """
    sizes = [image.shape[:2] for image in images]
    height, width = canvas_size(sizes, metadata)
    if metadata.postprocess:
        canvas = np.zeros((len(images), height, width, 3), np.uint8)
        for place, image in zip(canvas, images, strict=True):
            place[: image.shape[0], : image.shape[1]] = image[..., ::-1]
        arrays: dict[str, np.ndarray] = dict(
            images=canvas,
            original_sizes=np.array(original_sizes, np.int64),
            sizes=np.array(sizes, np.int64),
        )
        return {name: arrays[name] for name in metadata.inputs}
    mean, std = (np.array(each, np.float32) for each in (metadata.mean, metadata.std))
    inputs = np.zeros((len(images), 3, height, width), np.float32)
    mask = np.ones((len(images), height, width), bool)
    for i, image in enumerate(images):
        h, w = image.shape[:2]
        channels = image[..., ::-1] if metadata.channel_order == 'RGB' else image
        inputs[i, :, :h, :w] = ((channels - mean) / std).transpose(2, 0, 1)
        mask[i, :h, :w] = False
    arrays = dict[str, np.ndarray](inputs=inputs, padding_mask=mask)
    return {name: arrays[name] for name in metadata.inputs}


def canvas_size(sizes: Sequence[tuple[int, ...]], metadata: ExportMetadata) -> tuple[int, int]:
    """Return (H, W) of a batch of images of (h, w).

    Raises:
        ValueError: It is larger than the network takes.
    """
    if metadata.size is not None:
        return metadata.size[0], metadata.size[1]
    divisor = metadata.pad_size_divisor
    least, most = metadata.sides
    height, width = (
        -(-max(*side, least or 1) // divisor) * divisor for side in zip(*sizes, strict=True)
    )
    if most is not None and max(height, width) > most:
        raise ValueError(
            f'an image becomes {height} x {width} pixels (height x width), but the network takes '
            f'sides of {most} at most'
        )
    return height, width
