"""Exported models: written from torch, run without it.

Importing this package needs numpy and Pillow alone.
"""

from .detections import ImageDetections
from .metadata import ExportMetadata
from .runtime import RuntimeDetector

__all__ = ['ExportMetadata', 'ImageDetections', 'RuntimeDetector']
