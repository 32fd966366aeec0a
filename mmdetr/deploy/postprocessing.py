"""From the raw output of an exported network to detections, with numpy alone.

Legend: B images, N queries, K classes, M detections, h w size of mask logits.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mmdetr.utils.mask_frame import Frame

from .detections import ImageDetections
from .masks import encode_masks, make_segments
from .metadata import ExportMetadata


def to_detections(
    logits: np.ndarray,
    bboxes: np.ndarray,
    frames: Sequence[Frame],
    metadata: ExportMetadata,
    masks: np.ndarray | None = None,
) -> list[ImageDetections]:
    """Make detections as the detector's head does in ``predict``.

    Args:
        logits: float32 [B, N, K + 1] with no-object last, or [B, N, K].
        bboxes: float32 [B, N, 4] cxcywh in 0..1 of the unpadded image.
        frames: Sizes of the B images.
        metadata: Of the file.
        masks: float32 [B, N, h, w] logits over the padded input, of a model with masks.
    """
    probabilities = _softmax(logits)[..., :-1] if metadata.has_no_object else _sigmoid(logits)
    choose = _best_class_of_each if metadata.has_no_object else _best_pairs
    center, size = bboxes[..., :2], bboxes[..., 2:]
    corners = np.concatenate((center - 0.5 * size, center + 0.5 * size), axis=-1)
    results = []
    for i, frame in enumerate(frames):
        height, width = frame.original
        scores, labels, queries = choose(probabilities[i], metadata.max_per_img)
        pixels = corners[i][queries] * np.array((width, height, width, height), np.float32)
        found = ImageDetections(pixels, scores, labels)
        if masks is not None:
            rated = _rate(probabilities[i], logits[i], metadata.has_no_object)
            found = add_masks(found, masks[i], queries, rated, frame, metadata)
        results.append(found)
    return results


def add_masks(
    found: ImageDetections,
    logits: np.ndarray,
    queries: np.ndarray,
    rated: tuple[np.ndarray, np.ndarray],
    frame: Frame,
    metadata: ExportMetadata,
) -> ImageDetections:
    """Make the masks and segments of an image that its file's metadata asks for.

    Args:
        found: M detections.
        logits: float32 [N, h, w] over the padded input.
        queries: int [M] which of them each detection's is.
        rated: Score, zero of no object, and label of each query, [N].
        frame: Sizes of the image.
        metadata: Of the file.
    """
    masks = segments = None
    if metadata.masks:
        chosen, places = np.unique(queries, return_inverse=True)
        codes = encode_masks(logits[chosen], frame)
        masks = [codes[place] for place in places]
    if metadata.panoptic is not None:
        segments = make_segments(logits, *rated, frame, **metadata.panoptic)
    return replace(found, masks=masks, panoptic=segments)


def _rate(
    probabilities: np.ndarray, logits: np.ndarray, has_no_object: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Best probability and label of each query [N], the first zero where it predicts no object."""
    labels = probabilities.argmax(-1)
    best = logits.max(-1)
    is_object = logits.argmax(-1) == labels if has_no_object else best > 0
    return probabilities.max(-1) * is_object, labels


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
