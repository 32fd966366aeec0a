"""Queries, transformer and prediction branches.

Legend: B images, H W padded input size, h w feature size, L decoder layers, N queries, K classes,
D channels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from mmdetr.models.layers import MLP
from mmdetr.models.transformers import Queries, Refine, TransformerOutput
from mmdetr.registry import MODELS, TASK_UTILS
from mmdetr.structures import DetDataSample, SetPrediction, SetTarget
from mmdetr.utils.arguments import check_at_least

from .postprocess import postprocess


@MODELS.register_module()
class DETRHead(BaseModule):
    """Predict a set of N boxes and classes from the neck's feature maps.

    A successor overrides the steps that differ: what is built (``build_queries``,
    ``build_branches``) and what is computed (``queries``, ``refine``, ``decode``).

    Args:
        num_classes: K.
        num_queries: N.
        in_channels: D; the detector passes the width of the neck.
        positional_encoding: Config of the spatial encoding; ``num_feats`` defaults to D / 2. None
            for a head that has none.
        transformer: Config of the transformer; ``embed_dims`` defaults to D.
        criterion: Config of the loss; None for a model that is never trained.
        class_activation: Config of what a row of class logits means; softmax with no-object by
            default.
        num_reg_layers: Linear layers of the box branch.
        sigmoid_bboxes: Bound boxes to 0..1 by a sigmoid. False leaves the box branch linear, as in
            the short form of DETR; nothing then keeps boxes inside the image or their sides
            positive.
        max_per_img: Detections kept per image, best first; None keeps as many as queries.

    Raises:
        ValueError: A count is below 1.

    Source: paper section 3.2.
    """

    # What a checkpoint may fit to a model with other classes or another number of queries.
    class_rows: tuple[str, ...] = ('cls_branch.weight', 'cls_branch.bias')
    resizable_rows: tuple[str, ...] = ('query_embedding.weight',)

    # A successor that refines reference points makes this a method.
    refine: Refine | None = None

    def __init__(
        self,
        num_classes: int,
        num_queries: int,
        in_channels: int,
        positional_encoding: dict | None,
        transformer: dict,
        criterion: dict | None = None,
        class_activation: dict | None = None,
        num_reg_layers: int = 3,
        sigmoid_bboxes: bool = True,
        max_per_img: int | None = None,
    ) -> None:
        super().__init__()
        counts = dict(num_classes=num_classes, num_queries=num_queries, max_per_img=max_per_img)
        check_at_least(1, 'DETRHead', num_reg_layers=num_reg_layers, **counts)
        self.num_classes = num_classes
        self.embed_dims = in_channels
        self.num_reg_layers = num_reg_layers
        self.sigmoid_bboxes = sigmoid_bboxes
        self.max_per_img = max_per_img
        self.class_activation = TASK_UTILS.build(class_activation or dict(type='SoftmaxClasses'))
        self.build_queries(num_queries)
        if positional_encoding is not None:
            self.positional_encoding = MODELS.build(
                positional_encoding, default_args=dict(num_feats=in_channels // 2)
            )
        self.build_transformer(transformer, in_channels)
        self.build_branches()
        self.criterion = None
        if criterion is not None:
            self.criterion = MODELS.build(criterion, default_args=dict(num_classes=num_classes))

    @property
    def has_no_object_row(self) -> bool:
        """Whether the last of ``class_rows`` is no class but no-object."""
        return self.class_activation.has_no_object

    @property
    def chooses_proposals(self) -> bool:
        """Whether queries are the best proposals of the encoder: rounding may choose others."""
        return False

    def build_queries(self, num_queries: int) -> None:
        """Build what the object queries are made of."""
        self.query_embedding = nn.Embedding(num_queries, self.embed_dims)

    def build_transformer(self, transformer: dict, in_channels: int) -> None:
        """Build the transformer for maps of the neck's width."""
        self.transformer = MODELS.build(transformer, default_args=dict(embed_dims=in_channels))

    def build_branches(self) -> None:
        """Build the prediction feed-forward networks."""
        num_logits = self.class_activation.num_logits(self.num_classes)
        self.cls_branch = nn.Linear(self.embed_dims, num_logits)
        self.class_activation.initialize(self.cls_branch)
        self.reg_branch = MLP(self.embed_dims, self.embed_dims, 4, self.num_reg_layers)

    def forward(
        self,
        features: Sequence[Tensor],
        padding_mask: Tensor | None = None,
        backbone_features: Sequence[Tensor] | None = None,
        targets: Sequence[SetTarget] | None = None,
        all_layers: bool | None = None,
    ) -> SetPrediction:
        """Predict.

        Args:
            features: Maps of the neck, [B, D, h, w] each.
            padding_mask: bool [B, H, W] at input resolution, True on padding; None when nothing is
                padded.
            backbone_features: Maps of the backbone, for heads that read them; not for this one.
            targets: Ground truth of B images in training, for heads that denoise it; not for this
                one.
            all_layers: Predict from all L decoder layers; by default in training, unless the
                criterion supervises the last one alone.

        Returns:
            logits [L, B, N, K + 1] and bboxes [L, B, N, 4], L = 1 when only the last layer; of
            denoising queries apart, see QueryPrediction.
        """
        queries = self.queries(targets)
        prediction = self.decode(self.transform(features, padding_mask, queries, all_layers))
        return prediction if queries.denoising is None else queries.denoising.split(prediction)

    def transform(
        self,
        features: Sequence[Tensor],
        padding_mask: Tensor | None,
        queries: Queries,
        all_layers: bool | None,
    ) -> TransformerOutput:
        """Run the transformer; arguments as in :meth:`forward`."""
        if all_layers is None:
            all_layers = self._supervises_all_layers()
        masks, positions = self.encode_positions(features, padding_mask)
        return self.transformer(
            features, masks, positions, queries, refine=self.refine, all_layers=all_layers
        )

    def encode_positions(
        self, features: Sequence[Tensor], padding_mask: Tensor | None
    ) -> tuple[list[Tensor | None], list[Tensor]]:
        """Return padding mask and spatial encoding of each map."""
        masks = [resize_mask(padding_mask, each) for each in features]
        pairs = zip(features, masks, strict=True)
        return masks, [self.positional_encoding(each, mask) for each, mask in pairs]

    def queries(self, targets: Sequence[SetTarget] | None) -> Queries:
        """Return the object queries of a batch: the same learned positions for every image."""
        return Queries(position=self.query_embedding.weight)

    def decode(self, output: TransformerOutput) -> SetPrediction:
        """Turn hidden states [L, B, N, D] into classes and boxes.

        Raises:
            ValueError: The decoder gives reference points, which this head does not read.
        """
        if output.reference_points is not None:
            raise ValueError(
                f'{type(self).__name__} reads no reference points, which transformer.decoder '
                'gives: take the head that belongs to it, as ConditionalHead or AnchorHead'
            )
        bboxes = self.reg_branch(output.hidden)
        return SetPrediction(
            self.cls_branch(output.hidden),
            bboxes.sigmoid() if self.sigmoid_bboxes else bboxes,
            class_activation=self.class_activation,
        )

    def _supervises_all_layers(self) -> bool:
        """A criterion that supervises the last layer alone may say so."""
        last_alone = getattr(self.criterion, 'last_layer_only', False)
        return self.training and self.criterion is not None and not last_alone

    def targets(self, data_samples: list[DetDataSample], device: torch.device) -> list[SetTarget]:
        """Ground truth of a batch as criterion and denoising want it, see SetCriterion."""
        return self._criterion().targets(data_samples, device)

    def loss(
        self,
        prediction: SetPrediction,
        data_samples: list[DetDataSample],
        targets: list[SetTarget] | None = None,
    ) -> dict[str, Tensor]:
        """Losses of a prediction, see SetCriterion."""
        return self._criterion()(prediction, data_samples, targets)

    def _criterion(self) -> Any:
        if self.criterion is None:
            raise ValueError("the head was built without bbox_head.criterion: mode='loss' needs it")
        return self.criterion

    def predict(
        self, prediction: SetPrediction, data_samples: list[DetDataSample]
    ) -> list[DetDataSample]:
        """Write ``pred_instances`` (absolute xyxy in original pixels) into the data samples."""
        ori_shapes = [tuple(sample.metainfo['ori_shape'][:2]) for sample in data_samples]
        results = postprocess(prediction, ori_shapes, self.max_per_img)
        for sample, instances in zip(data_samples, results, strict=True):
            sample.pred_instances = instances
        return data_samples


def resize_mask(padding_mask: Tensor | None, features: Tensor) -> Tensor | None:
    """bool [B, H, W] -> bool [B, h, w], nearest neighbour as in the authors' code."""
    if padding_mask is None:
        return None
    return F.interpolate(padding_mask[None].float(), size=features.shape[-2:])[0].bool()
