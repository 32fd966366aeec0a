"""COCO's run-length codes of masks, with numpy alone."""

from typing import Any

import numpy as np

_BITS = 5
_MOST = 7  # characters of a number of 32 bits


def encode(mask: np.ndarray) -> dict[str, Any]:
    """Encode a mask as ``pycocotools.mask.encode`` does.

    Args:
        mask: [W, H], columns first as COCO counts pixels; nonzero in the mask.

    Returns:
        ``size`` [H, W] and ``counts`` in bytes.

    Example:
        >>> encode(np.array([[0, 1], [1, 1], [0, 0]]))
        {'size': [2, 3], 'counts': b'132'}
    """
    width, height = mask.shape
    flat = mask.reshape(-1) != 0
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    # Runs outside the mask and in it take turns; the first is outside and may be empty.
    starts = [0] if flat.size and flat[0] else []
    runs = np.diff(np.concatenate((starts, [0], edges, [flat.size])).astype(np.int64))
    return dict(size=[height, width], counts=_to_text(runs))


def _to_text(runs: np.ndarray) -> bytes:
    """Each number, less the one before the last from the fourth on, in characters of 5 bits."""
    left = runs.copy()
    left[3:] -= runs[1:-2]
    codes = np.zeros((len(runs), _MOST), np.uint8)
    used = np.zeros((len(runs), _MOST), bool)
    open_ = np.ones(len(runs), bool)
    for place in range(_MOST):
        code = left & (2**_BITS - 1)
        left >>= _BITS
        negative = code & 2 ** (_BITS - 1) != 0  # the highest bit of the last character is the sign
        more = np.where(negative, left != -1, left != 0)
        codes[:, place] = code + (more << _BITS) + 48
        used[:, place] = open_
        open_ &= more
    return codes[used].tobytes()
