"""Fonts that have the characters of a text: no font has all, and a missing one becomes a square."""

from functools import cache
from pathlib import Path

import matplotlib
from matplotlib.font_manager import findSystemFonts
from matplotlib.ft2font import FT2Font
from PIL import ImageFont

# matplotlib comes with mmengine, and its font has more scripts than Pillow's own.
DEFAULT_FONT = str(Path(matplotlib.get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf'))
# These have every character, as a square or as nothing.
_PLACEHOLDERS = ('lastresort', 'adobeblank')
_SPECIAL_STYLES = ('bold', 'italic', 'oblique', 'black', 'thin', 'light', 'mono', 'serif')


@cache
def font_for(text: str, own: str | None = None) -> str | None:
    """The file of a font that has all characters of a text, or None where none is installed.

    Args:
        text: What is to be drawn.
        own: A font file to prefer where it will do.
    """
    characters = frozenset(map(ord, text.replace(' ', '')))
    for file in filter(None, (own, DEFAULT_FONT)):
        if characters <= _characters(file):
            return file
    return next((file for file in _system_fonts() if characters <= _characters(file)), None)


def check_font(file: str) -> None:
    """Raise a ValueError if a file is no font."""
    if not _characters(file):
        raise ValueError(f'font of DetVisualizer is no font file that can be read: {file}')


@cache
def _system_fonts() -> list[str]:
    """Installed fonts, plain ones first."""
    fonts = [
        file
        for file in findSystemFonts()
        if not any(name in Path(file).stem.lower().replace('-', '') for name in _PLACEHOLDERS)
    ]
    return sorted(fonts, key=lambda file: (_num_special_styles(file), file))


def _num_special_styles(file: str) -> int:
    name = Path(file).stem.lower()
    return sum(style in name for style in _SPECIAL_STYLES)


@cache
def _characters(file: str) -> frozenset[int]:
    """Code points that a font has, none where it cannot be read."""
    try:
        ImageFont.truetype(file, 16)  # refuses fonts that are pictures of one size, as of emoji
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError, ValueError):
        return frozenset()
