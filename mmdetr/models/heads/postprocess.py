"""From the raw set prediction to detections.

Legend: B images, N queries, K classes.
"""

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from mmdetr.structures import SetPrediction, cxcywh_to_xyxy


def postprocess(
    prediction: SetPrediction,
    ori_shapes: list[tuple[int, int]],
    max_per_img: int | None = None,
) -> list[InstanceData]:
    """Turn the last layer's predictions into detections in the original images.

    Classes that share a softmax with no-object: every query gives one detection, its best class
    other than no-object, scored by that class's probability. Independent (sigmoid) classes: the
    best pairs of query and class, so a box may appear with several labels. Boxes are unclipped.

    Args:
        prediction: Raw prediction; the last layer is used.
        ori_shapes: (height, width) of the B original images in pixels.
        max_per_img: Keep that many detections with the highest scores, sorted. None keeps N: with
            softmax all queries in their order, with sigmoids the best N pairs, sorted.

    Returns:
        B instances with ``bboxes`` [M, 4] (absolute xyxy), ``scores`` [M], ``labels`` [M] and
        ``queries`` [M], the query that each comes from.

    Source: paper section 4 ("override the prediction of these slots with the second highest
        scoring class"); order and missing clipping as in the authors' code. Pairs of query and
        class: Deformable DETR, authors' code.
    """
    sizes = torch.tensor(ori_shapes, device=prediction.bboxes.device)
    columns = choose_detections(prediction, sizes, max_per_img)
    names = ('bboxes', 'scores', 'labels', 'queries')
    return [
        InstanceData(**dict(zip(names, each, strict=True))) for each in zip(*columns, strict=True)
    ]


def choose_detections(
    prediction: SetPrediction, sizes: Tensor, max_per_img: int | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Do the work of :func:`postprocess` in tensors alone, so that it can be exported.

    Args:
        prediction: As there.
        sizes: [B, 2] height and width of the original images in pixels.
        max_per_img: As there.

    Returns:
        Boxes [B, M, 4], scores, labels and queries [B, M].
    """
    last = prediction.layer(-1).float()
    bboxes_xyxy = cxcywh_to_xyxy(last.bboxes[0])
    bboxes_xyxy = bboxes_xyxy * sizes.to(bboxes_xyxy).flip(-1).repeat(1, 2)[:, None]
    choose = _best_class_of_each if last.class_activation.has_no_object else _best_pairs
    scores, labels, queries = choose(last.probabilities[0], max_per_img)
    return bboxes_xyxy.gather(1, queries[..., None].expand(-1, -1, 4)), scores, labels, queries


def _best_class_of_each(
    probabilities: Tensor, max_per_img: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """[B, N, K] -> scores, labels and queries [B, M], one class for each query."""
    scores, labels = probabilities.max(-1)
    if max_per_img is None:
        return scores, labels, torch.arange(scores.shape[1], device=scores.device).expand_as(labels)
    scores, queries = scores.topk(min(max_per_img, scores.shape[1]))
    return scores, labels.gather(1, queries), queries


def _best_pairs(probabilities: Tensor, max_per_img: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """[B, N, K] -> scores, labels and queries [B, M], best pairs of query and class first."""
    num_queries, num_classes = probabilities.shape[1:]
    flat = probabilities.flatten(1)
    scores, index = flat.topk(min(max_per_img or num_queries, flat.shape[1]))
    return scores, index % num_classes, index // num_classes
