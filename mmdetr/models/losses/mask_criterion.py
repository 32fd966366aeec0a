"""The set prediction loss with masks.

Legend: B images, N queries, M objects of one image, P matched pairs, H W padded size.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmdetr.models.assigners.hungarian_assigner import Assignment
from mmdetr.models.layers.checkpointing import call_checkpointed
from mmdetr.registry import MODELS
from mmdetr.structures import DetDataSample, MaskPrediction, MaskTarget, SetTarget

from .set_criterion import SetCriterion, mean_over_ranks

# Pixels of masks that are compared at once, at the size of the input.
_CHUNK_PIXELS = 2**22

# (prediction, query indices [P] of each image) -> logits [P, H / 4, W / 4] of each image.
MasksOf = Callable[[MaskPrediction, list[Tensor]], list[Tensor]]


@MODELS.register_module()
class MaskCriterion(SetCriterion):
    """SetCriterion and the mask losses of the last layer's matched queries.

    Masks take no part in the matching, and only the matched queries' are computed.

    Args:
        loss_mask: Config of the loss of single pixels; ``None`` drops it.
        loss_dice: Config of the loss of whole masks; ``None`` drops it.
        args: As in :class:`SetCriterion`.
        kwargs: As in :class:`SetCriterion`.

    Source: paper section 4.4. As in the authors' code, logits are enlarged to the padded input and
        padding counts as background.
    """

    def __init__(
        self, *args: Any, loss_mask: dict | None, loss_dice: dict | None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        configs = dict(loss_mask=loss_mask, loss_dice=loss_dice)
        self.mask_losses = nn.ModuleDict(
            {name: MODELS.build(cfg) for name, cfg in configs.items() if cfg is not None}
        )

    def forward(  # type: ignore[override]  # needs one argument more
        self,
        prediction: MaskPrediction,
        data_samples: list[DetDataSample],
        targets: list[SetTarget] | None = None,
        masks_of: MasksOf | None = None,
    ) -> dict[str, Tensor]:
        """Compute the losses.

        Args:
            prediction: Output of the head.
            data_samples: B samples whose ``gt_instances`` have ``masks``, [M, ...] over the image
                before padding.
            targets: What :meth:`targets` makes of them, if that is known already.
            masks_of: Computes the masks of given queries; not needed with ``prediction.masks``.

        Returns:
            What :class:`SetCriterion` returns, ``loss_mask`` and ``loss_dice``.

        Raises:
            FloatingPointError: A prediction is NaN or infinite; names the images.
            ValueError: A label lies outside 0..K-1, or masks are missing or of another size than
                the image; names the image.
        """
        if targets is None:
            targets = self.targets(data_samples, prediction.logits.device)
        assignment = self.assign(prediction, data_samples, targets)
        queries = self._per_image(assignment.layer(-1).query[0], targets, prediction)
        if prediction.masks is not None:
            masks = [image[chosen] for image, chosen in zip(prediction.masks, queries, strict=True)]
        elif masks_of is not None:
            masks = masks_of(prediction, queries)
        else:
            raise ValueError('MaskCriterion needs prediction.masks or masks_of')
        prediction = prediction.replace(matched_masks=masks, masks=None, mask_inputs=None)
        return self.evaluate(prediction, targets, assignment)

    def targets(self, data_samples: list[DetDataSample], device: torch.device) -> list[SetTarget]:
        """Bring ground truth to the criterion's frame, see :meth:`forward`."""
        boxes = super().targets(data_samples, device)
        return [
            MaskTarget(target.labels, target.bboxes, _masks(sample).to(device, torch.bool))
            for target, sample in zip(boxes, data_samples, strict=True)
        ]

    def losses(  # type: ignore[override]  # of the derived records
        self,
        prediction: MaskPrediction,
        targets: list[MaskTarget],
        assignment: Assignment,
        num_copies: int = 1,
    ) -> dict[str, Tensor]:
        """Compute the losses of a given assignment, see :meth:`SetCriterion.losses`.

        ``prediction.matched_masks`` belong to the last layer's pairs.
        """
        losses = super().losses(prediction, list(targets), assignment, num_copies)
        assert prediction.matched_masks is not None
        last = self._per_image(assignment.layer(-1).target[0], targets, prediction)
        size = prediction.padded_size or _largest_size(targets)
        device = prediction.logits.device
        first, truth = 0, []
        for indices, target in zip(last, targets, strict=True):
            truth += list(target.masks[indices - first])  # type: ignore[index]
            first += len(target.labels)
        masks = torch.cat(prediction.matched_masks)
        chunk = max(1, _CHUNK_PIXELS // (size[0] * size[1]))
        totals = torch.zeros(len(self.mask_losses), device=device)
        for i, part in enumerate(masks.split(chunk)):
            mine = truth[i * chunk : (i + 1) * chunk]
            several = len(masks) > chunk
            totals += call_checkpointed(self._chunk_losses, part, mine, size, enabled=several)
        num_objects = sum(len(target.labels) for target in targets)
        totals = totals / mean_over_ranks([num_objects], device).clamp(min=1)
        return losses | dict(zip(self.mask_losses, totals, strict=True))

    def _chunk_losses(
        self, masks: Tensor, targets: Sequence[Tensor], size: tuple[int, int]
    ) -> Tensor:
        """Logits [P, H / 4, W / 4] and truth, P times bool [...] -> sums over the pairs by loss."""
        if len(masks) == 0:  # no objects: zero, with a gradient
            return masks.sum().expand(len(self.mask_losses))
        masks = F.interpolate(masks[:, None], size=size, mode='bilinear')[:, 0]
        padded = torch.zeros_like(masks)
        for row, target in zip(padded, targets, strict=True):
            row[: target.shape[0], : target.shape[1]] = target
        one = masks.new_ones(())
        pair = masks.flatten(1), padded.flatten(1)
        return torch.stack([loss(*pair, one) for loss in self.mask_losses.values()])

    @staticmethod
    def _per_image(
        indices: Tensor, targets: Sequence[SetTarget], prediction: MaskPrediction
    ) -> list[Tensor]:
        """Indices of the last layer's pairs, image after image -> [P] for each image."""
        num_queries = prediction.logits.shape[2]
        return list(indices.split([min(len(target.labels), num_queries) for target in targets]))


def _masks(sample: DetDataSample) -> Tensor:
    """Masks of an image, checked.

    Raises:
        ValueError: They are missing, or not as many or large as labels and image say.
    """
    instances, meta = sample.gt_instances, sample.metainfo
    name = f'image {meta.get("img_id")} ({meta.get("img_path", "no file")})'
    if 'masks' not in instances:
        raise ValueError(
            f'{name} has boxes but no masks, which MaskCriterion needs: set with_mask=True of the '
            'dataset, and see that its annotations hold masks'
        )
    expected = (len(instances.labels), *meta['img_shape'][:2])
    if tuple(instances.masks.shape) != expected:
        raise ValueError(
            f'the masks of {name} have the shape {tuple(instances.masks.shape)}, its objects and '
            f'size are {expected}: a transform of the pipeline leaves masks as they are'
        )
    return instances.masks


def _largest_size(targets: Sequence[MaskTarget]) -> tuple[int, int]:
    heights, widths = zip(*(target.masks.shape[1:] for target in targets), strict=True)  # type: ignore[union-attr]
    return max(heights), max(widths)
