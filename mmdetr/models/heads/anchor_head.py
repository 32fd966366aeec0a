"""The head of DAB-DETR and DN-DETR.

Legend: L decoder layers, B images, N anchors, Q queries (N times the patterns), S denoising
queries, D channels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmdetr.models.layers import LabelEmbedding, build_denoising, inverse_sigmoid, move_points
from mmdetr.models.transformers import Queries, TransformerOutput
from mmdetr.registry import MODELS
from mmdetr.structures import SetPrediction, SetTarget
from mmdetr.utils.arguments import check_at_least

from .detr_head import DETRHead


@MODELS.register_module()
class AnchorHead(DETRHead):
    """DETRHead whose queries are anchor boxes, moved after each decoder layer.

    Args:
        *args: As in :class:`DETRHead`; ``num_queries`` counts the anchors.
        num_patterns: Each anchor is a query once per pattern, a learned content; 0 lets every
            content start at zero.
        random_centres: Spread the centres of the anchors evenly at the start. They learn on.
        denoising: Config of the denoising queries; None trains without.
        eps: Of the inverse sigmoid.
        **kwargs: As in :class:`DETRHead`.

    Source: DAB-DETR, section 4; DN-DETR, section 4. In DN-DETR patterns are added to the content
        of the matching queries, which is the label "unknown".
    """

    def __init__(
        self,
        *args: Any,
        num_patterns: int = 0,
        random_centres: bool = False,
        denoising: dict | None = None,
        eps: float = 1e-3,
        **kwargs: Any,
    ) -> None:
        check_at_least(0, 'AnchorHead', num_patterns=num_patterns)
        self.random_centres = random_centres
        self.eps = eps
        super().__init__(*args, **kwargs)
        self.patterns = nn.Embedding(num_patterns, self.embed_dims) if num_patterns else None
        self.denoising = build_denoising(denoising, self.num_classes)
        if self.denoising is not None:
            self.label_embedding = LabelEmbedding(self.num_classes, self.embed_dims, indicator=True)

    # For reading checkpoints, see mmdetr.checkpoint.model_rows.
    resizable_rows = ('anchors.weight',)

    def build_queries(self, num_queries: int) -> None:
        """Build the anchors, boxes cxcywh before the sigmoid."""
        self.anchors = nn.Embedding(num_queries, 4)
        if self.random_centres:
            centres = torch.rand(num_queries, 2)
            self.anchors.weight.data[:, :2] = inverse_sigmoid(centres, self.eps)

    def build_branches(self) -> None:
        """Build the prediction feed-forward networks; boxes start at the anchors."""
        super().build_branches()
        self.reg_branch.start_at_zero()

    def queries(self, targets: Sequence[SetTarget] | None) -> Queries:
        """Return the anchors, behind denoising queries where targets are given."""
        num_patterns = 1 if self.patterns is None else len(self.patterns.weight)
        content = None
        if self.patterns is not None:  # all anchors of the first pattern first
            content = self.patterns.weight.repeat_interleave(len(self.anchors.weight), dim=0)
        anchors = self.anchors.weight.sigmoid().repeat(num_patterns, 1)
        if self.denoising is None:
            return Queries(content=content, reference_points=anchors)
        unknown = self.label_embedding.without_label().expand(len(anchors), -1)
        content = unknown if content is None else unknown + content
        if targets is None:
            return Queries(content=content, reference_points=anchors)
        noisy = self.denoising(targets)
        return Queries(
            content=_behind(self.label_embedding(noisy), content),
            reference_points=_behind(noisy.anchors.sigmoid(), anchors),
            self_attn_mask=noisy.visible(len(anchors)),
            denoising=noisy,
        )

    def refine(self, layer: int, hidden: Tensor, reference_points: Tensor) -> Tensor:
        """Move the anchors [B, Q, 4] by what a layer decoded [B, Q, D]; one branch for all."""
        return move_points(self.reg_branch(hidden), reference_points, self.eps)

    def decode(self, output: TransformerOutput) -> SetPrediction:
        """Turn hidden states [L, B, Q, D] and anchors [L, B, Q, 4] into classes and boxes."""
        return SetPrediction(
            self.cls_branch(output.hidden),
            move_points(self.reg_branch(output.hidden), output.points(), self.eps),
            class_activation=self.class_activation,
        )


def _behind(denoising: Tensor, matching: Tensor) -> Tensor:
    """[B, S, ...] and [Q, ...] -> [B, S + Q, ...]."""
    return torch.cat((denoising, matching.expand(len(denoising), *matching.shape)), dim=1)
