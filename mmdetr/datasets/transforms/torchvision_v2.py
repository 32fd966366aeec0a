"""torchvision's augmentation of detection data, in a pipeline of mmcv."""

from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from torchvision import tv_tensors
from torchvision.transforms import v2

from mmdetr.registry import TRANSFORMS

from .object_fields import keep_objects


class TorchvisionTransform(BaseTransform):
    """Let a transform of ``torchvision.transforms.v2`` work on image, boxes and masks.

    Objects of which less than ``min_size`` pixels of width or height are left are dropped with all
    their fields, as torchvision's ``SanitizeBoundingBoxes`` does.

    Required keys: ``img`` uint8 BGR; the fields of the objects are optional.
    Modified keys: all of these and ``img_shape``.

    Args:
        operation: The transform.
        min_size: Least width and height of a box in pixels.
    """

    def __init__(self, operation: v2.Transform, min_size: float = 1.0) -> None:
        self.operation = operation
        self.min_size = min_size

    def transform(self, results: dict) -> dict:
        rgb = np.ascontiguousarray(results['img'][..., ::-1])
        sample = dict(img=tv_tensors.Image(torch.from_numpy(rgb).permute(2, 0, 1)))
        shape = results['img'].shape[:2]
        has_bboxes = results.get('gt_bboxes') is not None
        bboxes = results['gt_bboxes'] if has_bboxes else np.zeros((0, 4), np.float32)
        sample['gt_bboxes'] = tv_tensors.BoundingBoxes(
            torch.from_numpy(bboxes), format='XYXY', canvas_size=shape
        )
        if results.get('gt_masks') is not None:
            masks = np.ascontiguousarray(results['gt_masks'])
            sample['gt_masks'] = tv_tensors.Mask(torch.from_numpy(masks))
        sample = self.operation(sample)
        image = sample['img'].permute(1, 2, 0).numpy()
        results['img'] = np.ascontiguousarray(image[..., ::-1])
        results['img_shape'] = results['img'].shape[:2]
        if 'gt_masks' in sample:
            results['gt_masks'] = sample['gt_masks'].numpy()
        if has_bboxes:
            results['gt_bboxes'] = sample['gt_bboxes'].numpy().astype(np.float32)
            sides = results['gt_bboxes'][:, 2:] - results['gt_bboxes'][:, :2]
            keep_objects(results, (sides >= self.min_size).all(axis=1))
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.operation}, min_size={self.min_size})'


@TRANSFORMS.register_module()
class RandomPhotometricDistort(TorchvisionTransform):
    """torchvision's ``RandomPhotometricDistort``: brightness, contrast, saturation, hue.

    Args:
        prob: Probability of each distortion.
    """

    def __init__(self, prob: float = 0.5) -> None:
        super().__init__(v2.RandomPhotometricDistort(p=prob), min_size=0.0)


@TRANSFORMS.register_module()
class RandomZoomOut(TorchvisionTransform):
    """torchvision's ``RandomZoomOut``: put the image on a larger canvas.

    Args:
        prob: Probability of doing so.
        side_range: Least and largest side of the canvas, in sides of the image.
        fill: Grey level of the canvas, 0..255.
    """

    def __init__(
        self, prob: float = 0.5, side_range: Sequence[float] = (1.0, 4.0), fill: int = 0
    ) -> None:
        fills = {tv_tensors.Image: fill, 'others': 0}  # around a mask is nothing of it
        super().__init__(v2.RandomZoomOut(fill=fills, side_range=side_range, p=prob))


@TRANSFORMS.register_module()
class RandomIoUCrop(TorchvisionTransform):
    """torchvision's ``RandomIoUCrop``: a crop that some object lies in to a drawn part.

    Objects whose centre is outside of the crop are dropped.

    Args:
        min_scale: Least side of the crop, in sides of the image.
        max_scale: Largest side.
        min_aspect_ratio: Least width of the crop, in heights.
        max_aspect_ratio: Largest width.
    """

    def __init__(
        self,
        min_scale: float = 0.3,
        max_scale: float = 1.0,
        min_aspect_ratio: float = 0.5,
        max_aspect_ratio: float = 2.0,
    ) -> None:
        super().__init__(v2.RandomIoUCrop(min_scale, max_scale, min_aspect_ratio, max_aspect_ratio))
