"""Small rotations, shifts and changes of size."""

from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional

from mmdetr.registry import TRANSFORMS
from mmdetr.utils.arguments import check_at_least

from .object_fields import keep_objects


@TRANSFORMS.register_module()
class RandomAffine(BaseTransform):
    """torchvision's ``RandomAffine`` for image, boxes and masks; the image keeps its size.

    A box becomes the box around its turned corners, clipped to the image. It is larger than the
    object where that does not fill its corners: by up to a fifth of a side at 10 degrees, so angles
    are to be small. Objects of which too little is left in the image are dropped with all their
    fields.

    Required keys: ``img`` uint8 BGR; the fields of the objects are optional.
    Modified keys: all of these.

    Args:
        prob: Probability of doing so.
        degrees: Largest angle in either direction.
        translate: Largest shift, in widths and heights of the image.
        scale: Least and largest factor of the size.
        shear: Largest shear in degrees, along x.
        fill: Grey level outside of the image, 0..255.
        min_visible: Least share of an object's box that has to be left.
    """

    def __init__(
        self,
        prob: float = 0.5,
        degrees: float = 5.0,
        translate: Sequence[float] = (0.05, 0.05),
        scale: Sequence[float] = (0.8, 1.2),
        shear: float = 0.0,
        fill: int = 0,
        min_visible: float = 0.3,
    ) -> None:
        check_at_least(0, 'RandomAffine', prob=prob, degrees=degrees, min_visible=min_visible)
        self.prob = prob
        self.fill = fill
        self.min_visible = min_visible
        self.operation = v2.RandomAffine(
            degrees, tuple(translate), tuple(scale), shear=shear or None
        )

    def transform(self, results: dict) -> dict:
        if torch.rand(()) >= self.prob:
            return results
        rgb = np.ascontiguousarray(results['img'][..., ::-1])
        image = tv_tensors.Image(torch.from_numpy(rgb).permute(2, 0, 1))
        drawn = self.operation.make_params([image])
        turned = functional.affine(
            image, **drawn, interpolation=InterpolationMode.BILINEAR, fill=self.fill
        )
        results['img'] = np.ascontiguousarray(turned.permute(1, 2, 0).numpy()[..., ::-1])
        if results.get('gt_masks') is not None:
            masks = tv_tensors.Mask(torch.from_numpy(np.ascontiguousarray(results['gt_masks'])))
            results['gt_masks'] = functional.affine(masks, **drawn, fill=0).numpy()
        if results.get('gt_bboxes') is not None and len(results['gt_bboxes']):
            self._move_bboxes(results, drawn)
        return results

    def _move_bboxes(self, results: dict, drawn: dict) -> None:
        height, width = results['img'].shape[:2]
        whole = _enclosing_bboxes(results['gt_bboxes'], (height, width), drawn)
        limits = np.array([width, height, width, height], dtype=np.float32)
        bboxes = whole.clip(0, limits)
        results['gt_bboxes'] = bboxes
        sides, all_sides = (each[:, 2:] - each[:, :2] for each in (bboxes, whole))
        visible = sides.prod(axis=1) >= self.min_visible * all_sides.prod(axis=1)
        keep_objects(results, visible & (sides >= 1).all(axis=1))

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.operation}, prob={self.prob})'


def _enclosing_bboxes(bboxes: np.ndarray, shape: tuple[int, int], drawn: dict) -> np.ndarray:
    """Turn xyxy boxes [M, 4] by torchvision, without its clipping: on a canvas with a margin."""
    height, width = shape
    # Farther than anything can be moved.
    margin = 4.0 * max(height, width)
    moved = tv_tensors.BoundingBoxes(
        torch.from_numpy(bboxes + np.float32(margin)).double(),
        format='XYXY',
        canvas_size=(height + int(2 * margin), width + int(2 * margin)),
    )
    centre = [width / 2 + margin, height / 2 + margin]
    turned: Tensor = functional.affine(moved, **drawn, center=centre)
    return (turned.numpy() - margin).astype(np.float32)
