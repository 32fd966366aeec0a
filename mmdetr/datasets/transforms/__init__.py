import mmcv.transforms  # noqa: F401  RandomFlip, RandomChoice, RandomChoiceResize are mmcv's own

from .crop import RandomCrop
from .formatting import PackDetInputs
from .loading import LoadAnnotations, LoadImageFromFile, UnreadableImageError
from .resize import Resize

__all__ = [
    'LoadAnnotations',
    'LoadImageFromFile',
    'PackDetInputs',
    'RandomCrop',
    'Resize',
    'UnreadableImageError',
]
