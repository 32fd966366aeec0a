"""From the raw output of an exported network to detections, with numpy alone.

Legend: B images, N queries, K classes, M detections.
"""

from collections.abc import Sequence

import numpy as np

from .detections import ImageDetections
from .metadata import ExportMetadata


def to_detections(
    logits: np.ndarray,
    bboxes: np.ndarray,
    original_sizes: Sequence[tuple[int, int]],
    metadata: ExportMetadata,
) -> list[ImageDetections]:
    """Make detections as :func:`mmdetr.models.heads.postprocess.postprocess` does.

    Args:
        logits: float32 [B, N, K + 1] with no-object last, or [B, N, K].
        bboxes: float32 [B, N, 4] cxcywh in 0..1 of the unpadded image.
        original_sizes: (height, width) of the B original images.
        metadata: Of the file.
    """
    probabilities = _softmax(logits)[..., :-1] if metadata.has_no_object else _sigmoid(logits)
    choose = _best_class_of_each if metadata.has_no_object else _best_pairs
    center, size = bboxes[..., :2], bboxes[..., 2:]
    corners = np.concatenate((center - 0.5 * size, center + 0.5 * size), axis=-1)
    results = []
    for each, boxes, (height, width) in zip(probabilities, corners, original_sizes, strict=True):
        scores, labels, queries = choose(each, metadata.max_per_img)
        pixels = boxes[queries] * np.array((width, height, width, height), np.float32)
        results.append(ImageDetections(pixels, scores, labels))
    return results


def _best_class_of_each(
    probabilities: np.ndarray, max_per_img: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[N, K] -> scores, labels and queries [M], one class for each query."""
    labels = probabilities.argmax(-1)
    scores = probabilities.max(-1)
    if max_per_img is None:
        return scores, labels, np.arange(len(scores))
    queries = np.argsort(-scores, kind='stable')[:max_per_img]
    return scores[queries], labels[queries], queries


def _best_pairs(
    probabilities: np.ndarray, max_per_img: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[N, K] -> scores, labels and queries [M], best pairs of query and class first."""
    num_queries, num_classes = probabilities.shape
    flat = probabilities.reshape(-1)
    index = np.argsort(-flat, kind='stable')[: max_per_img or num_queries]
    return flat[index], index % num_classes, index // num_classes


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    # Of the smaller magnitude, which does not overflow.
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1, small) / (1 + small)
