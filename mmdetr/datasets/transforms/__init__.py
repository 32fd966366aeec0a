import mmcv.transforms  # noqa: F401  RandomChoice and RandomChoiceResize are mmcv's own

from mmdetr.utils.image_decoding import UnreadableImageError, decode_image

from .crop import RandomCrop
from .flip import RandomFlip
from .formatting import PackDetInputs
from .loading import LoadAnnotations, LoadImageFromFile
from .object_fields import add_object_field, keep_objects, object_fields
from .panoptic_loading import LoadPanopticAnnotations, load_segment_ids
from .photometric import RandomPhotometricDistort
from .resize import Resize
from .torchvision_v2 import RandomIoUCrop, RandomZoomOut

__all__ = [
    'LoadAnnotations',
    'LoadImageFromFile',
    'LoadPanopticAnnotations',
    'PackDetInputs',
    'RandomCrop',
    'RandomFlip',
    'RandomIoUCrop',
    'RandomPhotometricDistort',
    'RandomZoomOut',
    'Resize',
    'UnreadableImageError',
    'add_object_field',
    'decode_image',
    'keep_objects',
    'load_segment_ids',
    'object_fields',
]
