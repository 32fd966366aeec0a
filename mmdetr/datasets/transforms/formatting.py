"""The last step of a pipeline."""

from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import InstanceData

from mmdetr.registry import TRANSFORMS
from mmdetr.structures import DetDataSample

from .memory_layout import channels_first
from .object_fields import object_fields


@TRANSFORMS.register_module()
class PackDetInputs(BaseTransform):
    """Pack image and ground truth into what the data preprocessor takes.

    Required keys: ``img`` uint8 [h, w, 3]; the fields of the objects are optional.
    Returns: ``inputs`` uint8 tensor [3, h, w] and ``data_samples``, a
    :class:`~mmdetr.structures.DetDataSample`. Where there is ground truth its ``gt_instances``
    hold every field of the objects (see :mod:`~.object_fields`): ``bboxes`` float32 [M, 4],
    ``labels`` int64 [M], ``masks`` bool [M, h, w], and what a user adds.

    Args:
        meta_keys: Keys copied into the data sample's metainfo where the pipeline has them. With
            ``'instances'`` among them a metric without annotation file can score: the dataset's
            boxes, labels and crowd flags in the frame of the original image.

    Raises:
        ValueError: The masks have not the size of the image: a step changed one of them alone.
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
        fields = object_fields(results)
        shape = results['img'].shape[:2]
        if 'gt_masks' in fields and results['gt_masks'].shape[1:] != shape:
            raise ValueError(
                f'image id {results.get("img_id")}: image and masks are of {shape} and '
                f'{results["gt_masks"].shape[1:]} pixels (height, width): a step of the pipeline '
                'knows nothing of gt_masks'
            )
        if fields:
            data_sample.gt_instances = InstanceData(
                **{
                    name: torch.from_numpy(np.ascontiguousarray(results[key]))
                    for key, name in fields.items()
                }
            )
        return dict(
            inputs=torch.from_numpy(channels_first(results['img'])), data_samples=data_sample
        )

    def __repr__(self) -> str:
        return f'{type(self).__name__}(meta_keys={self.meta_keys})'
