"""Detection in batches of images of one size, so that no image is padded for another's sake."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseModel

from mmdetr.structures import DetDataSample

from .images import to_pipeline_input
from .inference import test_pipeline
from .sources import Picture
from .threads import leave_threads_to_parent


def detect_in_batches(
    model: BaseModel, pictures: Iterable[Picture], batch_size: int = 1
) -> Iterator[tuple[Picture, DetDataSample]]:
    """Detect objects in pictures, which come back in their order.

    Of ``batch_size`` pictures in succession, those that the network sees in one size share a pass.

    Args:
        model: From :func:`~mmdetr.apis.init_detector`.
        pictures: Any number of them; no more than a batch is kept at a time.
        batch_size: Most pictures of a pass.
    """
    leave_threads_to_parent()
    left = iter(pictures)
    while chunk := list(islice(left, batch_size)):
        yield from zip(chunk, _detect(model, chunk), strict=True)


@torch.no_grad()
def _detect(model: BaseModel, pictures: list[Picture]) -> list[DetDataSample]:
    load, transform = test_pipeline(model)
    batches: dict[tuple, list[tuple[int, Any]]] = defaultdict(list)
    for number, picture in enumerate(pictures):
        data: Any = transform(dict(to_pipeline_input(picture.image, load), img_id=number))
        batches[tuple(data['inputs'].shape)].append((number, data))
    samples: dict[int, DetDataSample] = {}
    for batch in batches.values():
        numbers, data = zip(*batch, strict=True)
        samples |= zip(numbers, model.test_step(pseudo_collate(data)), strict=True)
    return [samples[number] for number in range(len(pictures))]
