"""DETR (End-to-End Object Detection with Transformers) as an MMDetection-style codebase.

Importing the package is cheap: components are imported when a registry first builds one.
"""

from .version import __version__

__all__ = ['__version__']
