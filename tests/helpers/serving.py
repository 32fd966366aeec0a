"""Detectors for tests of the service: a real one as small as it can be, and one that pretends."""

import io
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image

from mmdetr.registry import MODELS
from mmdetr.serving.predictor import Detections, NoAttentionError, Prepared

CLASSES = ('circle', 'square', 'star')
HEAD = dict(
    type='DETRHead',
    num_classes=3,
    num_queries=6,
    positional_encoding=dict(type='SinePositionalEncoding', normalize=True),
    transformer=dict(
        type='DETRTransformer',
        num_heads=2,
        num_encoder_layers=1,
        num_decoder_layers=2,
        feedforward_channels=32,
    ),
)
MASKS = dict(type='DETRMaskHead', mask_head=dict(type='MaskHead', num_heads=8))


def small_config(**head: Any) -> Config:
    """Config of a detector that looks at images of 96 pixels, its head changed by ``head``."""
    model = dict(
        type='DETR',
        data_preprocessor=dict(type='DetDataPreprocessor', pad_size_divisor=64),
        backbone=dict(type='ResNet', depth=18),
        neck=dict(type='InputProjection', out_channels=32),
        bbox_head={**HEAD, **head},
    )
    if head.get('type') == 'DETRMaskHead':
        model['backbone'].update(out_indices=(2, 3))
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(100, 96), keep_ratio=True),
        dict(type='PackDetInputs'),
    ]
    dataset = dict(type='CocoDataset', ann_file='nowhere.json', pipeline=pipeline)
    return Config(dict(default_scope='mmdetr', model=model, test_dataloader=dict(dataset=dataset)))


def write_detector(folder: Path, **head: Any) -> tuple[Path, Path]:
    """Write config and checkpoint of a detector with random weights, equal in each call."""
    config = small_config(**head)
    config.dump(folder / 'config.py')
    torch.manual_seed(0)
    model = MODELS.build(dict(config.model, _scope_='mmdetr'))
    meta = dict(dataset_meta=dict(classes=CLASSES))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), folder / 'model.pth')
    return folder / 'config.py', folder / 'model.pth'


def noise(height: int = 60, width: int = 80, seed: int = 0) -> np.ndarray:
    """uint8 [height, width, 3] RGB."""
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def encode(pixels: np.ndarray, kind: str = 'PNG', **options: Any) -> bytes:
    """Bytes of an image file."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind, **options)
    return content.getvalue()


class FakePredictor:
    """Give one box, as large as the image, with the mean of its pixels as score.

    Args:
        seconds: What each batch takes.
    """

    name = 'fake'
    classes = ('thing',)
    score_thr = 0.5
    thresholds: Sequence[float] | None = None
    attention: str | None = 'map'

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.batches: list[int] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def prepare(self, image: np.ndarray) -> Prepared:
        height, width = image.shape[:2]
        if width == 1:
            raise ValueError('too narrow')
        return Prepared((height, width), (width, height), float(image.mean()) / 255)

    def predict(self, batch: Sequence[Prepared]) -> list[Detections]:
        self.go_on.wait(20)
        time.sleep(self.seconds)
        self.batches.append(len(batch))
        return [
            Detections(
                boxes=np.array([[0.0, 0.0, *each.size]]),
                scores=np.array([each.data]),
                labels=np.array([0]),
                queries=np.array([0]),
            )
            for each in batch
        ]

    def attend(self, batch: Sequence[tuple[Prepared, int]]) -> list[dict[str, Any]]:
        if any(query > 0 for _, query in batch):
            raise NoAttentionError('the model has the queries 0 to 0')
        return [dict(kind='map', height=1, width=1, values=[[1.0]]) for _ in batch]
