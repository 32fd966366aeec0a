"""Data sets in the formats of other tools, read into COCO JSON."""

from .convert import Conversion, convert
from .recognise import FORMATS, read_folder
from .records import Box, Collection, FormatError, Picture, Problems

__all__ = [
    'FORMATS',
    'Box',
    'Collection',
    'Conversion',
    'FormatError',
    'Picture',
    'Problems',
    'convert',
    'read_folder',
]
