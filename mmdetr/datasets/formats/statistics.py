"""What a converted data set is, and what was wrong with it, in lines for a terminal or a file."""

from collections import Counter
from collections.abc import Iterator
from statistics import median

from mmdetr.utils.text import shorten

from .records import Collection, Picture, Problems
from .split import PARTS

# COCO's limits of small and medium, in pixels of area.
SMALL, MEDIUM = 32**2, 96**2
SIZES_SHOWN = 3


def describe(collection: Collection) -> Iterator[str]:
    """Yield a table of images and boxes by part and class, then sizes."""
    parts = [part for part in PARTS if any(each.split == part for each in collection.pictures)]
    counts = {part: Counter[str]() for part in parts}
    for each in collection.pictures:
        count = counts[each.split or '']
        count['images'] += 1
        count['images without object'] += not each.boxes
        for box in each.boxes:
            count[f'class {box.name}'] += 1
    rows = ['images', 'images without object', *(f'class {name}' for name in collection.classes)]
    width = max(len(row.removeprefix('class ')) for row in rows)
    yield f'{"":{width}}' + ''.join(f'{part:>9}' for part in parts)
    for row in rows:
        numbers = ''.join(f'{counts[part][row]:>9}' for part in parts)
        yield f'{row.removeprefix("class "):{width}}{numbers}'
    yield from _sizes(collection.pictures)
    unused = [
        name for name in collection.classes if not any(c[f'class {name}'] for c in counts.values())
    ]
    if unused:
        yield f'classes without any object: {shorten(unused)}'


def _sizes(pictures: list[Picture]) -> Iterator[str]:
    images = Counter((each.width, each.height) for each in pictures)
    shown = [f'{w}x{h} ({number})' for (w, h), number in images.most_common(SIZES_SHOWN)]
    rest = len(images) - len(shown)
    yield f'image sizes: {", ".join(shown)}' + (f' and {rest} more sizes' if rest else '')
    numbers = [len(each.boxes) for each in pictures]
    yield f'objects an image: median {median(numbers):g}, at most {max(numbers)}'
    boxes = [box.bbox_xyxy for each in pictures for box in each.boxes]
    if not boxes:
        return
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes]
    small = sum(area < SMALL for area in areas)
    large = sum(area >= MEDIUM for area in areas)
    widths, heights = (sorted(b[i + 2] - b[i] for b in boxes) for i in (0, 1))
    yield (
        f'boxes: {small} small, {len(areas) - small - large} medium, {large} large as COCO counts '
        f'them; median {median(widths):.0f}x{median(heights):.0f} pixels, the narrowest '
        f'{widths[0]:.1f}, the lowest {heights[0]:.1f}'
    )


def summarise(problems: Problems, shown: int = 3) -> Iterator[str]:
    """Yield a line for each kind of problem: how many, what and where; ``shown`` places of each."""
    kinds = (
        ('dropped', problems.dropped),
        ('repaired', problems.repaired),
        ('noted', problems.noted),
    )
    for word, reasons in kinds:
        for reason, places in reasons.items():
            if places:
                yield f'{word}: {len(places)} {reason}: {shorten(places, shown, "; ")}'


def first_reasons(problems: Problems) -> str:
    """Say in one line why nothing is left: kinds of problems, those of what was dropped first."""
    kinds = [*problems.dropped.items(), *problems.noted.items()]
    reasons = [f'{len(places)} {reason}, as {places[0]}' for reason, places in kinds if places]
    return '; '.join(reasons[:3]) or 'there was none'


def every_problem(problems: Problems) -> Iterator[str]:
    """Yield a line for each place, for the file beside the result."""
    for word, reasons in vars(problems).items():
        for reason, places in reasons.items():
            yield from (f'{word}: {reason}: {place}' for place in places)
