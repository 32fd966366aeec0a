"""Figures of the last decoder layer for the log: not optimised, without gradients.

Legend: B images, N queries, K classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mmdetr.registry import TASK_UTILS
from mmdetr.structures import SetPrediction, SetTarget

# What CollapseWatchHook reads.
WATCHED = ('object_share', 'box_spread', 'matched_score', 'num_matched', 'num_correct')


@TASK_UTILS.register_module()
class PredictionStatistics:
    """How well the last layer's queries fit what they are matched with."""

    @torch.no_grad()
    def __call__(
        self, prediction: SetPrediction, target_labels: Tensor, targets: Sequence[SetTarget]
    ) -> dict[str, Tensor]:
        """Compute the figures of one batch.

        Args:
            prediction: float32 prediction; the last layer is used.
            target_labels: [L, B, N] class that each query should predict, K for no object.
            targets: The objects of each image.

        Returns:
            ``class_error``: percent of matched queries with the wrong class; 100 without objects,
            as in the authors' code. ``cardinality_error``: mean absolute difference between objects
            predicted and present. ``object_share``: share of queries that predict an object.
            ``box_spread``: standard deviation over an image's queries, mean of the four coordinates
            in 0..1. ``matched_score``: mean probability of the right class over matched queries, 0
            without objects. ``num_matched`` and ``num_correct``: how many of them there are.
        """
        last, wanted = prediction.layer(-1), target_labels[-1]
        probabilities, predicted = last.probabilities[0], last.predicted_labels[0]
        num_classes = probabilities.shape[-1]
        is_object, matched = predicted != num_classes, wanted != num_classes
        num_matched = matched.sum().float()
        num_correct = (matched & (predicted == wanted)).sum().float()
        # A query without object has no right class; any index will do.
        right = wanted.clamp(max=num_classes - 1)[..., None]
        scores = probabilities.gather(-1, right)[..., 0]
        counts = torch.tensor([len(target.labels) for target in targets], device=wanted.device)
        return dict(
            class_error=100 - 100 * num_correct / num_matched.clamp(min=1),
            cardinality_error=(is_object.sum(-1) - counts).abs().float().mean(),
            object_share=is_object.float().mean(),
            box_spread=last.bboxes[0].std(1, correction=0).mean(),
            matched_score=(scores * matched).sum() / num_matched.clamp(min=1),
            num_matched=num_matched,
            num_correct=num_correct,
        )
