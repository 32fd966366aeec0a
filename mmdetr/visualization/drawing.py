"""Draw labelled boxes with Pillow: matplotlib takes ten times as long, 0.2 s for 20 boxes."""

import colorsys
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmdetr.structures.bboxes import Bbox, common_area

from .fonts import DEFAULT_FONT, font_for

# Small images are enlarged until labels fit beside the objects.
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

    Returns:
        uint8 RGB; larger than the image by a whole factor when that is small.
    """
    height, width = image.shape[:2]
    factor = _enlargement(height, width)
    canvas = Image.fromarray(image)
    if factor > 1:
        canvas = canvas.resize((width * factor, height * factor), Image.Resampling.BICUBIC)
    short_side = min(canvas.size)
    line_width = max(2, round(short_side / 160))
    font_size = int(np.clip(0.032 * short_side, 13, 24))

    draw = ImageDraw.Draw(canvas)
    rectangles = _visible_rectangles(bboxes_xyxy * factor, canvas.size)
    for rectangle, colour in reversed(list(zip(rectangles, colours, strict=True))):
        _draw_outline(draw, rectangle, colour, line_width)
    taken: list[Bbox] = []
    for rectangle, caption, colour in zip(rectangles, captions, colours, strict=True):
        font = _font(font_size, font_for(caption, font_file) or DEFAULT_FONT)
        _draw_caption(draw, rectangle, caption, colour, font, taken)
    return np.asarray(_with_title(canvas, title, _font(font_size)) if title else canvas)


def side_by_side(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Join two pictures of equal height with a white gap between them."""
    gap = np.full((left.shape[0], max(4, left.shape[1] // 100), 3), 255, dtype=np.uint8)
    return np.concatenate((left, gap, right), axis=1)


def _enlargement(height: int, width: int) -> int:
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
    ascent, descent = font.getmetrics()
    size = (font.getlength(caption) + 6, ascent + descent + 2)
    spots = _caption_spots(rectangle, size, draw.im.size)
    spot = min(spots, key=lambda each: sum(common_area(each, other) for other in taken))
    taken.append(spot)
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


def _with_title(canvas: Image.Image, title: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    strip = round(1.6 * font.size)
    titled = Image.new('RGB', (canvas.width, canvas.height + strip), 'white')
    titled.paste(canvas, (0, strip))
    ImageDraw.Draw(titled).text((4, strip // 2), title, font=font, fill='black', anchor='lm')
    return titled
