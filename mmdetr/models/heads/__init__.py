from .detr_head import DETRHead
from .postprocess import postprocess

__all__ = ['DETRHead', 'postprocess']
