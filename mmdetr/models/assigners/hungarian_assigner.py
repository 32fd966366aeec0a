"""One-to-one assignment of objects to queries.

Legend: L decoder layers, B images, N queries, K classes, M objects of one image, T of the fullest,
P matched pairs of one layer (sum over images of min(N, M)).
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from mmdetr.registry import TASK_UTILS
from mmdetr.structures import SetPrediction, SetTarget


class Assignment(NamedTuple):
    """Matched pairs of every decoder layer; each layer has the same number of pairs.

    Attributes:
        image: [L, P] index of the image.
        query: [L, P] index of the query in the image.
        target: [L, P] index of the object among the objects of all images, in order.
    """

    image: Tensor
    query: Tensor
    target: Tensor

    def layer(self, index: int) -> 'Assignment':
        """Return the pairs of one decoder layer, L = 1; negative counts from the last."""
        return Assignment(*(part[index : index + 1 or None] for part in self))

    @property
    def matched(self) -> tuple[Tensor, Tensor, Tensor]:
        """Index of the matched predictions in tensors [L, B, N, ...], giving [L, P, ...]."""
        layer = torch.arange(len(self.query), device=self.query.device)[:, None]
        return layer, self.image, self.query


@TASK_UTILS.register_module()
class HungarianAssigner:
    """Find the cheapest one-to-one assignment for each image and decoder layer.

    The costs of all images and layers are computed together and copied to the host once.

    Args:
        match_costs: Named cost configs; ``None`` drops one (``dict(giou=None)`` in a child config).

    Example:
        >>> from mmdetr.models import BBoxL1Cost
        >>> assigner = HungarianAssigner(dict(bbox=dict(type=BBoxL1Cost)))
        >>> bboxes = torch.tensor([[0.9, 0.9, 0.1, 0.1], [0.2, 0.2, 0.1, 0.1]])
        >>> prediction = SetPrediction(torch.zeros(1, 1, 2, 4), bboxes[None, None])
        >>> target = SetTarget(torch.tensor([2]), torch.tensor([[0.25, 0.2, 0.1, 0.1]]))
        >>> assigner(prediction, [target]).query  # the second query stands for the object
        tensor([[1]])

    Source: paper section 3.1, equation 1.
    """

    def __init__(self, match_costs: dict[str, dict | None]) -> None:
        configs = [cfg for cfg in match_costs.values() if cfg is not None]
        self.match_costs = [TASK_UTILS.build(cfg) for cfg in configs]
        if not self.match_costs:
            raise ValueError('HungarianAssigner needs at least one match cost')

    @torch.no_grad()
    def __call__(self, prediction: SetPrediction, targets: list[SetTarget]) -> Assignment:
        """Assign.

        Args:
            prediction: float32 predictions of L layers and B images.
            targets: The objects of each image. With M > N the costliest M - N stay unmatched.

        Returns:
            The matched pairs, on the prediction's device.

        Raises:
            NonFinitePredictionError: A prediction is NaN or infinite.
        """
        device = prediction.logits.device
        costs = self._costs(prediction, targets)
        finite = prediction.logits.isfinite().all(-1) & prediction.bboxes.isfinite().all(-1)
        # The flags travel in the same copy as the costs: one synchronisation per step.
        packed = torch.cat((costs, finite[..., None].to(costs.dtype)), dim=-1).cpu().numpy()
        costs_host, finite_host = packed[..., :-1], packed[..., -1]
        if not finite_host.all():
            raise NonFinitePredictionError(np.flatnonzero((finite_host == 0).any((0, 2))).tolist())

        pairs = self._solve(costs_host, [len(target.labels) for target in targets])
        return Assignment(*torch.from_numpy(pairs).to(device, non_blocking=True).unbind())

    def _costs(self, prediction: SetPrediction, targets: list[SetTarget]) -> Tensor:
        """[L, B, N, T]; columns beyond an image's own objects are without meaning."""
        padded = SetTarget.pad(targets)
        return torch.stack([cost(prediction, padded) for cost in self.match_costs]).sum(0)

    @staticmethod
    def _solve(costs: np.ndarray, num_objects: list[int]) -> np.ndarray:
        """Costs [L, B, N, T] -> int64 [3, L, P]: image, query, object."""
        starts = np.cumsum([0, *num_objects])
        layers = []
        for layer_costs in costs:
            columns: list[list[np.ndarray]] = [[], [], []]
            for image, (cost, count) in enumerate(zip(layer_costs, num_objects, strict=True)):
                query, target = linear_sum_assignment(cost[:, :count])
                columns[0].append(np.full(len(query), image))
                columns[1].append(query)
                columns[2].append(starts[image] + target)
            layers.append([np.concatenate(column) for column in columns])
        return np.asarray(layers, dtype=np.int64).transpose(1, 0, 2).copy()


class NonFinitePredictionError(FloatingPointError):
    """The model predicted NaN or infinity.

    Attributes:
        images: Positions in the batch of the images concerned.
    """

    def __init__(self, images: list[int]) -> None:
        super().__init__(f'non-finite predictions for images {images} of the batch')
        self.images = images
