"""The criterion of D-FINE.

Legend: L decoder layers, B images, N queries, K classes, O outputs that are supervised together (L
layers, the ordinary head, the proposals), P matched pairs of one output, M objects of all images.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor

from mmdetr.models.assigners.hungarian_assigner import Assignment
from mmdetr.registry import MODELS
from mmdetr.structures import (
    DenoisingPrediction,
    SetPrediction,
    SetTarget,
    cxcywh_to_xyxy,
    intersection_over_union,
)
from mmdetr.structures.edge_distribution import EdgeDenoisingPrediction, EdgePrediction

from .query_criterion import QueryCriterion


@MODELS.register_module()
class DFINECriterion(QueryCriterion):
    """QueryCriterion with losses of distributions, and one match for the boxes of all outputs.

    Each output is matched by itself for its classes. Boxes and distributions of all outputs are
    compared with the objects of the union of these matches, in which a query keeps the object that
    most outputs give it, and an object may have several queries.

    Args:
        *args: As in SetCriterion.
        loss_fgl: Config of the loss against the objects' edges; None drops it.
        loss_ddf: Config of the distillation from the last layer; None drops it.
        union_matching: False compares boxes by each output's own match.
        **kwargs: As in SetCriterion.

    Source: D-FINE, section 4.2 (GO-LSD), equations 6 and 7. Boxes of negative width or height count
        as empty, as in the authors' code.
    """

    def __init__(
        self,
        *args: Any,
        loss_fgl: dict | None = None,
        loss_ddf: dict | None = None,
        union_matching: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.union_matching = union_matching
        self.loss_fgl = None if loss_fgl is None else MODELS.build(loss_fgl)
        self.loss_ddf = None if loss_ddf is None else MODELS.build(loss_ddf)

    def match(self, prediction: SetPrediction, targets: list[SetTarget]) -> Assignment:
        """Assign objects to queries, in every layer, see SetCriterion."""
        return super().match(_with_real_sizes(prediction), targets)

    def losses(
        self,
        prediction: SetPrediction,
        targets: list[SetTarget],
        assignment: Assignment,
        num_copies: int = 1,
    ) -> dict[str, Tensor]:
        """Compute the losses of all outputs and of the denoising queries.

        Returns:
            The entries of QueryCriterion, with ``loss_fgl`` and ``loss_ddf`` for the layers and
            ``pre_loss_*`` of the ordinary head, ``dn_`` before those of denoising.
        """
        if not isinstance(prediction, EdgePrediction):
            raise ValueError(
                f'DFINECriterion is for the distributions of a DFINEHead, not for a '
                f'{type(prediction).__name__}'
            )
        parts = {'pre_': prediction.first, 'enc_': prediction.proposals}
        further = {prefix: each for prefix, each in parts.items() if each is not None}
        outputs = _stack([*further.values(), prediction])
        if further:
            own = self.match(_stack(list(further.values())), targets)
            assignment = _join(own, assignment)
        shared = assignment
        if self.union_matching:
            shared = union_of_matches(assignment, prediction.logits.shape[1:3], targets)
        num_objects = sum(len(target.labels) for target in targets)
        shared_factor = shared.query.shape[1] if self.union_matching else num_objects
        factors = self._factors(prediction.logits, num_objects, shared_factor)
        names = [*further, *_layer_names(prediction.num_layers)]
        losses = self._output_losses(outputs, targets, assignment, shared, factors, names)
        own_layers = Assignment(*(part[len(further) :] for part in shared))
        if prediction.first is None:  # in evaluation
            return losses
        weights = self._num_queries(own_layers, prediction)
        losses |= self._edge_losses(prediction, targets, own_layers, factors[1], weights)
        if isinstance(prediction.denoising, EdgeDenoisingPrediction):
            losses |= self._denoising(prediction.denoising, targets, factors[0], weights)
        return losses

    def _denoising(
        self,
        prediction: EdgeDenoisingPrediction,
        targets: list[SetTarget],
        num_objects: Tensor,
        weights: tuple[int, int],
    ) -> dict[str, Tensor]:
        """Losses of the denoising queries, whose objects are known."""
        assert prediction.first is not None
        outputs = _stack([prediction.first, prediction])
        known = self.known_pairs(prediction, outputs.num_layers)
        factor = num_objects * prediction.num_groups
        names = ['pre_', *_layer_names(prediction.num_layers)]
        losses = self._output_losses(outputs, targets, known, known, (factor, factor), names)
        layers = self.known_pairs(prediction, prediction.num_layers)
        losses |= self._edge_losses(prediction, targets, layers, factor, weights)
        return {_prefixed('dn_', name): value for name, value in losses.items()}

    @staticmethod
    def known_pairs(prediction: DenoisingPrediction, num_layers: int) -> Assignment:
        """The known pairs of denoising queries and objects, for ``num_layers`` layers."""
        pairs = (prediction.image, prediction.query, prediction.target)
        return Assignment(*(part.expand(num_layers, -1) for part in pairs))

    @staticmethod
    def _factors(like: Tensor, num_objects: int, num_shared: int) -> tuple[Tensor, Tensor]:
        """Divisors of classes and boxes: means over the ranks, at least 1."""
        factors = torch.tensor((num_objects, num_shared), dtype=torch.float32).to(like.device)
        if get_world_size() > 1:
            all_reduce(factors, op='mean')
        return factors[0].clamp(min=1), factors[1].clamp(min=1)

    def _output_losses(
        self,
        outputs: SetPrediction,
        targets: list[SetTarget],
        own: Assignment,
        shared: Assignment,
        factors: tuple[Tensor, Tensor],
        names: list[str],
    ) -> dict[str, Tensor]:
        """Losses of classes and boxes of O outputs, each by its name."""
        real = _with_real_sizes(outputs)
        labels = self.target_labels(outputs, targets, own)
        parts = {'loss_cls': self.classification_loss(real, targets, own, labels, factors[0])}
        target_bboxes = torch.cat([target.bboxes for target in targets])[shared.target]
        for name, loss in self.bbox_losses.items():
            bboxes = (real if name == 'loss_giou' else outputs).bboxes[shared.matched]
            parts[name] = loss(bboxes, target_bboxes, factors[1])
        return {
            _prefixed(prefix, name): values[i]
            for i, prefix in enumerate(names)
            for name, values in parts.items()
        }

    def _edge_losses(
        self,
        prediction: EdgePrediction | EdgeDenoisingPrediction,
        targets: list[SetTarget],
        assignment: Assignment,
        factor: Tensor,
        weights: tuple[int, int],
    ) -> dict[str, Tensor]:
        """Losses of the distributions of all layers."""
        assert prediction.corners is not None
        assert prediction.first is not None
        matched, names = assignment.matched, _layer_names(prediction.num_layers)
        target_bboxes = torch.cat([target.bboxes for target in targets])[assignment.target]
        bboxes = _with_real_sizes(prediction).bboxes[matched]
        ious = intersection_over_union(
            cxcywh_to_xyxy(bboxes.detach()), cxcywh_to_xyxy(target_bboxes)
        )
        losses: dict[str, Tensor] = {}
        if self.loss_fgl is not None:
            start = prediction.first.bboxes.expand_as(prediction.bboxes)[matched]
            values = self.loss_fgl(
                prediction.corners[matched], prediction.bins, start, target_bboxes, ious, factor
            )
            pairs = zip(names, values, strict=True)
            losses |= {_prefixed(name, 'loss_fgl'): value for name, value in pairs}
        if self.loss_ddf is not None:
            scores = prediction.layer(-1).probabilities[0].amax(-1)
            values = self.loss_ddf(prediction.corners, scores, matched, ious, *weights)
            pairs = zip(names[:-1], values, strict=True)
            losses |= {_prefixed(name, 'loss_ddf'): value for name, value in pairs}
        return losses

    @staticmethod
    def _num_queries(assignment: Assignment, prediction: SetPrediction) -> tuple[int, int]:
        """Numbers of matched and of other queries, which weigh the distillation."""
        num_matched = assignment.query.shape[1]
        return num_matched, prediction.logits[0, ..., 0].numel() - num_matched


def union_of_matches(
    assignment: Assignment, shape: Sequence[int], targets: list[SetTarget]
) -> Assignment:
    """Give each query the object that most of O assignments give it; ties go to the first object.

    Args:
        assignment: Of O outputs.
        shape: Numbers of images and queries, B and N.
        targets: The objects of each image.

    Returns:
        The same pairs for each of the O outputs; an object may have several queries.

    Source: D-FINE, section 4.2 (GO-LSD).
    """
    num_images, num_queries = shape
    num_objects = sum(len(target.labels) for target in targets)
    counts = assignment.query.new_zeros(num_images * num_queries, num_objects + 1)
    query = (assignment.image * num_queries + assignment.query).flatten()
    ones = torch.ones_like(query)
    counts.index_put_((query, assignment.target.flatten()), ones, accumulate=True)
    order = torch.arange(num_objects + 1, device=counts.device)
    best = (counts * (num_objects + 1) - order).argmax(1)
    chosen = counts.any(1).nonzero()[:, 0]
    parts = (chosen // num_queries, chosen % num_queries, best[chosen])
    return Assignment(*(part.expand(len(assignment.query), -1) for part in parts))


def _stack(predictions: list[SetPrediction]) -> SetPrediction:
    """Logits and boxes of several predictions as layers of one."""
    return SetPrediction(
        torch.cat([each.logits for each in predictions]),
        torch.cat([each.bboxes for each in predictions]),
        class_activation=predictions[0].class_activation,
    )


def _join(first: Assignment, second: Assignment) -> Assignment:
    pairs = zip(first, second, strict=True)
    return Assignment(*(torch.cat(pair) for pair in pairs))


def _with_real_sizes(prediction: SetPrediction) -> SetPrediction:
    """Boxes of negative width or height become empty."""
    centre, size = prediction.bboxes.split(2, dim=-1)
    return prediction.replace(bboxes=torch.cat((centre, size.clamp(min=0)), dim=-1))


def _layer_names(num_layers: int) -> list[str]:
    return [*(f'd{i}.' for i in range(num_layers - 1)), '']


def _prefixed(prefix: str, name: str) -> str:
    """``dn_`` and ``d0.loss_cls`` -> ``d0.dn_loss_cls``."""
    layer, dot, loss = name.rpartition('.')
    return f'{layer}{dot}{prefix}{loss}'
