"""Draw masks and panoptic segments: filled in part, with outlines that show who ends where.

Legend: N masks or segments, h w size of the masks, H W size of the canvas.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from .drawing import Colour, class_colour

FILL = 0.45  # share of the colour in a mask
PANOPTIC_FILL = 0.6
# White (above zero) or black mixed into the colours of one class's objects, in turn.
_SHADES = (0.0, 0.4, -0.35, 0.65, -0.55)


def object_colours(labels: Sequence[int]) -> list[Colour]:
    """Return a colour for each object: its class's, in another shade than its siblings'.

    Example:
        >>> object_colours([0, 0, 1])[0] == class_colour(0)
        True
    """
    seen: dict[int, int] = {}
    colours = []
    for label in labels:
        number = seen[label] = seen.get(label, -1) + 1
        shade = _SHADES[number % len(_SHADES)]
        towards = 255 if shade > 0 else 0
        mixed = [round(c + abs(shade) * (towards - c)) for c in class_colour(label)]
        colours.append((mixed[0], mixed[1], mixed[2]))
    return colours


def draw_masks(canvas: np.ndarray, masks: Sequence[np.ndarray], colours: Sequence[Colour]) -> None:
    """Blend masks into a canvas in place, the first on top; outlines lie above all fillings.

    Args:
        canvas: uint8 [H, W, 3] RGB.
        masks: N bool [h, w] of the whole canvas, of whatever size.
        colours: N colours.
    """
    size = canvas.shape[1::-1]
    fitted = [_fit(mask, size) for mask in masks]
    for mask, colour in reversed(list(zip(fitted, colours, strict=True))):
        _fill(canvas, mask > 0, colour, FILL)
    outlines = [_outline(mask) for mask in fitted]
    thickness = line_width(size)
    # A dark rim keeps the line visible on ground of its own colour.
    for outline in outlines:
        cv2.polylines(canvas, outline, True, (0, 0, 0), thickness + 2, cv2.LINE_AA)
    for outline, colour in reversed(list(zip(outlines, colours, strict=True))):
        cv2.polylines(canvas, outline, True, colour, thickness, cv2.LINE_AA)


def draw_segments(
    canvas: np.ndarray, ids: np.ndarray, segment_ids: Sequence[int], colours: Sequence[Colour]
) -> list[tuple[float, float]]:
    """Blend a panoptic map into a canvas in place; what has no segment stays as it is.

    Args:
        canvas: uint8 [H, W, 3] RGB.
        ids: [h, w] of the whole canvas, of whatever size.
        segment_ids: N ids, each of which has a pixel.
        colours: N colours.

    Returns:
        x, y of the innermost point of each segment on the canvas, where its name belongs.
    """
    size = canvas.shape[1::-1]
    fitted = [_fit(ids == segment_id, size) for segment_id in segment_ids]
    for mask, colour in zip(fitted, colours, strict=True):
        _fill(canvas, mask > 0, colour, PANOPTIC_FILL)
    thickness = line_width(size) - 1
    for mask in fitted:
        cv2.polylines(canvas, _outline(mask), True, (255, 255, 255), thickness, cv2.LINE_AA)
    return [_innermost(mask) for mask in fitted]


def line_width(size: tuple[int, int]) -> int:
    """Return the width of outlines on a picture of (W, H)."""
    return max(2, round(min(size) / 300))


def _fit(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)


def _fill(canvas: np.ndarray, where: np.ndarray, colour: Colour, share: float) -> None:
    canvas[where] = (1 - share) * canvas[where] + share * np.array(colour)


def _outline(mask: np.ndarray) -> Sequence[np.ndarray]:
    return cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0]


def _innermost(mask: np.ndarray) -> tuple[float, float]:
    # The border of the picture is one of the segment as well.
    distance = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, 3)
    y, x = np.unravel_index(distance.argmax(), distance.shape)
    return float(x) - 1, float(y) - 1
