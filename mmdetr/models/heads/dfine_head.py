"""The head of D-FINE: boxes as distributions that every decoder layer sharpens.

Legend: L decoder layers, B images, N queries, K classes, D channels, R bins less one.
"""

from typing import Any

import torch
from torch import Tensor, nn

from mmdetr.models.layers import MLP
from mmdetr.models.layers.denoising import DenoisingQueries
from mmdetr.models.layers.reference_points import inverse_sigmoid
from mmdetr.models.transformers import Refine, TransformerOutput
from mmdetr.registry import MODELS
from mmdetr.structures import SetPrediction
from mmdetr.structures.edge_distribution import EdgeBins, EdgeDenoisingPrediction, EdgePrediction

from .rtdetr_head import RTDETRHead

# Probabilities of an edge that say how sure it is, and their mean.
_TOP = 4
_QUALITY_WIDTH = 64


class DistributionRefiner:
    """Refine boxes layer by layer; remembers what the layers before said of the same queries.

    Args:
        head: Whose branches are used.
    """

    first: Tensor  # [B, N, 4] boxes of the ordinary head after the first layer
    corners: Tensor  # [B, N, 4 (R + 1)] of the layer called last

    def __init__(self, head: 'DFINEHead') -> None:
        self.head = head
        self.seen: Tensor | None = None

    def __call__(self, layer: int, hidden: Tensor, reference_points: Tensor) -> Tensor:
        """Move boxes; called for layer 0, 1 and so on."""
        step = self.head.reg_branches[layer]
        if self.seen is None:
            moved = self.head.first_reg_branch(hidden) + inverse_sigmoid(reference_points)
            self.first = moved.sigmoid()
            self.corners = step(hidden)
        else:
            self.corners = step(hidden + self.seen.detach()) + self.corners
        self.seen = hidden
        return self.head.bins.bboxes(self.corners, self.first.detach())


@MODELS.register_module()
class DFINEHead(RTDETRHead):
    """RTDETRHead with distributions of edges in place of boxes.

    Args:
        *args: As in RTDETRHead.
        reg_max: R; each edge has R + 1 bins.
        reg_scale: Curvature of the bins, see EdgeBins.
        **kwargs: As in RTDETRHead.

    Source: D-FINE, section 4.1 (fine-grained distribution refinement) and the location quality
        estimator of its code.
    """

    def __init__(
        self, *args: Any, reg_max: int = 32, reg_scale: float = 4.0, **kwargs: Any
    ) -> None:
        self.bins = EdgeBins(reg_max, reg_scale)
        super().__init__(*args, **kwargs)

    def build_box_branches(self, num_layers: int) -> nn.ModuleList:
        """Build the ordinary head of the first layer and the branches of edges and quality."""
        self.first_reg_branch = self.box_branch(4)
        quality = [MLP(4 * (_TOP + 1), _QUALITY_WIDTH, 1, 2) for _ in range(num_layers)]
        for branch in quality:
            for parameter in branch.layers[-1].parameters():
                nn.init.zeros_(parameter)
        self.quality_branches = nn.ModuleList(quality)
        num_logits = 4 * (self.bins.reg_max + 1)
        return nn.ModuleList(self.box_branch(num_logits) for _ in range(num_layers))

    def refiner(self) -> Refine:
        """Return what moves the boxes of one forward pass."""
        return DistributionRefiner(self)

    def decode(self, output: TransformerOutput, refine: Refine | None = None) -> SetPrediction:
        """Turn hidden states [L, B, N, D] into classes and distributions.

        Args:
            output: Of the decoder.
            refine: What moved the boxes of the layers before the only one in ``output``.
        """
        references, first_layer = output.reference_points, self._first(output)
        assert references is not None
        refiner = refine if first_layer and refine is not None else DistributionRefiner(self)
        assert isinstance(refiner, DistributionRefiner)
        logits, bboxes, corners = [], [], []
        for i, (hidden, reference) in enumerate(
            zip(output.hidden, references, strict=True), first_layer
        ):
            bboxes.append(refiner(i, hidden, reference))
            corners.append(refiner.corners)
            logits.append(self.cls_branches[i](hidden) + self.quality(i, refiner.corners))
        first = None
        if first_layer == 0:
            first_logits = self.cls_branches[0](output.hidden[0])
            first = SetPrediction(
                first_logits[None], refiner.first[None], class_activation=self.class_activation
            )
        return EdgePrediction(
            torch.stack(logits),
            torch.stack(bboxes),
            corners=torch.stack(corners),
            first=first,
            bins=self.bins,
            class_activation=self.class_activation,
        )

    def quality(self, layer: int, corners: Tensor) -> Tensor:
        """What the sharpness of the edges [B, N, 4 (R + 1)] adds to all class logits [B, N, 1]."""
        top = corners.unflatten(-1, (4, -1)).softmax(-1).topk(_TOP).values
        statistics = torch.cat((top, top.mean(-1, keepdim=True)), dim=-1)
        return self.quality_branches[layer](statistics.flatten(-2))

    def label_parts(
        self, prediction: SetPrediction, noisy: DenoisingQueries | None
    ) -> EdgePrediction:
        """Tell the denoising queries from the others."""
        assert isinstance(prediction, EdgePrediction)
        if noisy is None:
            return prediction
        count = len(noisy)
        known = prediction.map(lambda tensor: tensor[:, :, :count])
        matched = prediction.map(lambda tensor: tensor[:, :, count:])
        return matched.replace(
            denoising=EdgeDenoisingPrediction(
                known.logits,
                known.bboxes,
                noisy.image,
                noisy.query,
                noisy.target,
                noisy.num_groups,
                corners=known.corners,
                first=known.first,
                bins=self.bins,
                class_activation=self.class_activation,
            )
        )
