"""Batches for evaluation that need no padding."""

import logging
from collections.abc import Iterator
from typing import Any

from mmengine.dataset import DefaultSampler
from mmengine.logging import print_log
from torch.utils.data import Sampler

from mmdetr.registry import DATA_SAMPLERS

from .image_sizes import Size, UnknownSizeError, input_sizes


@DATA_SAMPLERS.register_module()
class SameSizeBatchSampler(Sampler[list[int]]):
    """Batch images that all have one size as the network's input, for evaluation.

    DETR's predictions change with padding, those of its DC5 form most: without it the AP does not
    depend on the batch size. Every image comes once, on one rank, and its batch is the same
    whatever the number of ranks.

    Sizes follow from the width and height that the dataset states and the pipeline's steps. Where
    they do not, images are batched in order, a warning says why, and the model masks the padding.

    Args:
        sampler: mmengine's ``DefaultSampler`` without shuffling, of which the dataset is used.
        batch_size: Most images in a batch; there are smaller ones where a size is rare.

    Raises:
        ValueError: The sampler is another one.
    """

    def __init__(self, sampler: Any, batch_size: int) -> None:
        if not isinstance(sampler, DefaultSampler) or sampler.shuffle:
            raise ValueError(
                'SameSizeBatchSampler is for evaluation, on all images in their order: it needs '
                "sampler=dict(type='DefaultSampler', shuffle=False)"
            )
        batches = same_size_batches(sampler.dataset, batch_size)
        self.batches = share_of_rank(batches, sampler.rank, sampler.world_size)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def same_size_batches(dataset: Any, batch_size: int) -> list[list[int]]:
    """Put each index of a dataset into one batch; order batches by their first image."""
    sizes: list = [None] * len(dataset)
    if batch_size > 1:
        try:
            sizes = input_sizes(dataset)
        except UnknownSizeError as error:
            print_log(
                f'evaluation batches of {batch_size} are padded, which costs accuracy: {error}. '
                'With batch_size=1 nothing is padded',
                logger='current',
                level=logging.WARNING,
            )
    batches: list[list[int]] = []
    open_batch: dict[Size | None, list[int]] = {}
    for index, size in enumerate(sizes):
        batch = open_batch.get(size)
        if batch is None or len(batch) == batch_size:
            batch = open_batch[size] = []
            batches.append(batch)
        batch.append(index)
    return batches


def share_of_rank(batches: list[list[int]], rank: int, world_size: int) -> list[list[int]]:
    """Return the batches of one rank; each goes to the rank with the fewest images so far."""
    num_images = [0] * world_size
    share = []
    for batch in batches:
        chosen = num_images.index(min(num_images))
        num_images[chosen] += len(batch)
        if chosen == rank:
            share.append(batch)
    return share
