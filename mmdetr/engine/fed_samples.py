"""What a model is fed: the first batches of a training or test, after augmentation and padding.

Legend: H W size of a batch, h w size of an image in it.
"""

import copy
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATA_SAMPLERS
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.utils.data import BatchSampler

from mmdetr.registry import MODELS
from mmdetr.structures import DetDataSample
from mmdetr.visualization.sample_parts import (
    Segmentation,
    listed_instances,
    listed_segmentation,
)

from .data_sampling import EpochSampler, SampleIndex, SeededDataset, SkippingBatchSampler
from .randomness import derive_seed, seed_cpu

SPLITS = ('train', 'val', 'test')


@dataclass(frozen=True)
class FedSample:
    """One image as the model gets it.

    Attributes:
        name: Of the file, or the image's id.
        image: uint8 [H, W, 3] RGB, the normalisation undone; what is below and right of
            ``size`` is padding.
        size: h, w.
        instances: ``bboxes`` [M, 4] absolute xyxy in pixels of ``image``, ``labels`` [M] and, where
            there are any, ``masks`` [M, ...] of the image without padding, in whatever resolution.
        segmentation: Panoptic segments of the image without padding, where it has no instances.
        epoch: Epoch in which training feeds it, from 0.
    """

    name: str
    image: np.ndarray
    size: tuple[int, int]
    instances: InstanceData
    segmentation: Segmentation | None
    epoch: int

    @property
    def num_objects(self) -> int:
        """Instances, or segments where there are none."""
        return len(self.instances) or len(getattr(self.segmentation, 'labels', ()))


def fed_samples(
    cfg: Config, split: str, num: int, seed: int = 0, repeat: int = 1
) -> tuple[list[list[FedSample]], dict]:
    """Make what the model is fed, with the seeds of a training.

    Of the training data these are the first images of a training with that seed; of others, images
    of batches drawn at random.

    Args:
        cfg: With the model and the split's data loader.
        split: ``'train'``, ``'val'`` or ``'test'``.
        num: Most images.
        seed: Seed of the run.
        repeat: Epochs to take each image from; the augmentation differs.

    Returns:
        For each image its versions, and the metainfo of the dataset.

    Raises:
        ValueError: The preprocessor has no ``mean`` and ``std``, so that nothing can be undone.
    """
    loader = cfg[f'{split}_dataloader']
    dataset = SeededDataset(copy.deepcopy(loader.dataset))
    preprocessor = _preprocessor(cfg)
    rows: list[list[FedSample]] = []
    batches = _batches(loader, dataset, split, seed)
    for number, indices in enumerate(batches):
        if len(rows) >= num:
            break
        epochs = []
        for epoch in range(repeat):
            batch = [SampleIndex(index, seed, epoch) for index in indices]
            # As in a training on one process: a preprocessor may draw the size of the batch.
            seed_cpu(derive_seed('step', seed, 0, epoch * len(batches) + number))
            epochs.append(_feed(dataset, batch, preprocessor, split == 'train'))
        rows += [list(versions) for versions in zip(*epochs, strict=True)]
    return rows[:num], dict(getattr(dataset, 'metainfo', None) or {})


def _batches(loader: Any, dataset: Any, split: str, seed: int) -> Any:
    """Batches of indices; they have a length."""
    sampler_cfg = copy.deepcopy(loader.get('sampler') or dict(type='DefaultSampler', shuffle=False))
    batch_size = loader.get('batch_size', 1)
    batch_cfg = loader.get('batch_sampler')
    if split == 'train':
        sampler = EpochSampler(dataset, seed, sampler_cfg)
        sampler.set_epoch(0)
        drop_last = loader.get('drop_last', False)
        return SkippingBatchSampler(sampler, batch_size, drop_last, batch_cfg)
    plain = DATA_SAMPLERS.build(sampler_cfg, default_args=dict(dataset=dataset, seed=seed))
    if batch_cfg is None:
        batches = list(BatchSampler(plain, batch_size, drop_last=False))
    else:
        told = dict(sampler=plain, batch_size=batch_size)
        batches = list(DATA_SAMPLERS.build(copy.deepcopy(batch_cfg), default_args=told))
    random.Random(seed).shuffle(batches)
    return batches


def _preprocessor(cfg: Config) -> Any:
    preprocessor_cfg = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor')
    preprocessor: nn.Module = MODELS.build(copy.deepcopy(preprocessor_cfg))
    if not all(hasattr(preprocessor, name) for name in ('mean', 'std')):
        raise ValueError(
            f'{type(preprocessor).__name__} has no mean and std, by which a normalised image could '
            'be turned back into pixels'
        )
    return preprocessor


def _feed(
    dataset: Any, indices: list[SampleIndex], preprocessor: Any, training: bool
) -> list[FedSample]:
    """Load a batch and put it through the preprocessor."""
    batch = pseudo_collate([dataset[index] for index in indices])
    fed = preprocessor(batch, training)
    samples: list[DetDataSample] = fed['data_samples']
    return [
        FedSample(
            name=_name(sample),
            image=to_pixels(inputs, preprocessor),
            size=tuple(sample.img_shape[:2]),
            instances=_instances(sample, dataset, index),
            segmentation=None if 'gt_instances' in sample else listed_segmentation(sample),
            epoch=index.epoch,
        )
        for inputs, sample, index in zip(fed['inputs'], samples, indices, strict=True)
    ]


def to_pixels(inputs: Tensor, preprocessor: Any) -> np.ndarray:
    """Undo the normalisation of an image.

    Args:
        inputs: float [3, H, W].
        preprocessor: Has ``mean`` and ``std`` [3, 1, 1], and ``bgr_to_rgb`` where it turns BGR
            into RGB.

    Returns:
        uint8 [H, W, 3] RGB.
    """
    pixels = (inputs * preprocessor.std + preprocessor.mean).round().clamp(0, 255)
    image = pixels.to(torch.uint8).permute(1, 2, 0).numpy()
    return np.ascontiguousarray(image if preprocessor.bgr_to_rgb else image[..., ::-1])


def _instances(sample: DetDataSample, dataset: Any, index: int) -> InstanceData:
    """The ground truth in the frame of the network's input."""
    if 'gt_instances' in sample:
        return sample.gt_instances
    if 'instances' not in sample and hasattr(dataset, 'get_data_info'):
        # The test pipelines of COCO leave them to the metric.
        known = dataset.get_data_info(int(index)).get('instances', [])
        sample.set_metainfo(dict(instances=known))
    if 'instances' not in sample or 'segments' in sample:
        return InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64))
    instances = listed_instances(sample)
    (height, width), (ori_height, ori_width) = sample.img_shape[:2], sample.ori_shape[:2]
    factors = torch.tensor([width / ori_width, height / ori_height] * 2)
    instances.bboxes = instances.bboxes.reshape(-1, 4) * factors
    return instances


def _name(sample: DetDataSample) -> str:
    path = sample.get('img_path')
    return Path(path).name if path else f'image {sample.get("img_id")}'
