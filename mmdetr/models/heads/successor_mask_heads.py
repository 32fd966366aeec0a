"""Masks for the successors whose decoder attends to one map as DETR's does.

Boxes and classes are the successor's, masks the paper's: one head's methods after the other's.
"""

from typing import Any

from mmdetr.registry import MODELS

from .anchor_head import AnchorHead
from .conditional_head import ConditionalHead
from .detr_mask_head import DETRMaskHead


@MODELS.register_module()
class ConditionalMaskHead(DETRMaskHead, ConditionalHead):
    """Conditional DETR with masks; arguments as in :class:`DETRMaskHead`."""


@MODELS.register_module()
class AnchorMaskHead(DETRMaskHead, AnchorHead):
    """DAB-DETR with masks.

    Args:
        args: As in :class:`DETRMaskHead`.
        denoising: None; noisy copies of objects have no masks.
        kwargs: As in :class:`DETRMaskHead` and :class:`AnchorHead`.

    Raises:
        ValueError: There is denoising.
    """

    def __init__(self, *args: Any, denoising: dict | None = None, **kwargs: Any) -> None:
        if denoising is not None:
            raise ValueError('AnchorMaskHead has no denoising with masks: set denoising=None')
        super().__init__(*args, **kwargs)
