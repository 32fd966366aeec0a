"""Which config for how many images, which machine and which weights, with the reasons."""

import os
from typing import NamedTuple

import torch

from mmdetr.config.package_configs import package_configs


class Machine(NamedTuple):
    """What trains.

    Attributes:
        gpu_gib: Memory of the GPU; 0 without one.
        cores: Of the CPU, as far as this process may use them.
    """

    gpu_gib: float
    cores: int

    def __str__(self) -> str:
        cores = f'{self.cores} CPU core{"s" if self.cores > 1 else ""}'
        return f'a GPU of {self.gpu_gib:.0f} GiB, {cores}' if self.gpu_gib else f'{cores}, no GPU'


class Base(NamedTuple):
    """A row of the table.

    Attributes:
        config: Name of the package's config to build on.
        steps: Optimiser steps that a training has, as far as epochs allow.
        reason: Why this one.
        gpu_gib: Least memory of the GPU.
        images: Least number of images to train on.
    """

    config: str
    steps: int
    reason: str
    gpu_gib: float = 0
    images: int = 0


# The first row that fits is taken. Small models with denoising and two stages learn soonest from
# few images (benchmarks and docs/own_data.md); larger ones need more images and a GPU to pay.
WITHOUT_DETECTOR = (
    Base(
        'rtdetrv2_r50vd_8xb2-72e_coco',
        60_000,
        'a GPU and ten thousand images: the larger RT-DETRv2 pays from here on',
        gpu_gib=12,
        images=10_000,
    ),
    Base(
        'rtdetrv2_r18vd_8xb2-120e_coco',
        15_000,
        'a GPU and a thousand images: RT-DETRv2 at 640 x 640 finds smaller objects',
        gpu_gib=6,
        images=1_000,
    ),
    Base(
        'rtdetrv2_mobilenetv2_1xb4-40e_custom',
        6_000,
        'few images: the small RT-DETRv2 learns soonest from them; the GPU pays for more steps',
        gpu_gib=2,
    ),
    Base(
        'rtdetrv2_mobilenetv2_1xb4-40e_custom',
        2_400,
        'no GPU: the small RT-DETRv2 trains 2,400 steps in about 45 minutes on two CPU cores',
    ),
)
# From weights of a whole detector the classes are new, the boxes are not.
FINE_TUNING_STEPS = 2_000
# What the weights of a detector are compared with, the likeliest first: one config of each model.
OTHER_PARTS = ('ablations', '_base_')
FAMILIES = {
    'DETR': 'detr_',
    'Conditional DETR': 'conditional_detr_',
    'DAB-DETR': 'dab_detr_',
    'DN-DETR': 'dn_detr_',
    'Deformable DETR': 'deformable_detr_',
    'DAB-Deformable DETR': 'dab_deformable_detr_',
    'DN-Deformable DETR': 'dn_deformable_detr_',
    'DINO': 'dino_',
    'RT-DETR': 'rtdetrv2_',
    'D-FINE': 'dfine_',
}
OTHER_NAMES = ('tiny', 'shapes', 'bccd', 'panoptic', 'instance', 'patterns', 'fixed-xy')


def this_machine() -> Machine:
    """Look at the machine that this process runs on."""
    memory = 0.0
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    affinity = getattr(os, 'sched_getaffinity', None)
    return Machine(memory, len(affinity(0)) if affinity else os.cpu_count() or 1)


def choose_base(num_images: int, machine: Machine) -> Base:
    """Return the row of the table for a training without weights of a whole detector."""
    return next(
        base
        for base in WITHOUT_DETECTOR
        if machine.gpu_gib >= base.gpu_gib and num_images >= base.images
    )


def family_of(config: str) -> str | None:
    """Return which of ``FAMILIES`` a config is of, by its name; None for others."""
    found = (family for family, prefix in FAMILIES.items() if config.startswith(prefix))
    return next(found, None)


def fine_tuning_candidates(architecture: str | None = None) -> list[str]:
    """Return the names of the package's configs that published detectors may belong to.

    Args:
        architecture: As a checkpoint layout calls it; None returns those of all.
    """
    family = FAMILIES.get(architecture or '', '')
    names = [
        name
        for name, file in package_configs().items()
        if name.startswith(family)
        and not any(part in OTHER_PARTS for part in file.parts)
        and not any(word in name for word in OTHER_NAMES)
    ]
    # The one that is made for one's own data goes before others of the same model.
    return sorted(names, key=lambda name: ('custom' not in name, len(name), name))
