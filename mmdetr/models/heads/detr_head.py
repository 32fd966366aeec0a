"""Queries, transformer and prediction branches.

Legend: B images, H W padded input size, h w feature size, L decoder layers, N queries, K classes,
D channels.
"""

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from mmdetr.models.layers import MLP
from mmdetr.registry import MODELS
from mmdetr.structures import DetDataSample, SetPrediction
from mmdetr.utils.arguments import check_at_least

from .postprocess import postprocess


@MODELS.register_module()
class DETRHead(BaseModule):
    """Predict a set of N boxes and classes from one feature map.

    Args:
        num_classes: K; the class branch adds no-object.
        num_queries: N.
        in_channels: D; the detector passes the width of the neck.
        positional_encoding: Config of the spatial encoding; ``num_feats`` defaults to D / 2.
        transformer: Config of the transformer; ``embed_dims`` defaults to D.
        criterion: Config of the loss; None for a model that is never trained.
        num_reg_layers: Linear layers of the box branch.
        sigmoid_bboxes: Bound boxes to 0..1 by a sigmoid. False leaves the box branch linear, as in
            the short form of DETR; nothing then keeps boxes inside the image or their sides
            positive.
        max_per_img: Detections kept per image, best first; None keeps every query.

    Raises:
        ValueError: A count is below 1.

    Source: paper section 3.2.
    """

    # For reading checkpoints, see mmdetr.checkpoint.model_rows.
    class_rows = ('cls_branch.weight', 'cls_branch.bias')
    has_no_object_row = True
    resizable_rows = ('query_embedding.weight',)

    def __init__(
        self,
        num_classes: int,
        num_queries: int,
        in_channels: int,
        positional_encoding: dict,
        transformer: dict,
        criterion: dict | None = None,
        num_reg_layers: int = 3,
        sigmoid_bboxes: bool = True,
        max_per_img: int | None = None,
    ) -> None:
        super().__init__()
        counts = dict(num_classes=num_classes, num_queries=num_queries, max_per_img=max_per_img)
        check_at_least(1, 'DETRHead', num_reg_layers=num_reg_layers, **counts)
        self.num_classes = num_classes
        self.sigmoid_bboxes = sigmoid_bboxes
        self.max_per_img = max_per_img
        self.query_embedding = nn.Embedding(num_queries, in_channels)
        self.positional_encoding = MODELS.build(
            positional_encoding, default_args=dict(num_feats=in_channels // 2)
        )
        self.transformer = MODELS.build(transformer, default_args=dict(embed_dims=in_channels))
        self.cls_branch = nn.Linear(in_channels, num_classes + 1)
        self.reg_branch = MLP(in_channels, in_channels, 4, num_reg_layers)
        self.criterion = None
        if criterion is not None:
            self.criterion = MODELS.build(criterion, default_args=dict(num_classes=num_classes))

    def forward(
        self, features: Tensor, padding_mask: Tensor | None = None, all_layers: bool | None = None
    ) -> SetPrediction:
        """Predict.

        Args:
            features: [B, D, h, w].
            padding_mask: bool [B, H, W] at input resolution, True on padding; None when nothing is
                padded.
            all_layers: Predict from all L decoder layers; by default only in training with
                auxiliary losses.

        Returns:
            logits [L, B, N, K + 1] and bboxes [L, B, N, 4], L = 1 when only the last layer.
        """
        if all_layers is None:
            all_layers = self.training and self.criterion is not None and self.criterion.aux_loss
        if padding_mask is not None:
            resized = F.interpolate(padding_mask[None].float(), size=features.shape[-2:])
            padding_mask = resized[0].bool()
        pos = self.positional_encoding(features, padding_mask)
        hidden = self.transformer(
            features, padding_mask, pos, self.query_embedding.weight, all_layers=all_layers
        )
        bboxes = self.reg_branch(hidden)
        return SetPrediction(
            self.cls_branch(hidden), bboxes.sigmoid() if self.sigmoid_bboxes else bboxes
        )

    def loss(
        self, prediction: SetPrediction, data_samples: list[DetDataSample]
    ) -> dict[str, Tensor]:
        """Losses of a prediction, see SetCriterion."""
        if self.criterion is None:
            raise ValueError("the head was built without bbox_head.criterion: mode='loss' needs it")
        return self.criterion(prediction, data_samples)

    def predict(
        self, prediction: SetPrediction, data_samples: list[DetDataSample]
    ) -> list[DetDataSample]:
        """Write ``pred_instances`` (absolute xyxy in original pixels) into the data samples."""
        ori_shapes = [tuple(sample.metainfo['ori_shape'][:2]) for sample in data_samples]
        results = postprocess(prediction, ori_shapes, self.max_per_img)
        for sample, instances in zip(data_samples, results, strict=True):
            sample.pred_instances = instances
        return data_samples
