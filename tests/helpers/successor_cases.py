"""The authors' numbers of DETR's successors: cases, deterministic weights, batches."""

import json
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmdetr.models.layers import DenoisingNoise
from mmdetr.structures import SetTarget

from .reference import batch as reference_batch
from .reference import facebook_state_dict

FOLDER = Path(__file__).parents[1] / 'data' / 'reference_successors'
# Of the 91 classes the files keep every ninth.
KEPT = slice(None, None, 9)


def read_case(case: str) -> tuple[dict, dict[str, np.ndarray]]:
    """Meta data and arrays of a case."""
    with np.load(FOLDER / f'{case}.npz') as file:
        arrays = dict(file)
    return json.loads(arrays.pop('meta').tobytes()), arrays


def read_inputs() -> dict[str, np.ndarray]:
    """Images, labels and boxes of every case."""
    with np.load(FOLDER / 'inputs.npz') as arrays:
        return dict(arrays)


def read_targets() -> list[SetTarget]:
    """The objects of every case as the criterion wants them."""
    arrays = read_inputs()
    parts = [(arrays[f'labels{i}'], arrays[f'boxes{i}']) for i in range(2)]
    return [SetTarget(*map(torch.from_numpy, part)) for part in parts]


def batch(meta: dict) -> dict:
    """Keyword arguments of ``model.forward``: inputs, padding_mask, data_samples."""
    return reference_batch(meta, read_inputs())


def authors_state_dict(meta: dict) -> dict[str, Tensor]:
    """Weights under the authors' names, each tensor once."""
    weights = facebook_state_dict(meta['shapes'], meta['seed'])
    for pattern, factor, first in meta.get('scaled', []):
        for name in weights:
            if re.fullmatch(pattern, name):
                weights[name][(slice(None), slice(first, None)) if first else ...] *= factor
    return weights


def noise_of(
    arrays: dict[str, np.ndarray], targets: list[SetTarget], copies: int, probability: float
) -> DenoisingNoise:
    """The draws of a case, which are for known objects alone, for all slots.

    Args:
        arrays: ``draw{i}`` of the case.
        targets: The objects.
        copies: Queries of one object.
        probability: A label is replaced where the first draw is below this.
    """
    draws = [torch.from_numpy(arrays[f'draw{i}']) for i in range(4) if f'draw{i}' in arrays]
    flip, replaced, signs, shift = draws[0], draws[1], draws[2:-1], draws[-1]
    counts = [len(target.labels) for target in targets]
    slots = [
        (image, copy * max(counts) + index)
        for copy in range(copies)
        for image, count in enumerate(counts)
        for index in range(count)
    ]
    image, slot = torch.tensor(slots).T
    shape = (len(targets), copies * max(counts))

    def place(values: Tensor) -> Tensor:
        placed = torch.full((*shape, *values.shape[1:]), 0.5).to(values)
        placed[image, slot] = values
        return placed

    labels = torch.zeros(len(flip), dtype=torch.int64)
    labels[flip < probability] = replaced.long()
    signed = place(2 * signs[0].float() - 1) if signs else torch.empty(0)
    return DenoisingNoise(place(flip), place(labels), place(shift), signed)
