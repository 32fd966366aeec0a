"""DETRHead with masks.

Legend: B images, N queries, P queries of one image, D channels, h w feature size, H W size of the
padded input.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmdetr.registry import MODELS, TASK_UTILS
from mmdetr.structures import (
    DetDataSample,
    MaskInputs,
    MaskPrediction,
    SetPrediction,
    SetTarget,
)
from mmdetr.utils.mask_frame import Frame

from .detr_head import DETRHead, resize_mask
from .mask_postprocess import encode_masks


@MODELS.register_module()
class DETRMaskHead(DETRHead):
    """Predict a set of boxes, classes and masks.

    In training the masks of the matched queries alone are computed, in testing those of all queries
    unless fewer are wanted.

    Args:
        args: As in :class:`DETRHead`.
        mask_head: Config of the mask head.
        backbone_channels: Widths of the backbone's maps, finest first; the detector passes them.
        instance_masks: Whether detections get masks.
        panoptic: Config of the panoptic segmentation, which data samples then get; None for none.
        kwargs: As in :class:`DETRHead`. ``max_per_img`` limits the masks, too.

    Raises:
        ValueError: There is nothing that masks are for.

    Source: paper section 4.4.
    """

    def __init__(
        self,
        *args: Any,
        mask_head: dict,
        backbone_channels: Sequence[int],
        instance_masks: bool = True,
        panoptic: dict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if not instance_masks and panoptic is None:
            raise ValueError('DETRMaskHead: set instance_masks=True or panoptic, or take DETRHead')
        self.instance_masks = instance_masks
        self.panoptic = None if panoptic is None else TASK_UTILS.build(panoptic)
        self.mask_head = MODELS.build(
            mask_head,
            default_args=dict(embed_dims=self.embed_dims, backbone_channels=backbone_channels),
        )

    @property
    def every_mask(self) -> bool:
        """Whether testing needs the masks of all queries."""
        return self.instance_masks and self.max_per_img is None

    def forward(
        self,
        features: Sequence[Tensor],
        padding_mask: Tensor | None = None,
        backbone_features: Sequence[Tensor] | None = None,
        targets: Sequence[SetTarget] | None = None,
        all_layers: bool | None = None,
    ) -> MaskPrediction:
        """Predict; arguments as in :meth:`DETRHead.forward`.

        Returns:
            A prediction with ``masks`` in testing, unless only some queries' are wanted; else with
            ``mask_inputs``, which :meth:`masks_of` takes.

        Raises:
            ValueError: There is more than one feature map, or no map of the backbone.
        """
        if len(features) != 1 or backbone_features is None:
            raise ValueError(
                f'DETRMaskHead needs one map of the neck, not {len(features)}, and the maps of the '
                'backbone'
            )
        output = self.transform(features, padding_mask, self.queries(targets), all_layers)
        boxes = self.decode(output)
        prediction = MaskPrediction(
            boxes.logits,
            boxes.bboxes,
            class_activation=boxes.class_activation,
            mask_inputs=MaskInputs(
                hidden=output.hidden[-1],
                memory=output.memory.transpose(1, 2).unflatten(-1, features[0].shape[-2:]),
                features=features[0],
                maps=backbone_features[:-1],
                padding_mask=resize_mask(padding_mask, features[0]),
            ),
            padded_size=_size(padding_mask),
        )
        if self.training or not self.every_mask:
            return prediction
        return self.with_masks(prediction)

    def masks_of(self, prediction: MaskPrediction, queries: Sequence[Tensor]) -> list[Tensor]:
        """Compute the masks of some queries.

        Args:
            prediction: With ``mask_inputs``.
            queries: Indices [P], or bool [N], for each of B images.

        Returns:
            Logits [P, H / 4, W / 4] for each image.
        """
        inputs = prediction.mask_inputs
        assert inputs is not None
        pairs = zip(inputs.hidden, queries, strict=True)
        return self.mask_head(inputs, [hidden[chosen] for hidden, chosen in pairs])

    def with_masks(self, prediction: MaskPrediction) -> MaskPrediction:
        """Compute the masks of all queries."""
        assert prediction.mask_inputs is not None
        masks = self.mask_head(prediction.mask_inputs, list(prediction.mask_inputs.hidden))
        return prediction.replace(masks=torch.stack(masks), mask_inputs=None)

    def loss(
        self,
        prediction: SetPrediction,
        data_samples: list[DetDataSample],
        targets: list[SetTarget] | None = None,
    ) -> dict[str, Tensor]:
        """Losses of a prediction, see MaskCriterion."""
        return self._criterion()(prediction, data_samples, targets, self.masks_of)

    def predict(
        self, prediction: SetPrediction, data_samples: list[DetDataSample]
    ) -> list[DetDataSample]:
        """Write results in original pixels into the data samples.

        ``pred_instances`` have ``masks``, run-length codes as pycocotools has them, if
        ``instance_masks``; ``pred_panoptic`` is there if ``panoptic`` is configured.
        """
        assert isinstance(prediction, MaskPrediction)
        samples = super().predict(prediction, data_samples)
        instances = [self._instance_queries(sample) for sample in samples]
        segments = self._segment_queries(prediction)
        wanted = [torch.cat(pair).unique() for pair in zip(instances, segments, strict=True)]
        if prediction.masks is None:
            masks = self.masks_of(prediction, wanted)
        else:
            masks = [image[chosen] for image, chosen in zip(prediction.masks, wanted, strict=True)]
        for i, sample in enumerate(samples):
            resized = tuple(sample.metainfo['img_shape'][:2])
            original = tuple(sample.metainfo['ori_shape'][:2])
            frame = Frame(prediction.padded_size or resized, resized, original)
            if self.instance_masks:
                order = torch.searchsorted(wanted[i], instances[i])
                sample.pred_instances.masks = encode_masks(masks[i][order], frame)
            if self.panoptic is not None:
                order = torch.searchsorted(wanted[i], segments[i])
                scores, labels = (part[i, segments[i]] for part in self.panoptic.rate(prediction))
                sample.pred_panoptic = self.panoptic(masks[i][order], scores, labels, frame)
        return samples

    def _instance_queries(self, sample: DetDataSample) -> Tensor:
        """Queries whose detections get masks, in their order."""
        queries = sample.pred_instances.queries
        return queries if self.instance_masks else queries[:0]

    def _segment_queries(self, prediction: MaskPrediction) -> list[Tensor]:
        """Queries that the panoptic segmentation is made of, for each image."""
        if self.panoptic is None:
            return [prediction.logits.new_empty(0, dtype=torch.long) for _ in prediction.logits[-1]]
        return [kept.nonzero()[:, 0] for kept in self.panoptic.keep(prediction)]


def _size(padding_mask: Tensor | None) -> tuple[int, int] | None:
    if padding_mask is None:
        return None
    height, width = padding_mask.shape[-2:]
    return height, width
