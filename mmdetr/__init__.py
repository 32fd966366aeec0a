"""DETR (End-to-End Object Detection with Transformers) as an MMDetection-style codebase.

Importing the package is cheap: components are imported when a registry first builds one.
"""

import importlib.util
import pkgutil

from .version import __version__

if not hasattr(pkgutil, 'find_loader'):
    # Python 3.14 took it away; mmengine 0.10 asks it whether mmcv has compiled operators.
    pkgutil.find_loader = importlib.util.find_spec  # type: ignore[assignment]

__all__ = ['__version__']
