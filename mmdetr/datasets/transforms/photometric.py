"""Other light and colours, as torchvision draws them, in a tenth of its time."""

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from torchvision.transforms import v2

from mmdetr.registry import TRANSFORMS

from .memory_layout import contiguous


@TRANSFORMS.register_module()
class RandomPhotometricDistort(BaseTransform):
    """torchvision's ``RandomPhotometricDistort``: brightness, contrast, saturation, hue, channels.

    What is drawn is torchvision's, and so are the images, but for a grey level or two in some
    pixels.

    Required and modified key: ``img`` uint8 [h, w, 3] BGR.

    Args:
        prob: Probability of each distortion.
    """

    def __init__(self, prob: float = 0.5) -> None:
        self.draws = v2.RandomPhotometricDistort(p=prob)

    def transform(self, results: dict) -> dict:
        drawn = self.draws.make_params([torch.empty(3, 1, 1)])
        image = contiguous(results['img'])
        contrast = drawn['contrast_factor']
        if drawn['brightness_factor'] is not None:
            image = scale_grey_levels(image, drawn['brightness_factor'], 0.0)
        if contrast is not None and drawn['contrast_before']:
            image = adjust_contrast(image, contrast)
        if drawn['saturation_factor'] is not None:
            image = adjust_saturation(image, drawn['saturation_factor'])
        if drawn['hue_factor'] is not None:
            image = adjust_hue(image, drawn['hue_factor'])
        if contrast is not None and not drawn['contrast_before']:
            image = adjust_contrast(image, contrast)
        if drawn['channel_permutation'] is not None:
            # Of RGB, which lies in reverse here.
            order = 2 - drawn['channel_permutation'].flip(0).numpy()
            image = cv2.merge([cv2.split(image)[channel] for channel in order])
        results['img'] = image
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.draws.p})'


def scale_grey_levels(image: np.ndarray, factor: float, shift: float) -> np.ndarray:
    """uint8 -> ``factor * level + shift``, truncated and limited to 0..255."""
    levels = np.arange(256, dtype=np.float32) * np.float32(factor) + np.float32(shift)
    return cv2.LUT(image, levels.clip(0, 255).astype(np.uint8))


def adjust_contrast(bgr: np.ndarray, factor: float) -> np.ndarray:
    """Move all pixels of uint8 [h, w, 3] away from the mean grey level, or towards it."""
    mean = cv2.mean(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY))[0] - 0.5  # torchvision truncates greys
    return scale_grey_levels(bgr, factor, (1 - factor) * mean)


def adjust_saturation(bgr: np.ndarray, factor: float) -> np.ndarray:
    """Move the channels of each pixel of uint8 [h, w, 3] away from its grey, or towards it."""
    grey = cv2.cvtColor(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    # Truncated in torchvision where OpenCV rounds.
    return cv2.addWeighted(bgr, factor, grey, 1 - factor, -0.5)


def adjust_hue(bgr: np.ndarray, factor: float) -> np.ndarray:
    """Turn the hue of uint8 [h, w, 3] by ``factor`` of the circle, -0.5..0.5."""
    hsv = cv2.cvtColor(np.multiply(bgr, np.float32(1 / 255)), cv2.COLOR_BGR2HSV)
    hue = hsv[..., 0]
    hue += np.float32(360 * factor)
    np.subtract(hue, 360, out=hue, where=hue >= 360)
    np.add(hue, 360, out=hue, where=hue < 0)
    turned = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    turned *= np.float32(255.999)  # torchvision's way from 0..1 to 0..255
    return turned.astype(np.uint8)
