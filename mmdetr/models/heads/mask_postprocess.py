"""From mask logits to instance masks and panoptic segments.

Legend: N queries, K classes, h w size of the logits, H W size of the original image.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from mmdetr.registry import TASK_UTILS
from mmdetr.structures import PanopticResult, PanopticSegment, SetPrediction
from mmdetr.utils.arguments import check_at_least
from mmdetr.utils.mask_frame import Frame

from .mask_sampling import MaskSampler

_GPU_MASKS = 32  # of an image, at once


def encode_masks(logits: Tensor, frame: Frame) -> list[dict[str, Any]]:
    """Turn logits into binary masks of the original image, one after the other.

    Args:
        logits: [N, h, w] over the padded input.
        frame: Sizes of the image.

    Returns:
        N run-length codes as pycocotools has them, ``size`` [H, W] and ``counts`` in bytes; an
        empty mask has one, too.

    Source: the authors' ``PostProcessSegm``: probability above one half at the size of the network
        input, then nearest pixel. No mask is scored, sorted or removed.
    """
    sampler = MaskSampler(logits.shape[-2:], frame, centred=False, device=logits.device)
    masks = _cpu_masks if logits.device.type == 'cpu' else _gpu_masks
    return [coco_mask.encode(mask.T) for mask in masks(logits.float(), sampler)]


def _cpu_masks(logits: Tensor, sampler: MaskSampler) -> Iterator[np.ndarray]:
    """Binary masks [W, H] of logits [N, h, w]."""
    for each in logits:
        yield sampler.mask(each).numpy()


def _gpu_masks(logits: Tensor, sampler: MaskSampler) -> Iterator[np.ndarray]:
    """As :func:`_cpu_masks`, but whole masks and many at once: a GPU waits for each transfer."""
    for chunk in logits.split(_GPU_MASKS):
        yield from (sampler.logits(chunk) > 0).to(torch.uint8).cpu().numpy()


@TASK_UTILS.register_module()
class PanopticSegmentation:
    """Give every pixel to the query with the highest mask logit there.

    Queries that predict no object, or their class with a probability of ``score_thr`` or less, take
    no part. Queries of one class of stuff become one segment. Then queries with ``min_area`` pixels
    or fewer are dropped and their pixels given anew, until none is as small.

    Args:
        things: Classes that are counted, 0..things-1; or a list of their labels. The others are
            stuff.
        score_thr: Probability that a query must exceed.
        min_area: Pixels of the original image that a segment must exceed.

    Source: paper section 4.4 and the authors' ``PostProcessPanoptic``, two of whose features show
        in results: no pixel stays unlabelled unless nothing is found, however low its logits; and
        a query of stuff that was merged into another has no pixels left and is dropped, so that its
        pixels go to whoever is second there. Different here: padding is cut off before the last
        resize (theirs squeezes it into the image), and segments are numbered from 1.
    """

    def __init__(
        self, things: int | Sequence[int], score_thr: float = 0.85, min_area: int = 4
    ) -> None:
        check_at_least(0, 'PanopticSegmentation', score_thr=score_thr, min_area=min_area)
        self.things: Collection[int] = range(things) if isinstance(things, int) else set(things)
        self.score_thr = score_thr
        self.min_area = min_area

    def rate(self, prediction: SetPrediction) -> tuple[Tensor, Tensor]:
        """Return score and label of each query, [B, N] both, of the prediction's last layer."""
        scores, labels = prediction.layer(-1).float().probabilities[0].max(-1)
        return scores, labels

    def keep(self, prediction: SetPrediction) -> Tensor:
        """Return which queries take part, bool [B, N], by the prediction's last layer."""
        scores, labels = self.rate(prediction)
        is_object = prediction.layer(-1).float().predicted_labels[0] == labels
        return is_object & (scores > self.score_thr)

    def __call__(
        self, masks: Tensor, scores: Tensor, labels: Tensor, frame: Frame
    ) -> PanopticResult:
        """Segment one image.

        Args:
            masks: Logits [N, h, w] of the chosen queries over the padded input.
            scores: [N]
            labels: [N]
            frame: Sizes of the image.
        """
        sampler = MaskSampler(masks.shape[-2:], frame, centred=True, device=masks.device)
        classes = labels.tolist()
        left = list(range(len(masks)))
        owners = self._merge_stuff(_owners(masks, left, sampler), classes)
        while left:
            areas = _areas(owners, len(left))
            large = [i for i, area in enumerate(areas) if area > self.min_area]
            if len(large) == len(left):
                break
            left = [left[i] for i in large]
            owners = _owners(masks, left, sampler)
        ids = owners.t().cpu().numpy() if left else np.full(frame.original, -1)
        segments = [
            PanopticSegment(
                id=i + 1,
                label=classes[query],
                isthing=classes[query] in self.things,
                area=area,
                score=float(scores[query]),
            )
            for i, (query, area) in enumerate(zip(left, areas if left else [], strict=True))
        ]
        return PanopticResult((ids + 1).astype(np.int32), segments)

    def _merge_stuff(self, owners: Tensor, classes: Sequence[int]) -> Tensor:
        """Let the first query of each class of stuff own what all of them do."""
        first: dict[int, int] = {}
        names = list(range(len(classes)))
        for i, label in enumerate(classes):
            if label not in self.things:
                names[i] = first.setdefault(label, i)
        return torch.tensor(names or [0], device=owners.device)[owners]


def _owners(masks: Tensor, queries: Sequence[int], sampler: MaskSampler) -> Tensor:
    """Place in ``queries`` of the highest logit of each pixel, [W, H]; the first where equal."""
    height, width = sampler.original
    best = masks.new_full((width, height), -torch.inf, dtype=torch.float32)
    owners = torch.zeros(width, height, dtype=torch.long, device=masks.device)
    for place, query in enumerate(queries):
        logits = sampler.logits(masks[query : query + 1])[0]
        owners = torch.where(logits > best, place, owners)
        torch.maximum(best, logits, out=best)
    return owners


def _areas(owners: Tensor, count: int) -> list[int]:
    return owners.flatten().bincount(minlength=count).tolist()
