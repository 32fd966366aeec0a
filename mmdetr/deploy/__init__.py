"""Exported models: written from torch, run without it.

Names are imported on demand, and need numpy and Pillow alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .detections import ImageDetections
    from .metadata import ExportMetadata
    from .runtime import RuntimeDetector

_MODULES = {
    'ExportMetadata': '.metadata',
    'ImageDetections': '.detections',
    'RuntimeDetector': '.runtime',
}
__all__ = ['ExportMetadata', 'ImageDetections', 'RuntimeDetector']


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(_MODULES[name], __name__), name)
