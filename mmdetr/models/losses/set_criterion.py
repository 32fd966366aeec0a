"""The set prediction loss.

Legend: L decoder layers, B images, N queries, K classes, M objects of one image, P matched pairs.
"""

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.logging import print_log
from torch import Tensor, nn

from mmdetr.models.assigners.hungarian_assigner import Assignment, NonFinitePredictionError
from mmdetr.registry import MODELS, TASK_UTILS
from mmdetr.structures import DetDataSample, SetPrediction, SetTarget, xyxy_to_cxcywh


@MODELS.register_module()
class SetCriterion(nn.Module):
    """Match predictions with objects, then sum classification and box losses.

    All decoder layers and images go through each step together. Costs and losses are computed in
    float32, under mixed precision too. Both divisors are means over the ranks, so a distributed
    batch gives the gradient of the same batch in one process.

    Args:
        num_classes: K; the head passes it.
        assigner: Config of the assigner.
        loss_cls: Config of the classification loss.
        loss_bbox: Config of the L1 loss; ``None`` drops it.
        loss_giou: Config of the GIoU loss; ``None`` drops it.
        aux_loss: Also supervise all decoder layers before the last.

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
        self._num_surplus_images = 0

    def forward(
        self, prediction: SetPrediction, data_samples: list[DetDataSample]
    ) -> dict[str, Tensor]:
        """Compute the losses.

        Args:
            prediction: Output of the head, L layers.
            data_samples: B samples with ``gt_instances`` (absolute xyxy in the frame of the
                network input) and ``img_shape``.

        Returns:
            Weighted ``loss_cls``, ``loss_bbox``, ``loss_giou`` of the last layer, ``d{i}.loss_*``
            of layer i before it; ``class_error`` (percent of matched queries of the last layer
            with the wrong class; 100 without objects, as in the authors' code) and
            ``cardinality_error`` (mean absolute difference between objects predicted and present).
            For :class:`~mmdetr.engine.hooks.CollapseWatchHook`, of the last layer:
            ``object_share`` (queries whose best class is not no-object), ``box_spread`` (standard
            deviation over an image's queries, mean of the four coordinates in 0..1),
            ``matched_score`` (mean probability of the right class over matched queries, 0 without
            objects), ``num_matched`` and ``num_correct`` of them.

        Raises:
            FloatingPointError: A prediction is NaN or infinite; names the images.
            ValueError: A label lies outside 0..K-1; names the image.
        """
        with torch.autocast(prediction.logits.device.type, enabled=False):
            prediction = SetPrediction(prediction.logits.float(), prediction.bboxes.float())
            targets = [self._target(sample, prediction.bboxes) for sample in data_samples]
            labels = torch.cat([target.labels for target in targets])
            self._check_labels(labels, data_samples)
            self._count_surplus(targets, prediction.bboxes.shape[2])
            try:
                assignment = self.assigner(prediction, targets)
            except NonFinitePredictionError as error:
                ids = [data_samples[i].metainfo.get('img_id', i) for i in error.images]
                raise FloatingPointError(
                    f'non-finite predictions for the images with id {ids}: look for a diverging '
                    'learning rate, bad boxes in these images or float16 overflow'
                ) from error
            target_labels = self._target_labels(prediction, assignment, labels)
            losses = self._losses(prediction, targets, assignment, target_labels)
            logged = self._logged(prediction, target_labels[-1], targets)
        return {**losses, **logged}

    def _target(self, data_sample: DetDataSample, like: Tensor) -> SetTarget:
        """Ground truth to the criterion's frame: absolute xyxy -> cxcywh in 0..1."""
        height, width = data_sample.metainfo['img_shape'][:2]
        instances = data_sample.gt_instances
        bboxes_xyxy = instances.bboxes.to(like)
        scale = bboxes_xyxy.new_tensor((width, height, width, height))
        return SetTarget(instances.labels.to(like.device), xyxy_to_cxcywh(bboxes_xyxy / scale))

    def _check_labels(self, labels: Tensor, data_samples: list[DetDataSample]) -> None:
        """The label K would silently train a class as no-object."""
        if not ((labels < 0) | (labels >= self.num_classes)).any():
            return
        for sample in data_samples:
            own = sample.gt_instances.labels
            wrong = own[(own < 0) | (own >= self.num_classes)]
            if len(wrong):
                raise ValueError(
                    f'image {sample.metainfo.get("img_id")} has labels {wrong.unique().tolist()}, '
                    f'outside 0..{self.num_classes - 1}: set bbox_head.num_classes to the number '
                    'of classes of the dataset'
                )

    def _count_surplus(self, targets: list[SetTarget], num_queries: int) -> None:
        """Warn of images with more objects than queries, ever more rarely."""
        most = max(len(target.labels) for target in targets)
        if most <= num_queries:
            return
        before = self._num_surplus_images
        self._num_surplus_images += sum(len(target.labels) > num_queries for target in targets)
        if len(str(self._num_surplus_images)) > len(str(before)) or not before:
            print_log(
                f'{self._num_surplus_images} training images so far had more objects than the '
                f'{num_queries} queries (here {most}): the surplus objects go unmatched. Raise '
                'num_queries.',
                logger='current',
                level=30,
            )

    def _target_labels(
        self, prediction: SetPrediction, assignment: Assignment, labels: Tensor
    ) -> Tensor:
        """Class every query should predict, [L, B, N], K for no-object."""
        target_labels = torch.full(
            prediction.logits.shape[:3], self.num_classes, device=labels.device
        )
        target_labels[assignment.matched] = labels[assignment.target]
        return target_labels

    def _losses(
        self,
        prediction: SetPrediction,
        targets: list[SetTarget],
        assignment: Assignment,
        target_labels: Tensor,
    ) -> dict[str, Tensor]:
        num_bboxes = sum(len(target.labels) for target in targets)
        num_matched = assignment.query.shape[1]
        weight_sum = self.loss_cls.weight_sum(num_matched, target_labels[0].numel() - num_matched)
        factors = torch.tensor((num_bboxes, weight_sum), dtype=torch.float32)
        factors = factors.to(target_labels.device, non_blocking=True)
        if get_world_size() > 1:
            all_reduce(factors, op='mean')
        bbox_factor, cls_factor = factors[0].clamp(min=1), factors[1]

        layers = {'loss_cls': self.loss_cls(prediction.logits, target_labels, cls_factor)}
        bboxes = prediction.bboxes[assignment.matched]
        target_bboxes = torch.cat([target.bboxes for target in targets])[assignment.target]
        for name, loss in self.bbox_losses.items():
            layers[name] = loss(bboxes, target_bboxes, bbox_factor)

        losses = {name: values[-1] for name, values in layers.items()}
        for i in range(len(target_labels) - 1):
            losses |= {f'd{i}.{name}': values[i] for name, values in layers.items()}
        return losses

    @torch.no_grad()
    def _logged(
        self, prediction: SetPrediction, target_labels: Tensor, targets: list[SetTarget]
    ) -> dict[str, Tensor]:
        """What is logged of the last layer beside the losses."""
        logits, bboxes = prediction.logits[-1], prediction.bboxes[-1]
        predicted = logits.argmax(-1)
        is_object = predicted != self.num_classes
        matched = target_labels != self.num_classes
        num_matched = matched.sum().float()
        num_correct = (matched & (predicted == target_labels)).sum().float()
        scores = logits.softmax(-1).gather(-1, target_labels[..., None])[..., 0]
        counts = torch.tensor([len(target.labels) for target in targets], device=logits.device)
        return dict(
            class_error=100 - 100 * num_correct / num_matched.clamp(min=1),
            cardinality_error=(is_object.sum(-1) - counts).abs().float().mean(),
            object_share=is_object.float().mean(),
            box_spread=bboxes.std(1, correction=0).mean(),
            matched_score=(scores * matched).sum() / num_matched.clamp(min=1),
            num_matched=num_matched,
            num_correct=num_correct,
        )
