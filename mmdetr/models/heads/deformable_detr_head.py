"""Head of Deformable DETR and of its successors up to DINO.

Legend: B images, H W padded input size, h w feature size, L decoder layers, N queries, K classes,
D channels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmdetr.models.layers import (
    MLP,
    LabelEmbedding,
    build_denoising,
    move_points,
)
from mmdetr.models.transformers import TransformerOutput
from mmdetr.registry import MODELS
from mmdetr.structures import QueryPrediction, SetPrediction, SetTarget
from mmdetr.utils.arguments import check_at_least

from .detr_head import DETRHead
from .query_sources import with_denoising


@MODELS.register_module()
class DeformableDETRHead(DETRHead):
    """Predict boxes relative to reference points or boxes, with deformable attention.

    The models of the family differ in these arguments and in the decoder; any mixture is possible.

    Args:
        query_source: Config of what the queries are made of: ``PointQueries``, ``AnchorQueries``,
            ``ProposalQueries`` or ``MixedQueries``.
        with_box_refine: Each decoder layer starts from the boxes of the layer before it.
        share_branches: One class branch and one box branch for all decoder layers; otherwise each
            has its own.
        proposals: Config of the encoder's proposals, for queries made of them.
        denoising: Config of the denoising queries in training; None has none.
        eps: Least distance of a reference coordinate from 0 and 1, before the inverse
            sigmoid.
        class_activation: Config of what a row of class logits means; independent sigmoids by
            default.
        **kwargs: As in DETRHead, ``num_classes`` first of all.

    Source: Deformable DETR, section 4; DAB-DETR, section 4.3; DN-DETR, section 4; DINO, section 3.
    """

    def __init__(
        self,
        *,
        query_source: dict,
        with_box_refine: bool = False,
        share_branches: bool = True,
        proposals: dict | None = None,
        denoising: dict | None = None,
        eps: float = 1e-5,
        class_activation: dict | None = None,
        **kwargs: Any,
    ) -> None:
        check_at_least(0, 'DeformableDETRHead', eps=eps)
        self.with_box_refine = with_box_refine
        self.share_branches = share_branches
        self.eps = eps
        self._configs = dict(query_source=query_source, proposals=proposals)
        activation = class_activation or dict(type='SigmoidClasses')
        super().__init__(class_activation=activation, **kwargs)
        self.denoising = build_denoising(denoising, self.num_classes)
        self.label_embedding = None
        if self.denoising is not None:
            self.label_embedding = LabelEmbedding(
                self.num_classes, self.embed_dims, self.query_source.has_indicator
            )

    @property
    def chooses_proposals(self) -> bool:
        """Where the query source needs them (two-stage, DINO)."""
        return self.proposals is not None

    def build_queries(self, num_queries: int) -> None:
        """Build what makes the queries, and the proposals if it needs them."""
        sizes = dict(num_queries=num_queries, embed_dims=self.embed_dims)
        self.query_source = MODELS.build(self._configs['query_source'], default_args=sizes)
        needed, cfg = self.query_source.needs_proposals, self._configs['proposals']
        if needed != (cfg is not None):
            raise ValueError(
                f'query_source {type(self.query_source).__name__} needs '
                f'{"" if needed else "no "}proposals: set bbox_head.proposals to '
                f'{"a config of EncoderProposals" if needed else "None"}'
            )
        self.proposals = None
        if cfg is not None:
            sizes |= dict(
                num_classes=self.num_classes,
                class_activation=self.class_activation,
                num_reg_layers=self.num_reg_layers,
            )
            self.proposals = MODELS.build(cfg, default_args=sizes)

    def build_branches(self) -> None:
        """Build the branches: one of each kind, or one for each decoder layer."""
        dims, self.num_layers = self.embed_dims, len(self.transformer.decoder.layers)
        number = 1 if self.share_branches else self.num_layers
        num_logits = self.class_activation.num_logits(self.num_classes)
        cls_branches = [nn.Linear(dims, num_logits) for _ in range(number)]
        reg_branches = [MLP(dims, dims, 4, self.num_reg_layers) for _ in range(number)]
        for branch, mlp in zip(cls_branches, reg_branches, strict=True):
            self.class_activation.initialize(branch)
            mlp.start_at_zero()
        if self.proposals is None:
            # A box starts with an eighth of the image's sides around a point.
            bias: Any = reg_branches[0].layers[-1].bias
            nn.init.constant_(bias[2:], -2.0)
        self.cls_branches = nn.ModuleList(cls_branches)
        self.reg_branches = nn.ModuleList(reg_branches)

    @property
    def class_rows(self) -> tuple[str, ...]:  # type: ignore[override]
        """Tensors with a row per class: what a checkpoint of other classes may fit by name."""
        number = len(self.cls_branches)
        return tuple(
            f'cls_branches.{i}.{kind}' for i in range(number) for kind in ('weight', 'bias')
        )

    resizable_rows = ()

    def forward(
        self,
        features: Sequence[Tensor],
        padding_mask: Tensor | None = None,
        backbone_features: Sequence[Tensor] | None = None,
        targets: Sequence[SetTarget] | None = None,
        all_layers: bool | None = None,
    ) -> SetPrediction:
        """Predict, see DETRHead.

        Returns:
            logits [L, B, N, K] and bboxes [L, B, N, 4], L = 1 when only the last layer. In training
            a :class:`QueryPrediction` where there are proposals or denoising queries.
        """
        if all_layers is None:
            all_layers = self._supervises_all_layers()
        masks, positions = self.encode_positions(features, padding_mask)
        memory = self.transformer.encode(features, masks, positions)
        proposals = None if self.proposals is None else self.proposals(memory)
        queries = self.query_source(None if proposals is None else proposals.bboxes)
        if self.denoising is not None and self.label_embedding is not None and targets is not None:
            known = self.denoising(targets)
            queries = with_denoising(queries, known, self.label_embedding(known))
        refine = self.refine if self.with_box_refine else None
        output = self.transformer.decode(memory, queries, refine, all_layers)
        prediction = self.decode(output)
        if queries.denoising is not None:
            prediction = queries.denoising.split(prediction)
        if proposals is not None and self.training:
            if not isinstance(prediction, QueryPrediction):
                activation = prediction.class_activation
                prediction = QueryPrediction(*prediction, class_activation=activation)
            prediction = prediction.replace(proposals=proposals.prediction)
        return prediction

    def refine(self, layer: int, hidden: Tensor, reference_points: Tensor) -> Tensor:
        """Return the boxes of a layer: what its branch says, added before the sigmoid.

        Source: Deformable DETR, appendix A.4, equation 8.
        """
        branch = self.reg_branches[0 if self.share_branches else layer]
        return move_points(branch(hidden), reference_points, self.eps)

    def decode(self, output: TransformerOutput) -> SetPrediction:
        """Turn hidden states [L, B, N, D] and their reference points into classes and boxes."""
        layers = range(self.num_layers - len(output.hidden), self.num_layers)
        logits, bboxes = [], []
        for i, hidden, references in zip(layers, output.hidden, output.points(), strict=True):
            logits.append(self.cls_branches[0 if self.share_branches else i](hidden))
            bboxes.append(self.refine(i, hidden, references))
        return SetPrediction(
            torch.stack(logits), torch.stack(bboxes), class_activation=self.class_activation
        )
