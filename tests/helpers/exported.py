"""Detectors of the zoo's kinds, small enough to be exported in a test."""

import warnings
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModel

from mmdetr.apis import init_detector
from mmdetr.deploy import ExportMetadata

CONFIGS = Path(__file__).parents[2] / 'configs'
TINY = 'detr_tiny_1xb32-12e_shapes.py'


def build(config: str = TINY, **changes: Any) -> BaseModel:
    """Build a detector with random weights; dots of keys are written as double underscores."""
    torch.manual_seed(0)
    options = {key.replace('__', '.'): value for key, value in changes.items()}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return init_detector(CONFIGS / config, device='cpu', cfg_options=options)


def metadata(**changes: Any) -> ExportMetadata:
    """Metadata of a file that takes prepared inputs of any size."""
    values = dict(
        mmdetr_version='1.2.3',
        model='detr',
        dtype='float32',
        postprocess=False,
        classes=['cat', 'dog'],
        num_classes=2,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        channel_order='RGB',
        pad_size_divisor=1,
        scale=[800, 1333],
        keep_ratio=True,
        exif_frame='shown',
        size=None,
        sides=[64, None],
        padded=True,
        has_no_object=True,
        max_per_img=None,
    )
    return ExportMetadata(**(values | changes))
