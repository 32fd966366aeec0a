"""A feature map as a sequence of pixels."""

from torch import Tensor


def pixels_of(features: Tensor) -> Tensor:
    """[B, C, h, w] -> [B, h * w, C], in reading order."""
    # Not flatten(2).transpose(1, 2): for one image, the gradient of that has strides from which
    # torch 2.14 takes the wrong layout, and batch norm on a CPU then has a wrong gradient.
    return features.permute(0, 2, 3, 1).flatten(1, 2)
