"""The common base of the detection datasets."""

from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.registry import DefaultScope


class DetDataset(BaseDataset):
    """mmengine's ``BaseDataset`` for boxes.

    Entries of the data list: ``img_id``, ``width``, ``height`` and ``instances``, a list of
    ``dict(bbox=[x1, y1, x2, y2], bbox_label=0..K-1, ignore_flag=0|1)`` in pixels of the original
    image, each with the ``area`` that the file states, if any, and a ``mask`` (COCO's polygons or
    RLE) where the set has masks. ``metainfo`` holds ``classes`` and ``cat_ids``, both indexed by
    label. A panoptic set adds ``isthing`` to it, one bool for each label, and to each entry
    ``segments`` and their map, see :class:`~.coco_panoptic.CocoPanopticDataset`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Without a scope mmengine would take mmcv's Resize and LoadAnnotations for ours, silently.
        scope = None if DefaultScope.get_current_instance() else 'mmdetr'
        with DefaultScope.overwrite_default_scope(scope):
            super().__init__(*args, **kwargs)

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the labels in image ``idx``, for mmengine's ``ClassBalancedDataset``."""
        return [instance['bbox_label'] for instance in self.get_data_info(idx)['instances']]
