from . import transforms  # noqa: F401  registers the pipeline steps that datasets build
from .coco import CocoDataset
from .shapes import ShapesDataset

__all__ = ['CocoDataset', 'ShapesDataset']
