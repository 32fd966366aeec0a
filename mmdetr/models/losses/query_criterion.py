"""The criterion of successors with proposals and denoising queries.

Legend: L decoder layers, B images, N queries, K classes, P known pairs.
"""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from mmdetr.models.assigners.hungarian_assigner import Assignment
from mmdetr.registry import MODELS
from mmdetr.structures import DenoisingPrediction, QueryPrediction, SetPrediction, SetTarget

from .set_criterion import SetCriterion


@MODELS.register_module()
class QueryCriterion(SetCriterion):
    """SetCriterion, and the same losses of what the encoder proposes and of denoising queries.

    Proposals are matched by themselves and give ``enc_loss_*``. Denoising queries stand for known
    objects, so nothing is matched; they give ``dn_loss_*`` and ``d{i}.dn_loss_*``, divided by the
    number of objects times groups, mean over the ranks. Without denoising queries these are zero,
    so every rank and step has the same losses.

    Args:
        *args: As in SetCriterion.
        class_agnostic_proposals: Proposals learn "object" as class 0, whatever the object's class.
        denoising_background: Denoising queries that stand for no object (negatives, empty slots)
            learn that, as in DINO. False gives them no loss, as in DN-DETR.
        **kwargs: As in SetCriterion.

    Source: Deformable DETR, appendix A.4 (proposals); DN-DETR, section 4; DINO, section 3. The
        code of DN-DETR divides by the objects of one rank.
    """

    def __init__(
        self,
        *args: Any,
        class_agnostic_proposals: bool = False,
        denoising_background: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.class_agnostic_proposals = class_agnostic_proposals
        self.denoising_background = denoising_background

    def losses(
        self,
        prediction: SetPrediction,
        targets: list[SetTarget],
        assignment: Assignment,
        num_copies: int = 1,
    ) -> dict[str, Tensor]:
        """Compute the losses of queries, proposals and denoising queries, see SetCriterion."""
        losses = super().losses(prediction, targets, assignment, num_copies)
        if not isinstance(prediction, QueryPrediction):
            return losses
        if prediction.proposals is not None:
            found = self._proposal_losses(prediction.proposals, targets)
            losses |= {_prefixed('enc_', name): value for name, value in found.items()}
        if prediction.denoising is not None:
            known = self.denoising_losses(prediction.denoising, targets)
            losses |= {_prefixed('dn_', name): value for name, value in known.items()}
        return losses

    def denoising_losses(
        self, prediction: DenoisingPrediction, targets: list[SetTarget]
    ) -> dict[str, Tensor]:
        """Compute the losses of the denoising queries, whose objects are known."""
        image, query = prediction.image, prediction.query
        chosen: SetPrediction = prediction
        if not self.denoising_background:
            # As if the known queries of all images were those of one.
            chosen = SetPrediction(
                prediction.logits[:, image, query][:, None],
                prediction.bboxes[:, image, query][:, None],
                class_activation=prediction.class_activation,
            )
            query = torch.arange(len(image), device=image.device)
            image = torch.zeros_like(image)
        pairs = (image, query, prediction.target)
        known = Assignment(*(part.expand(prediction.num_layers, -1) for part in pairs))
        return super().losses(chosen, targets, known, prediction.num_groups)

    def _proposal_losses(
        self, proposals: SetPrediction, targets: list[SetTarget]
    ) -> dict[str, Tensor]:
        if self.class_agnostic_proposals:
            targets = [
                dataclasses.replace(target, labels=torch.zeros_like(target.labels))
                for target in targets
            ]
        return super().losses(proposals, targets, self.match(proposals, targets))


def _prefixed(prefix: str, name: str) -> str:
    """``loss_cls`` -> ``dn_loss_cls``, ``d0.loss_cls`` -> ``d0.dn_loss_cls``."""
    layer, dot, loss = name.rpartition('.')
    return f'{layer}{dot}{prefix}{loss}'
