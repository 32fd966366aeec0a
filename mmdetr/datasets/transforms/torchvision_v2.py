"""torchvision's augmentation of detection data, in a pipeline of mmcv."""

from collections.abc import Sequence
from typing import Any

import cv2
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
        rgb = cv2.cvtColor(results['img'], cv2.COLOR_BGR2RGB)  # numpy copies byte by byte
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
        rgb = np.ascontiguousarray(sample['img'].permute(1, 2, 0).numpy())
        results['img'] = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
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


class FastIoUCrop(v2.RandomIoUCrop):
    """torchvision's transform, which finds the same crop with less work for each of its trials."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw a crop; an empty dict leaves the image as it is."""
        (bboxes,) = (each for each in flat_inputs if isinstance(each, tv_tensors.BoundingBoxes))
        height, width = bboxes.canvas_size
        xyxy = bboxes.numpy()
        while True:
            least = self.options[int(torch.randint(len(self.options), (1,)))]
            if least >= 1.0:  # torchvision's mark for no crop
                return {}
            for _ in range(self.trials):
                scale = self.min_scale + (self.max_scale - self.min_scale) * torch.rand(2)
                size = scale.numpy() * np.array((width, height), np.float32)
                new_width, new_height = size.astype(int).tolist()
                if not (new_width and new_height):  # of a tiny image
                    continue
                ratio = new_width / new_height
                if not self.min_aspect_ratio <= ratio <= self.max_aspect_ratio:
                    continue
                free = np.array((width - new_width, height - new_height), np.float32)
                left, top = (torch.rand(2).numpy() * free).astype(int).tolist()
                inside, best = _overlap(xyxy, (left, top, left + new_width, top + new_height))
                if best >= np.float32(least):
                    return dict(
                        top=top,
                        left=left,
                        height=new_height,
                        width=new_width,
                        is_within_crop_area=torch.from_numpy(inside),
                    )


def _overlap(
    bboxes_xyxy: np.ndarray, crop_xyxy: tuple[int, int, int, int]
) -> tuple[np.ndarray, float]:
    """Say which boxes [M, 4] have their centre in a crop, and the best IoU of those; -1 without."""
    crop = np.array(crop_xyxy, bboxes_xyxy.dtype)
    centres = 0.5 * (bboxes_xyxy[:, :2] + bboxes_xyxy[:, 2:])
    inside = ((crop[:2] < centres) & (centres < crop[2:])).all(1)
    if not inside.any():
        return inside, -1.0
    kept = bboxes_xyxy[inside]
    sides = np.minimum(kept[:, 2:], crop[2:]) - np.maximum(kept[:, :2], crop[:2])
    common = sides.clip(0).prod(1)
    areas = (kept[:, 2:] - kept[:, :2]).prod(1)
    return inside, (common / (areas + (crop[2:] - crop[:2]).prod() - common)).max()


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
        super().__init__(FastIoUCrop(min_scale, max_scale, min_aspect_ratio, max_aspect_ratio))
