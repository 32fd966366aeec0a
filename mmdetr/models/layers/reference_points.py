"""Reference points and boxes of the successors: their inverse sigmoid and their encoding."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def inverse_sigmoid(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Return the logit of values in 0..1.

    Args:
        x: Any shape; values outside 0..1 count as 0 or 1.
        eps: Least value and least distance from 1; bounds the result. Deformable and Conditional
            DETR take 1e-5, DAB-DETR, DN-DETR and DINO 1e-3.

    Source: the authors' code of Deformable DETR.
    """
    x = x.clamp(0, 1)
    return (x.clamp(min=eps) / (1 - x).clamp(min=eps)).log()


def move_points(offsets: Tensor, reference_points: Tensor, eps: float = 1e-5) -> Tensor:
    """Turn a branch's output into boxes relative to reference points.

    Args:
        offsets: [..., 4] before the sigmoid.
        reference_points: [..., 2] x, y or [..., 4] cx, cy, w, h, in 0..1; a point moves the centre
            alone.
        eps: Of the inverse sigmoid.

    Returns:
        [..., 4] cxcywh in 0..1.

    Source: Conditional DETR, equation 1; Deformable DETR, appendix A.3; DAB-DETR, section 4.2.
    """
    start = inverse_sigmoid(reference_points, eps)
    if start.shape[-1] == 2:
        start = F.pad(start, (0, 2))
    return (offsets + start).sigmoid()


def sine_embedding(points: Tensor, num_feats: int, temperature: float = 10000.0) -> Tensor:
    """Encode points or boxes by sines and cosines.

    Args:
        points: [..., 2] x, y or [..., 4] cx, cy, w, h, in 0..1.
        num_feats: Features of each coordinate, sine and cosine alternating; even.
        temperature: Longest wavelength, in units of the whole image.

    Returns:
        [..., 2 or 4 times num_feats], in the order y, x, w, h.

    Source: Conditional DETR, section 3.3; DAB-DETR, equation 2. The order is that of
        SinePositionalEncoding, so that queries and keys agree.
    """
    pair = torch.arange(0, num_feats, 2, dtype=torch.float32, device=points.device)
    angles = 2 * math.pi * points[..., None].float() / temperature ** (pair / num_feats)
    waves = torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)
    order = [1, 0, 2, 3][: points.shape[-1]]
    return waves[..., order, :].flatten(-2).to(points.dtype)


def as_boxes(references: Tensor) -> Tensor:
    """Points [..., 2] -> boxes cxcywh [..., 4] of half the image; boxes as they are.

    The inverse sigmoid of a half is zero: what a branch adds to such a box is its size alone.
    """
    return F.pad(references, (0, 4 - references.shape[-1]), value=0.5)
