"""The authors' image size rule and filter, on which published weights rely."""

import mmcv
import numpy as np
from mmcv.transforms import Resize as MMCVResize

from mmdetr.registry import TRANSFORMS
from mmdetr.utils.arguments import check_at_least
from mmdetr.utils.image_decoding import UnreadableImageError
from mmdetr.utils.resizing import MOST_PIXELS, resized_size

from .memory_layout import contiguous


@TRANSFORMS.register_module()
class Resize(MMCVResize):
    """Resize image, boxes and masks; images by Pillow's antialiased bilinear filter.

    The authors use that filter, and for masks torch's ``interpolate(mode='nearest')``: a pixel
    takes the value at its upper left corner, so that masks move by up to half a pixel of the
    coarser grid against image and boxes. Published weights learnt such masks.

    Required keys: ``img`` uint8; ``gt_bboxes``, ``gt_masks`` optional.
    Modified keys: ``img``, ``img_shape``, ``gt_bboxes``, ``gt_masks``.
    Added keys: ``scale``, ``scale_factor`` (w, h) exact per axis, ``keep_ratio``.

    Args:
        scale: With ``keep_ratio`` the length of the short side and the limit of the long one, in
            either order, ``(800, 1333)``, or ``(400, None)`` for no limit: 640x480 becomes
            1066x800. Without it the new (w, h), as in mmcv.
        keep_ratio: Whether to keep the aspect ratio.

    Raises:
        UnreadableImageError: The new image would have more than 100 million pixels, as one of
            10x3000 pixels would whose short side is to be 600.
    """

    def __init__(self, scale: tuple[int, int | None], keep_ratio: bool = False) -> None:
        if isinstance(scale, list | tuple):
            for side in scale:
                check_at_least(1, 'Resize', scale=side)
        super().__init__(
            scale=scale, keep_ratio=keep_ratio, backend='pillow', interpolation='bilinear'
        )

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return (w, h) of the image that comes of one of (w, h)."""
        return self._new_size(size, self.scale)

    def _resize_img(self, results: dict) -> None:
        height, width = results['img'].shape[:2]
        new_size = self._new_size((width, height), results['scale'])
        if new_size != (width, height):
            if new_size[0] * new_size[1] > MOST_PIXELS:
                raise UnreadableImageError(
                    f'cannot use image {results.get("img_path", "")}: its {width}x{height} pixels '
                    f'would become {new_size[0]}x{new_size[1]} by scale {results["scale"]}'
                )
            results['img'] = mmcv.imresize(
                contiguous(results['img']),
                new_size,
                interpolation=self.interpolation,
                backend=self.backend,
            )
        results['img_shape'] = new_size[::-1]
        results['scale_factor'] = (new_size[0] / width, new_size[1] / height)
        results['keep_ratio'] = self.keep_ratio

    def _new_size(self, size: tuple[int, int], scale: tuple[int, int | None]) -> tuple[int, int]:
        return resized_size(size, scale, self.keep_ratio)

    def _resize_seg(self, results: dict) -> None:
        super()._resize_seg(results)
        if results.get('gt_masks') is not None:
            masks, new_shape = results['gt_masks'], results['img_shape']
            for axis in (2, 1):
                old, new = masks.shape[axis], new_shape[axis - 1]
                if old != new:
                    masks = masks.take(_nearest_indices(old, new), axis)
            results['gt_masks'] = masks

    def _resize_bboxes(self, results: dict) -> None:
        if results.get('gt_bboxes') is not None:
            factor = np.tile(results['scale_factor'], 2)
            # Boxes lie inside the image, so they need no clipping; mmcv would return float64.
            results['gt_bboxes'] = (results['gt_bboxes'] * factor).astype(np.float32)


def _nearest_indices(old: int, new: int) -> np.ndarray:
    """Return [new] positions in an axis of length ``old``: floor(i old / new) in float32, as torch.

    In whole numbers some would be others, as the middle one of 82 that come of 2.
    """
    scale = np.float32(old) / np.float32(new)
    indices = np.floor(np.arange(new, dtype=np.float32) * scale).astype(np.int64)
    return np.minimum(indices, old - 1)
