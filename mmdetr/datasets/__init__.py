from . import transforms  # noqa: F401  registers the pipeline steps that datasets build
from .coco import CocoDataset
from .coco_panoptic import CocoPanopticDataset
from .panoptic_shapes import PanopticShapesDataset
from .samplers import SameSizeBatchSampler
from .shapes import ShapesDataset

__all__ = [
    'CocoDataset',
    'CocoPanopticDataset',
    'PanopticShapesDataset',
    'SameSizeBatchSampler',
    'ShapesDataset',
]
