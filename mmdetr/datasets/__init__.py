from . import transforms  # noqa: F401  registers the pipeline steps that datasets build
from .coco import CocoDataset
from .samplers import SameSizeBatchSampler
from .shapes import ShapesDataset

__all__ = ['CocoDataset', 'SameSizeBatchSampler', 'ShapesDataset']
