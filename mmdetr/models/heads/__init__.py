from .detr_head import DETRHead
from .dfine_head import DFINEHead
from .postprocess import postprocess
from .rtdetr_head import RTDETRHead

__all__ = ['DETRHead', 'DFINEHead', 'RTDETRHead', 'postprocess']
