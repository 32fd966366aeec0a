"""The set prediction loss.

Legend: L decoder layers, B images, N queries, K classes, M objects of one image, P matched pairs.
"""

from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.logging import print_log
from torch import Tensor, nn

from mmdetr.models.assigners.hungarian_assigner import Assignment, NonFinitePredictionError
from mmdetr.registry import MODELS, TASK_UTILS
from mmdetr.structures import (
    DetDataSample,
    SetPrediction,
    SetTarget,
    cxcywh_to_xyxy,
    intersection_over_union,
    xyxy_to_cxcywh,
)


def mean_over_ranks(values: Sequence[float], device: torch.device) -> Tensor:
    """Return numbers of this rank as a float32 tensor, averaged with those of the others."""
    means = torch.tensor(values, dtype=torch.float32).to(device, non_blocking=True)
    if get_world_size() > 1:
        all_reduce(means, op='mean')
    return means


@MODELS.register_module()
class SetCriterion(nn.Module):
    """Match predictions with objects, then sum classification and box losses.

    All decoder layers and images go through each step together. Costs and losses are computed in
    float32, under mixed precision too. Both divisors are means over the ranks, so a distributed
    batch gives the gradient of the same batch in one process.

    The three steps are public: ``targets``, ``match``, and ``losses`` of an assignment that may
    come from elsewhere (denoising).

    Args:
        num_classes: K; the head passes it.
        assigner: Config of the assigner.
        loss_cls: Config of the classification loss.
        loss_bbox: Config of the L1 loss; ``None`` drops it.
        loss_giou: Config of the GIoU loss; ``None`` drops it.
        aux_loss: Also supervise all decoder layers before the last.
        statistics: Config of the figures for the log; ``None`` logs losses alone.

    Source: paper section 3.1 (equation 2), section 3.2 "auxiliary decoding losses", appendix A.2.
    """

    def __init__(
        self,
        num_classes: int,
        assigner: dict,
        loss_cls: dict,
        loss_bbox: dict | None,
        loss_giou: dict | None,
        aux_loss: bool = True,
        statistics: dict | None = dict(type='PredictionStatistics'),  # noqa: B006
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.aux_loss = aux_loss
        self.assigner = TASK_UTILS.build(assigner)
        self.loss_cls = MODELS.build(loss_cls)
        self.bbox_losses = nn.ModuleDict(
            {
                name: MODELS.build(cfg)
                for name, cfg in dict(loss_bbox=loss_bbox, loss_giou=loss_giou).items()
                if cfg is not None
            }
        )
        self.statistics = None if statistics is None else TASK_UTILS.build(statistics)
        self._num_surplus_images = 0

    @property
    def last_layer_only(self) -> bool:
        """Whether the head need not predict from the decoder layers before the last."""
        return not self.aux_loss

    def forward(
        self,
        prediction: SetPrediction,
        data_samples: list[DetDataSample],
        targets: list[SetTarget] | None = None,
    ) -> dict[str, Tensor]:
        """Compute the losses.

        Args:
            prediction: Output of the head, L layers.
            data_samples: B samples with ``gt_instances`` (absolute xyxy in the frame of the
                network input) and ``img_shape``.
            targets: What :meth:`targets` makes of them, if that is known already.

        Returns:
            Weighted ``loss_cls``, ``loss_bbox``, ``loss_giou`` of the last layer, ``d{i}.loss_*``
            of layer i before it, and what :class:`PredictionStatistics` logs.

        Raises:
            FloatingPointError: A prediction is NaN or infinite; names the images.
            ValueError: A label lies outside 0..K-1; names the image.
        """
        if targets is None:
            targets = self.targets(data_samples, prediction.logits.device)
        assignment = self.assign(prediction, data_samples, targets)
        return self.evaluate(prediction, targets, assignment)

    def assign(
        self,
        prediction: SetPrediction,
        data_samples: list[DetDataSample],
        targets: list[SetTarget],
    ) -> Assignment:
        """Match in float32, see :meth:`match`.

        Raises:
            FloatingPointError: A prediction is NaN or infinite; names the images.
        """
        self._count_surplus(data_samples, targets, prediction.bboxes.shape[2])
        with torch.autocast(prediction.logits.device.type, enabled=False):
            try:
                return self.match(prediction.float(), targets)
            except NonFinitePredictionError as error:
                ids = [data_samples[i].metainfo.get('img_id', i) for i in error.images]
                raise FloatingPointError(
                    f'non-finite predictions for the images with id {ids}: look for a diverging '
                    'learning rate, bad boxes in these images or float16 overflow'
                ) from error

    def evaluate(
        self, prediction: SetPrediction, targets: list[SetTarget], assignment: Assignment
    ) -> dict[str, Tensor]:
        """Compute losses and logged figures of an assignment in float32."""
        with torch.autocast(prediction.logits.device.type, enabled=False):
            prediction = prediction.float()
            losses = self.losses(prediction, targets, assignment)
            if self.statistics is not None:
                last = prediction.layer(-1)
                labels = self.target_labels(last, targets, assignment.layer(-1))
                losses |= self.statistics(last, labels, targets)
        return losses

    def targets(self, data_samples: list[DetDataSample], device: torch.device) -> list[SetTarget]:
        """Bring ground truth to the criterion's frame: absolute xyxy -> cxcywh in 0..1.

        Args:
            data_samples: As in :meth:`forward`.
            device: Where the targets are wanted.

        Raises:
            ValueError: A label lies outside 0..K-1; names the image.
        """
        self._check_labels(data_samples)
        targets = []
        for sample in data_samples:
            height, width = sample.metainfo['img_shape'][:2]
            bboxes_xyxy = sample.gt_instances.bboxes.to(device, torch.float32)
            scale = bboxes_xyxy.new_tensor((width, height, width, height))
            labels = sample.gt_instances.labels.to(device)
            targets.append(SetTarget(labels, xyxy_to_cxcywh(bboxes_xyxy / scale)))
        return targets

    def match(self, prediction: SetPrediction, targets: list[SetTarget]) -> Assignment:
        """Assign objects to queries, in every layer (equation 1).

        Raises:
            NonFinitePredictionError: A prediction is NaN or infinite.
        """
        return self.assigner(prediction, targets)

    def losses(
        self,
        prediction: SetPrediction,
        targets: list[SetTarget],
        assignment: Assignment,
        num_copies: int = 1,
    ) -> dict[str, Tensor]:
        """Compute the losses of a given assignment (equation 2), see :meth:`forward`.

        Args:
            prediction: float32 prediction of L layers.
            targets: The objects of each image.
            assignment: Which query of which layer stands for which object; the same number of
                pairs in each layer. An object may have several queries.
            num_copies: How often each object counts in the divisors; the groups of denoising.
        """
        target_labels = self.target_labels(prediction, targets, assignment)
        num_bboxes = num_copies * sum(len(target.labels) for target in targets)
        num_matched = assignment.query.shape[1]
        cls_weight = self.loss_cls.avg_factor(num_bboxes, num_matched, target_labels[0].numel())
        bbox_factor, cls_factor = mean_over_ranks((num_bboxes, cls_weight), target_labels.device)
        bbox_factor = bbox_factor.clamp(min=1)

        bboxes = prediction.bboxes[assignment.matched]
        target_bboxes = torch.cat([target.bboxes for target in targets])[assignment.target]
        classes = self.classification_loss(
            prediction, targets, assignment, target_labels, cls_factor
        )
        layers = {'loss_cls': classes}
        for name, loss in self.bbox_losses.items():
            layers[name] = loss(bboxes, target_bboxes, bbox_factor)

        losses = {name: values[-1] for name, values in layers.items()}
        for i in range(len(target_labels) - 1):
            losses |= {f'd{i}.{name}': values[i] for name, values in layers.items()}
        return losses

    def classification_loss(
        self,
        prediction: SetPrediction,
        targets: list[SetTarget],
        assignment: Assignment,
        target_labels: Tensor,
        avg_factor: Tensor,
    ) -> Tensor:
        """Compute the classification loss of each layer, [L].

        A loss with ``needs_ious`` is told the IoU of each matched query and its object as well.
        """
        if not getattr(self.loss_cls, 'needs_ious', False):
            return self.loss_cls(prediction, target_labels, avg_factor)
        bboxes = prediction.bboxes.detach()[assignment.matched]
        target_bboxes = torch.cat([target.bboxes for target in targets])[assignment.target]
        ious = bboxes.new_zeros(target_labels.shape)
        ious[assignment.matched] = intersection_over_union(
            cxcywh_to_xyxy(bboxes), cxcywh_to_xyxy(target_bboxes)
        )
        return self.loss_cls(prediction, target_labels, avg_factor, ious)

    def target_labels(
        self, prediction: SetPrediction, targets: list[SetTarget], assignment: Assignment
    ) -> Tensor:
        """Return the class that every query should predict, [L, B, N], K for no object."""
        labels = torch.cat([target.labels for target in targets])
        target_labels = torch.full(
            prediction.logits.shape[:3], self.num_classes, device=labels.device
        )
        target_labels[assignment.matched] = labels[assignment.target]
        return target_labels

    def _check_labels(self, data_samples: list[DetDataSample]) -> None:
        """The label K would silently train a class as no-object."""
        for sample in data_samples:
            labels = sample.gt_instances.labels
            if len(labels) == 0:
                continue
            # The preprocessor looks at labels before they move: a GPU would have to be waited for.
            limits = sample.metainfo.get('label_range') or [v.item() for v in labels.aminmax()]
            if limits[0] < 0 or limits[1] >= self.num_classes:
                wrong = labels[(labels < 0) | (labels >= self.num_classes)]
                raise ValueError(
                    f'image {sample.metainfo.get("img_id")} has labels {wrong.unique().tolist()}, '
                    f'outside 0..{self.num_classes - 1}: set bbox_head.num_classes to the number '
                    'of classes of the dataset'
                )

    def _count_surplus(
        self, data_samples: list[DetDataSample], targets: list[SetTarget], num_queries: int
    ) -> None:
        """Warn of images with more objects than queries: at the 1st, 10th, 100th and so on."""
        counts = [len(target.labels) for target in targets]
        most = max(counts)
        if most <= num_queries:
            return
        image = data_samples[counts.index(most)].metainfo.get('img_id')
        before = self._num_surplus_images
        self._num_surplus_images += sum(count > num_queries for count in counts)
        if len(str(self._num_surplus_images)) > len(str(before)) or not before:
            print_log(
                f'{self._num_surplus_images} training images so far had more objects than the '
                f'{num_queries} queries (image id {image} has {most}): the surplus objects go '
                'unmatched. Raise num_queries.',
                logger='current',
                level=30,
            )
