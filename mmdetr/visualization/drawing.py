"""Draw labelled boxes with Pillow: matplotlib takes ten times as long, 0.2 s for 20 boxes."""

import colorsys
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmdetr.structures.bboxes import Bbox, common_area

from .fonts import DEFAULT_FONT, font_for

MIN_SHORT_SIDE = 400
MAX_ENLARGED_SIDE = 1200

Colour = tuple[int, int, int]


def class_colour(label: int) -> Colour:
    """Return a colour for class ``label``; neighbours in number are far apart in hue."""
    hue = label * 0.381966 + 0.6  # the golden section leaves the largest gaps
    saturation = (0.85, 0.6, 1.0)[label // 8 % 3]
    value = (1.0, 0.8, 0.65)[label // 24 % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_boxes(
    image: np.ndarray,
    bboxes_xyxy: np.ndarray,
    captions: Sequence[str],
    colours: Sequence[Colour],
    title: str = '',
    font_file: str | None = None,
    outlined: Sequence[bool] | None = None,
) -> np.ndarray:
    """Draw boxes with a caption each.

    Args:
        image: uint8 [h, w, 3] RGB; not changed.
        bboxes_xyxy: [N, 4] in pixels of the image; earlier boxes keep the better place for their
            caption and lie above later ones. What is outside the image is cut off.
        captions: N texts.
        colours: N colours.
        title: Text of a strip above the image; none by default.
        font_file: Font of captions that it has all characters of; else one is looked for.
        outlined: Whether each box is drawn and not only its caption; all by default.

    Returns:
        uint8 RGB; larger than the image by a whole factor when that is small.
    """
    factor = enlargement(*image.shape[:2])
    canvas = Image.fromarray(enlarged(image))
    short_side = min(canvas.size)
    line_width = max(2, round(short_side / 160))

    draw = ImageDraw.Draw(canvas)
    rectangles = _visible_rectangles(bboxes_xyxy * factor, canvas.size)
    boxes = zip(rectangles, colours, outlined or [True] * len(rectangles), strict=True)
    for rectangle, colour, is_drawn in reversed(list(boxes)):
        if is_drawn:
            _draw_outline(draw, rectangle, colour, line_width)
    taken: list[Bbox] = []
    for rectangle, caption, colour in zip(rectangles, captions, colours, strict=True):
        font = _font(font_size(short_side), font_for(caption, font_file) or DEFAULT_FONT)
        _draw_caption(draw, rectangle, caption, colour, font, taken)
    return with_title(np.asarray(canvas), title)


def draw_names(
    image: np.ndarray,
    points: Sequence[tuple[float, float]],
    captions: Sequence[str],
    colours: Sequence[Colour],
    font_file: str | None = None,
) -> np.ndarray:
    """Write captions centred at points [N] of x, y; one that would hide another is left out."""
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    taken: list[Bbox] = []
    for (x, y), caption, colour in zip(points, captions, colours, strict=True):
        font = _font(font_size(min(canvas.size)), font_for(caption, font_file) or DEFAULT_FONT)
        width, height = _caption_size(caption, font)
        left = min(max(x - width / 2, 0), max(canvas.width - width, 0))
        top = min(max(y - height / 2, 0), max(canvas.height - height, 0))
        spot = (left, top, left + width, top + height)
        if not any(common_area(spot, other) for other in taken):
            taken.append(spot)
            _write(draw, spot, caption, colour, font)
    return np.asarray(canvas)


def side_by_side(*pictures: np.ndarray) -> np.ndarray:
    """Join pictures of equal height with a white gap between them."""
    joined = list(pictures[:1])
    for picture in pictures[1:]:
        gap = max(4, pictures[0].shape[1] // 100)
        joined += [np.full((picture.shape[0], gap, 3), 255, dtype=np.uint8), picture]
    return np.concatenate(joined, axis=1)


def stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Put pictures below each other, white beside the narrower ones."""
    widest = max(row.shape[1] for row in rows)
    return np.concatenate(
        [
            np.pad(row, ((0, 0), (0, widest - row.shape[1]), (0, 0)), constant_values=255)
            for row in rows
        ]
    )


def with_title(picture: np.ndarray, title: str) -> np.ndarray:
    """Put a strip with a text above a picture; an empty text leaves the picture as it is."""
    if not title:
        return picture
    canvas = Image.fromarray(picture)
    font = _font(font_size(min(canvas.size)))
    strip = round(1.6 * font.size)
    titled = Image.new('RGB', (canvas.width, canvas.height + strip), 'white')
    titled.paste(canvas, (0, strip))
    ImageDraw.Draw(titled).text((4, strip // 2), title, font=font, fill='black', anchor='lm')
    return np.asarray(titled)


def font_size(short_side: int) -> int:
    """Size of captions on a picture, in pixels."""
    return int(np.clip(0.032 * short_side, 13, 24))


def enlarged(image: np.ndarray) -> np.ndarray:
    """A copy of an image, larger by a whole factor if it is small."""
    factor = enlargement(*image.shape[:2])
    canvas = Image.fromarray(image)
    if factor > 1:
        size = (canvas.width * factor, canvas.height * factor)
        canvas = canvas.resize(size, Image.Resampling.BICUBIC)
    return np.array(canvas)


def enlargement(height: int, width: int) -> int:
    """Return the factor by which an image is drawn larger, until labels fit beside objects."""
    wanted = -(-MIN_SHORT_SIDE // min(height, width))
    return max(1, min(wanted, MAX_ENLARGED_SIDE // max(height, width)))


@lru_cache
def _font(size: int, file: str = DEFAULT_FONT) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size)


def _visible_rectangles(bboxes_xyxy: np.ndarray, size: tuple[int, int]) -> list[Bbox]:
    limits = np.array([*size, *size]) - 1
    clipped = np.clip(bboxes_xyxy.reshape(-1, 4), 0, limits)
    # Pillow refuses rectangles turned inside out.
    clipped[:, 2:] = np.maximum(clipped[:, 2:], clipped[:, :2])
    return [tuple(rectangle) for rectangle in clipped.tolist()]


def _draw_outline(
    draw: ImageDraw.ImageDraw, rectangle: Bbox, colour: Colour, line_width: int
) -> None:
    x1, y1, x2, y2 = rectangle
    # A dark rim keeps the line visible on ground of its own colour.
    draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=(0, 0, 0), width=line_width + 2)
    draw.rectangle(rectangle, outline=colour, width=line_width)


def _draw_caption(
    draw: ImageDraw.ImageDraw,
    rectangle: Bbox,
    caption: str,
    colour: Colour,
    font: ImageFont.FreeTypeFont,
    taken: list[Bbox],
) -> None:
    """Write a caption where it hides least of those in ``taken``, and add it to them."""
    spots = _caption_spots(rectangle, _caption_size(caption, font), draw.im.size)
    spot = min(spots, key=lambda each: sum(common_area(each, other) for other in taken))
    taken.append(spot)
    _write(draw, spot, caption, colour, font)


def _caption_size(caption: str, font: ImageFont.FreeTypeFont) -> tuple[float, float]:
    ascent, descent = font.getmetrics()
    return font.getlength(caption) + 6, ascent + descent + 2


def _write(
    draw: ImageDraw.ImageDraw,
    spot: Bbox,
    caption: str,
    colour: Colour,
    font: ImageFont.FreeTypeFont,
) -> None:
    draw.rectangle(spot, fill=colour)
    red, green, blue = colour
    is_light = 0.299 * red + 0.587 * green + 0.114 * blue > 140
    draw.text((spot[0] + 3, spot[1] + 1), caption, font=font, fill='black' if is_light else 'white')


def _caption_spots(
    rectangle: Bbox, size: tuple[float, float], image_size: tuple[int, int]
) -> list[Bbox]:
    """List places for a caption, the best first: above the box, below it, at its inner edges."""
    x1, y1, x2, y2 = rectangle
    width, height = size
    corners = [
        (x1, y1 - height),
        (x1, y2),
        (x2 - width, y1 - height),
        (x1, y1),
        (x1, y2 - height),
        (x2 - width, y1),
    ]
    rightmost, lowest = max(image_size[0] - width, 0), max(image_size[1] - height, 0)
    inside = [(left, top) for left, top in corners if 0 <= top <= lowest]
    spots = []
    for left, top in inside or [(x1, min(y1, lowest))]:
        left = min(max(left, 0), rightmost)
        spots.append((left, top, left + width, top + height))
    return spots
