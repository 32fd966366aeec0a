"""From a list of images to one normalised, padded batch.

Legend: B images, H W size of the batch, h w size of one image.
"""

import math
import random
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor
from torch.nn import functional as F

from mmdetr.registry import MODELS
from mmdetr.structures import DetDataSample
from mmdetr.utils.arguments import check_at_least


@MODELS.register_module()
class DetDataPreprocessor(BaseDataPreprocessor):
    """Move a batch to the model's device, normalise it and pad it right and bottom.

    Args:
        mean: Mean of each channel of the model's input, in 0..255.
        std: Standard deviation of each channel, in 0..255.
        bgr_to_rgb: Reverse the channels first; the pipelines deliver BGR as mmcv does.
        pad_size_divisor: H and W are rounded up to multiples of this number.

    Raises:
        ValueError: ``mean`` or ``std`` has not three numbers, ``std`` one that is not above zero,
            or ``pad_size_divisor`` is below 1.

    Source: paper appendix A.4 (ImageNet normalisation). Padding is zero after normalisation.
    """

    def __init__(
        self,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        bgr_to_rgb: bool = True,
        pad_size_divisor: int = 1,
    ) -> None:
        super().__init__()
        check_at_least(1, 'DetDataPreprocessor', pad_size_divisor=pad_size_divisor)
        finite = all(map(math.isfinite, (*mean, *std)))
        if len(mean) != 3 or len(std) != 3 or not finite or min(std) <= 0:
            raise ValueError(
                'DetDataPreprocessor needs three numbers each as mean and std, those of std above '
                f'zero, not {mean} and {std}'
            )
        self.bgr_to_rgb = bgr_to_rgb
        self.pad_size_divisor = pad_size_divisor
        # Not persistent: a constant of the config, no part of the weights.
        self.register_buffer('mean', torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Collate ``inputs`` into one tensor.

        Args:
            data: ``inputs``: B images, uint8 or float [3, h, w] (a list, or one tensor
                [B, 3, H, W]); ``data_samples``: B data samples or None.
            training: Whether losses follow, for which labels are looked at.

        Returns:
            ``inputs`` float32 [B, 3, H, W]; ``padding_mask`` bool [B, H, W], True on padding, or
            None when nothing is padded; ``data_samples`` as given, with ``img_shape`` (h, w) set.
        """
        if training:
            _record_label_ranges(data.get('data_samples') or [])
        data = self.cast_data(data)
        images = list(data['inputs'])
        data_samples = data.get('data_samples')
        sizes = [tuple(image.shape[-2:]) for image in images]
        batch_size = tuple(self._round_up(max(side)) for side in zip(*sizes, strict=True))

        inputs = images[0].new_zeros((len(images), 3, *batch_size), dtype=self.mean.dtype)
        for image, canvas, (height, width) in zip(images, inputs, sizes, strict=True):
            canvas[:, :height, :width] = self._normalize(image)

        if data_samples is not None:
            for data_sample, size in zip(data_samples, sizes, strict=True):
                data_sample.set_metainfo(dict(img_shape=size))
        return dict(
            inputs=inputs,
            padding_mask=self._padding_mask(sizes, batch_size),
            data_samples=data_samples,
        )

    def _normalize(self, image: Tensor) -> Tensor:
        if self.bgr_to_rgb:
            image = image.flip(0)
        return (image - self.mean) / self.std

    def _round_up(self, side: int) -> int:
        return -(-side // self.pad_size_divisor) * self.pad_size_divisor

    def _padding_mask(self, sizes: list, batch_size: tuple) -> Tensor | None:
        if all(size == batch_size for size in sizes):
            return None
        padding_mask = torch.ones((len(sizes), *batch_size), dtype=torch.bool, device=self.device)
        for mask, (height, width) in zip(padding_mask, sizes, strict=True):
            mask[:height, :width] = False
        return padding_mask


@MODELS.register_module()
class MultiScaleDataPreprocessor(DetDataPreprocessor):
    """DetDataPreprocessor that brings each training batch to a size of its own.

    Args:
        sizes: Sides of the square batches; one is drawn for each batch, all alike. Empty leaves
            batches as they come.
        **kwargs: As in DetDataPreprocessor.

    Source: RT-DETRv2, section 3.3, and the authors' code: nearest neighbour, on the whole batch.
    """

    def __init__(self, sizes: Sequence[int] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sizes = tuple(sizes)

    def forward(self, data: dict, training: bool = False) -> dict:
        """As DetDataPreprocessor; boxes follow the size.

        Raises:
            ValueError: Images of a batch differ in size.
        """
        batch = super().forward(data, training)
        if not training or not self.sizes:
            return batch
        if batch['padding_mask'] is not None:
            raise ValueError(
                'MultiScaleDataPreprocessor takes images of one size: resize them with '
                'keep_ratio=False'
            )
        side = random.choice(self.sizes)
        height, width = batch['inputs'].shape[-2:]
        batch['inputs'] = F.interpolate(batch['inputs'], size=(side, side))
        for sample in batch['data_samples']:
            bboxes = sample.gt_instances.bboxes
            factor = bboxes.new_tensor((side / width, side / height)).repeat(2)
            sample.gt_instances.bboxes = bboxes * factor
            sample.set_metainfo(dict(img_shape=(side, side)))
        return batch


def _record_label_ranges(data_samples: Sequence[DetDataSample]) -> None:
    """Note the smallest and largest label of each image while they are on the CPU.

    The criterion refuses labels that the model has no class for. It would have to wait for a GPU to
    look at them there.
    """
    for sample in data_samples:
        labels = getattr(sample.get('gt_instances'), 'labels', None)
        if labels is not None and len(labels):
            low, high = labels.aminmax()
            sample.set_metainfo(dict(label_range=(low.item(), high.item())))
