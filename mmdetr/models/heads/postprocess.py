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

    Every query gives one detection: its best class other than no-object, scored by that class's
    probability, with the box unclipped.

    Args:
        prediction: Raw prediction; the last layer is used.
        ori_shapes: (height, width) of the B original images in pixels.
        max_per_img: Keep that many detections with the highest scores, sorted; None keeps all, in
            the order of the queries.

    Returns:
        B instances with ``bboxes`` [N, 4] (absolute xyxy), ``scores`` [N] and ``labels`` [N].

    Source: paper section 4 ("override the prediction of these slots with the second highest
        scoring class"); order and missing clipping as in the authors' code.
    """
    last = prediction.layer(-1).float()
    scores, labels = last.probabilities[0].max(-1)
    bboxes_xyxy = cxcywh_to_xyxy(last.bboxes[0])
    sizes = torch.tensor(ori_shapes, dtype=bboxes_xyxy.dtype, device=bboxes_xyxy.device)
    bboxes_xyxy = bboxes_xyxy * sizes.flip(-1).repeat(1, 2)[:, None]

    results = []
    for image_bboxes, image_scores, image_labels in zip(bboxes_xyxy, scores, labels, strict=True):
        if max_per_img is not None:
            order = best_queries(image_scores, max_per_img)
            image_scores, image_labels = image_scores[order], image_labels[order]
            image_bboxes = image_bboxes[order]
        results.append(InstanceData(bboxes=image_bboxes, scores=image_scores, labels=image_labels))
    return results


def best_queries(scores: Tensor, max_per_img: int | None) -> Tensor:
    """Queries of the detections that are kept, in their order: best first, or all as they are.

    Args:
        scores: [N] scores of the queries of one image.
        max_per_img: As in :func:`postprocess`.
    """
    if max_per_img is None:
        return torch.arange(len(scores), device=scores.device)
    return scores.topk(min(max_per_img, len(scores))).indices
