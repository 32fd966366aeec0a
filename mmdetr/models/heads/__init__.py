from .detr_head import DETRHead
from .detr_mask_head import DETRMaskHead
from .mask_head import MaskHead
from .mask_postprocess import PanopticSegmentation
from .postprocess import postprocess

__all__ = ['DETRHead', 'DETRMaskHead', 'MaskHead', 'PanopticSegmentation', 'postprocess']
