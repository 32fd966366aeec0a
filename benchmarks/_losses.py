"""Losses and training steps of DETR-R50 here, in transformers and in the authors' code."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from _common import COCO_CONFIG
from _models import NUM_CLASSES, Built, authors, exact_convolutions, images, nested, ours, theirs
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdetr.registry import MODELS
from mmdetr.structures import DetDataSample, SetPrediction, cxcywh_to_xyxy

WEIGHT_DECAY, LEARNING_RATE, MAX_NORM = 1e-4, 1e-6, 0.1
# Boxes [M, 4], cxcywh in 0..1, and labels [M] of each image.
Targets = list[tuple[Tensor, Tensor]]


def objects(batch: int, count: int, num_classes: int = NUM_CLASSES) -> Targets:
    """``count`` random objects in each image."""
    generator = torch.Generator().manual_seed(1)
    scale, shift = torch.tensor([0.5, 0.5, 0.4, 0.4]), torch.tensor([0.25, 0.25, 0.05, 0.05])
    return [
        (
            torch.rand(count, 4, generator=generator) * scale + shift,
            torch.randint(0, num_classes, (count,), generator=generator),
        )
        for _ in range(batch)
    ]


def data_samples(
    targets: Targets, height: int, width: int, with_masks: bool = False
) -> list[DetDataSample]:
    """Ground truth of images of one size; masks fill their boxes."""
    samples = []
    for i, (bboxes, labels) in enumerate(targets):
        bboxes_xyxy = cxcywh_to_xyxy(bboxes) * bboxes.new_tensor([width, height, width, height])
        instances = InstanceData(bboxes=bboxes_xyxy, labels=labels)
        if with_masks:
            instances.masks = torch.zeros(len(labels), height, width, dtype=torch.bool)
            for mask, box in zip(instances.masks, bboxes_xyxy.round().int().tolist(), strict=True):
                mask[box[1] : box[3], box[0] : box[2]] = True
        shape = (height, width)
        meta = dict(img_id=i, ori_shape=shape, img_shape=shape, scale_factor=(1.0, 1.0))
        samples.append(DetDataSample(gt_instances=instances, metainfo=meta))
    return samples


# Criteria: logits [L, B, N, K+1] and boxes [L, B, N, 4] to a function that gives the weighted loss


def our_loss(logits: Tensor, bboxes: Tensor, targets: Targets) -> Callable[[], Tensor]:
    cfg = Config.fromfile(COCO_CONFIG).model.bbox_head.criterion
    criterion = MODELS.build(cfg, default_args=dict(num_classes=NUM_CLASSES))
    samples = data_samples(targets, 800, 1066)

    def loss() -> Tensor:
        losses = criterion(SetPrediction(logits, bboxes), samples)
        return torch.stack([value for name, value in losses.items() if 'loss' in name]).sum()

    return loss


def authors_loss(logits: Tensor, bboxes: Tensor, targets: Targets) -> Callable[[], Tensor]:
    layers = [
        dict(pred_logits=layer_logits, pred_boxes=layer_bboxes)
        for layer_logits, layer_bboxes in zip(logits, bboxes, strict=True)
    ]
    criterion = _authors_criterion(targets)
    return lambda: criterion(dict(layers[-1], aux_outputs=layers[:-1]))


def transformers_loss(logits: Tensor, bboxes: Tensor, targets: Targets) -> Callable[[], Tensor]:
    from transformers import DetrConfig
    from transformers.loss.loss_for_object_detection import ForObjectDetectionLoss

    config = DetrConfig(num_labels=NUM_CLASSES, auxiliary_loss=True)
    labelled = [dict(boxes=bboxes, class_labels=labels) for bboxes, labels in targets]
    last = (logits[-1], labelled, logits.device, bboxes[-1])
    return lambda: ForObjectDetectionLoss(*last, config, logits, bboxes)[0]


def _authors_criterion(targets: Targets) -> Callable[[dict], Tensor]:
    """From the outputs of their model to the weighted sum of its losses."""
    from models.detr import SetCriterion
    from models.matcher import HungarianMatcher

    last = dict(loss_ce=1.0, loss_bbox=5.0, loss_giou=2.0)
    weights = last | {f'{k}_{i}': weight for i in range(5) for k, weight in last.items()}
    matcher = HungarianMatcher(cost_class=1, cost_bbox=5, cost_giou=2)
    criterion = SetCriterion(
        NUM_CLASSES, matcher, weights, eos_coef=0.1, losses=['labels', 'boxes', 'cardinality']
    ).to(targets[0][0].device)
    labelled = [dict(boxes=bboxes, labels=labels) for bboxes, labels in targets]

    def weighted(outputs: dict) -> Tensor:
        losses = criterion(outputs, labelled)
        values = [losses[name] * weight for name, weight in weights.items() if name in losses]
        return torch.stack(values).sum()

    return weighted


# Training steps


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Rates of 0 for as long as it lasts: no two random streams share what they drop."""
    rates = [
        (module, name, getattr(module, name))
        for module in model.modules()
        for name in ('p', 'dropout')
        if isinstance(getattr(module, name, None), float)
    ]
    for module, name, _ in rates:
        setattr(module, name, 0.0)
    try:
        yield
    finally:
        for module, name, rate in rates:
            setattr(module, name, rate)


def train(
    kind: str,
    path: str,
    batch: int,
    height: int,
    width: int,
    count: int,
    device: str = 'cpu',
    **options: Any,
) -> Built:
    """Factory of a peer that does one training step: losses, gradients, clipping, AdamW."""
    inputs, _ = images(batch, height, width, padded=False, device=device)
    targets = [(bboxes.to(device), labels.to(device)) for bboxes, labels in objects(batch, count)]
    build = dict(ours=_train_ours, transformers=_train_theirs, authors=_train_authors)[kind]
    model, loss = build(path, inputs, targets, **options)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=kind == 'ours'
    )

    def run() -> None:
        loss().backward()
        nn.utils.clip_grad_norm_(trained, MAX_NORM)
        optimizer.step()
        optimizer.zero_grad()

    def outputs() -> dict[str, np.ndarray]:
        with torch.no_grad(), without_dropout(model), exact_convolutions():
            return dict(loss=np.array(float(loss())))

    return run, outputs


def _train_ours(
    path: str,
    inputs: Tensor,
    targets: Targets,
    keep_memory: bool = False,
    mixed: bool = False,
    **options: Any,
) -> tuple[nn.Module, Callable[[], Tensor]]:
    if keep_memory:
        from mmdetr.utils.memory import disable_trimming

        assert disable_trimming()
    model = ours(path, train=True, device=inputs.device, **options)
    samples = data_samples(targets, *inputs.shape[-2:])

    def loss() -> Tensor:
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=mixed):
            return model.parse_losses(model(inputs, None, samples, mode='loss'))[0]

    return model, loss


def _train_theirs(
    path: str, inputs: Tensor, targets: Targets
) -> tuple[nn.Module, Callable[[], Tensor]]:
    model = theirs(path, train=True).to(inputs.device)
    labels = [dict(class_labels=labels, boxes=bboxes) for bboxes, labels in targets]
    return model, lambda: model(pixel_values=inputs, labels=labels).loss


def _train_authors(
    path: str, inputs: Tensor, targets: Targets
) -> tuple[nn.Module, Callable[[], Tensor]]:
    model = authors(path, train=True).to(inputs.device)
    for name, parameter in model.named_parameters():
        if 'layer1' in name or name == 'backbone.0.body.conv1.weight':
            parameter.requires_grad_(False)
    criterion, given = _authors_criterion(targets), nested(inputs, None)
    return model, lambda: criterion(model(given))
