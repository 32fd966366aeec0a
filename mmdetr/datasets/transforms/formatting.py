"""The last step of a pipeline."""

from collections.abc import Sequence

import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import InstanceData

from mmdetr.registry import TRANSFORMS
from mmdetr.structures import DetDataSample

from .memory_layout import channels_first


@TRANSFORMS.register_module()
class PackDetInputs(BaseTransform):
    """Packs image and ground truth into what the data preprocessor takes.

    Required keys: ``img`` uint8 [h, w, 3]; ``gt_bboxes`` and ``gt_bboxes_labels`` optional.
    Returns: ``inputs`` uint8 tensor [3, h, w] and ``data_samples``, a
    :class:`~mmdetr.structures.DetDataSample` with ``gt_instances`` where there is ground truth.

    Args:
        meta_keys: Keys copied into the data sample's metainfo where the pipeline has them. With
            ``'instances'`` among them a metric without annotation file can score: the dataset's
            boxes, labels and crowd flags in the frame of the original image.
    """

    def __init__(
        self,
        meta_keys: Sequence[str] = (
            'img_id',
            'img_path',
            'ori_shape',
            'img_shape',
            'scale_factor',
            'flip',
            'flip_direction',
        ),
    ) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        data_sample = DetDataSample(
            metainfo={key: results[key] for key in self.meta_keys if key in results}
        )
        if 'gt_bboxes' in results:
            data_sample.gt_instances = InstanceData(
                bboxes=torch.from_numpy(results['gt_bboxes']),
                labels=torch.from_numpy(results['gt_bboxes_labels']),
            )
        return dict(
            inputs=torch.from_numpy(channels_first(results['img'])), data_samples=data_sample
        )

    def __repr__(self) -> str:
        return f'{type(self).__name__}(meta_keys={self.meta_keys})'
