"""Copies of images into another order of bytes, many times faster than numpy's."""

import cv2
import numpy as np


def contiguous(img: np.ndarray) -> np.ndarray:
    """The image [h, w, c], copied if it is a view such as a crop or a mirror image."""
    if img.strides[1] < 0:
        # numpy copies mirrored rows byte by byte.
        return cv2.flip(img[:, ::-1], 1).reshape(img.shape)  # a single channel loses its axis
    return np.ascontiguousarray(img)


def channels_first(img: np.ndarray) -> np.ndarray:
    """A copy of the image [h, w, c] as [c, h, w]."""
    height, width, channels = img.shape
    planes = np.empty((channels, height, width), img.dtype)
    cv2.split(contiguous(img), list(planes))
    return planes
