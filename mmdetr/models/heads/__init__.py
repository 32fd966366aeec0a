from .detr_head import DETRHead
from .postprocess import postprocess
from .rtdetr_head import RTDETRHead

__all__ = ['DETRHead', 'RTDETRHead', 'postprocess']
