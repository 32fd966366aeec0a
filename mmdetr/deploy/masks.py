"""From the mask logits of an exported network to masks and panoptic segments, with numpy alone.

Legend: P queries, h w size of the logits, H W size of the original image.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmdetr.utils.mask_frame import Frame, nearest_centred

from .detections import PanopticSegments
from .run_lengths import encode


class Axis:
    """Where the pixels of one side of the original lie between the logits.

    Args:
        kept: int [H] pixels of the padded input that stay.
        size: Logits along the side.
        full: Pixels of the padded input along it.
    """

    def __init__(self, kept: np.ndarray, size: int, full: int) -> None:
        scale = np.float32(size / full)
        place = np.maximum(scale * (kept.astype(np.float32) + np.float32(0.5)) - np.float32(0.5), 0)
        self.size = size
        self.lower = np.minimum(place.astype(np.int64), size - 1)
        self.upper = np.minimum(self.lower + 1, size - 1)
        self.weight = (place - self.lower).astype(np.float32)

    def span(self, first: int, last: int) -> slice:
        """Return the pixels that the logits first..last have a part in."""
        start = np.searchsorted(self.upper, first)
        return slice(int(start), int(np.searchsorted(self.lower, last, side='right')))

    def spread(self, logits: np.ndarray, span: slice = slice(None)) -> np.ndarray:
        """Interpolate along the first axis: [h, ...] -> [H, ...]."""
        lower, upper = logits[self.lower[span]], logits[self.upper[span]]
        weight = self.weight[span, None]
        return lower + weight * (upper - lower)


class MaskSampler:
    """Enlarge logits of an image bilinearly to the padded input, cut, resize by nearest pixel.

    As :class:`mmdetr.models.heads.mask_sampling.MaskSampler`, to rounding.

    Args:
        size: (h, w).
        frame: Sizes of the image.
        centred: Which pixel is nearest: as PIL counts, from the centres, or as torch does.
    """

    def __init__(self, size: Sequence[int], frame: Frame, centred: bool) -> None:
        nearest = nearest_centred if centred else _nearest
        self.rows, self.columns = (
            Axis(nearest(cut, wanted), low, full)
            for low, full, cut, wanted in zip(size, *frame, strict=True)
        )
        self.original = frame.original

    def logits(self, logits: np.ndarray) -> np.ndarray:
        """Logits [h, w] of a query -> [W, H]: columns first, as COCO's run lengths count pixels."""
        return self.rows.spread(self.columns.spread(logits.T).T).T

    def mask(self, logits: np.ndarray) -> np.ndarray:
        """Logits [h, w] of a query -> bool [W, H], true where they are above zero.

        Only the pixels about logits above zero are computed.
        """
        mask = np.zeros(self.original[::-1], bool)
        above = logits > 0
        rows, columns = (np.flatnonzero(above.any(axis)) for axis in (1, 0))
        if len(rows):
            right = self.columns.span(columns[0], columns[-1])
            down = self.rows.span(rows[0], rows[-1])
            part = self.rows.spread(self.columns.spread(logits.T, right).T, down)
            mask[right, down] = part.T > 0
        return mask


def _nearest(size: int, wanted: int) -> np.ndarray:
    """Index [wanted] of the pixel that torch's interpolation takes as nearest of ``size``."""
    scale = np.float32(size) / np.float32(wanted)
    return np.minimum((np.arange(wanted, dtype=np.float32) * scale).astype(np.int64), size - 1)


def encode_masks(logits: np.ndarray, frame: Frame) -> list[dict[str, Any]]:
    """Turn logits [P, h, w] into run-length codes, see mask_postprocess.encode_masks."""
    sampler = MaskSampler(logits.shape[-2:], frame, centred=False)
    return [encode(sampler.mask(each)) for each in logits]


def make_segments(
    logits: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    frame: Frame,
    things: Sequence[int],
    score_thr: float,
    min_area: int,
) -> PanopticSegments:
    """Give every pixel to the query with the highest logit, see mask_postprocess.

    Args:
        logits: [N, h, w] over the padded input, of all queries.
        scores: [N], zero for those that predict no object.
        labels: [N]
        frame: Sizes of the image.
        things, score_thr, min_area: As of PanopticSegmentation.
    """
    kept = np.flatnonzero(scores > score_thr)
    logits, scores, classes = logits[kept], scores[kept], labels[kept].tolist()
    sampler = MaskSampler(logits.shape[-2:], frame, centred=True)
    left = list(range(len(kept)))
    owners = _merge_stuff(_owners(logits, left, sampler), classes, things)
    areas: list[int] = []
    while left:
        areas = np.bincount(owners.reshape(-1), minlength=len(left)).tolist()
        large = [i for i, area in enumerate(areas) if area > min_area]
        if len(large) == len(left):
            break
        left = [left[i] for i in large]
        owners = _owners(logits, left, sampler)
    ids = owners.T + 1 if left else np.zeros(frame.original, np.int64)
    segments = [
        dict(
            id=place + 1,
            label=classes[query],
            isthing=classes[query] in things,
            area=area,
            score=float(scores[query]),
        )
        for place, (query, area) in enumerate(zip(left, areas if left else [], strict=True))
    ]
    return PanopticSegments(ids.astype(np.int32), segments)


def _merge_stuff(owners: np.ndarray, classes: Sequence[int], things: Sequence[int]) -> np.ndarray:
    """Let the first query of each class of stuff own what all of them do."""
    first: dict[int, int] = {}
    names = [
        place if label in things else first.setdefault(label, place)
        for place, label in enumerate(classes)
    ]
    return np.array(names or [0])[owners]


def _owners(logits: np.ndarray, queries: Sequence[int], sampler: MaskSampler) -> np.ndarray:
    """Place in ``queries`` of the highest logit of each pixel, [W, H]; the first where equal."""
    best = np.full(sampler.original[::-1], -np.inf, np.float32)
    owners = np.zeros(best.shape, np.int64)
    for place, query in enumerate(queries):
        mine = sampler.logits(logits[query])
        owners[mine > best] = place
        np.maximum(best, mine, out=best)
    return owners
