from .anchor_head import AnchorHead
from .conditional_head import ConditionalHead
from .detr_head import DETRHead
from .postprocess import postprocess

__all__ = ['AnchorHead', 'ConditionalHead', 'DETRHead', 'postprocess']
