"""Mirror images of image, boxes and masks."""

import numpy as np
from mmcv.transforms import RandomFlip as MMCVRandomFlip

from mmdetr.registry import TRANSFORMS

_AXES = {'horizontal': (-1,), 'vertical': (-2,), 'diagonal': (-2, -1)}


@TRANSFORMS.register_module()
class RandomFlip(MMCVRandomFlip):
    """mmcv's ``RandomFlip``, which flips ``gt_masks`` as well."""

    def _flip(self, results: dict) -> None:
        super()._flip(results)
        if results.get('gt_masks') is not None:
            axes = _AXES[results['flip_direction']]
            results['gt_masks'] = np.flip(results['gt_masks'], axes)
