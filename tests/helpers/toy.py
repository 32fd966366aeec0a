"""A model and a dataset as small as they can be, with all the randomness of a real training."""

import random
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from torch import Tensor, nn
from torch.utils.data import Dataset

CLASSES = ('circle', 'square', 'triangle')


@DATASETS.register_module()
class ToyDataset(Dataset):
    """Samples augmented with all three global random number generators."""

    metainfo = dict(classes=CLASSES)

    def __init__(self, length: int = 20, augment: bool = True, log: str | None = None) -> None:
        self.length = length
        self.augment = augment
        self.log = log

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        if self.log is not None:
            with open(self.log, 'a') as file:
                file.write(f'{index}\n')
        noise = [0.5, 0.5, 0.5]
        if self.augment:
            noise = [random.random(), np.random.rand(), float(torch.rand(()))]
        inputs = torch.tensor([index / self.length, *noise])
        return dict(inputs=inputs, target=torch.tensor([index % 3 / 3]))


@MODELS.register_module()
class ToyModel(BaseModel):
    """Two layers with dropout."""

    def __init__(self, num_classes: int = 3, dropout: float = 0.5) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.layers = nn.Sequential(
            nn.Linear(4, 8), nn.Dropout(dropout), nn.ReLU(), nn.Linear(8, 1)
        )

    def forward(self, inputs: list[Tensor], target: list[Tensor], mode: str = 'tensor') -> Any:
        prediction = self.layers(torch.stack(inputs))
        error = (prediction - torch.stack(target)).square()
        if mode == 'loss':
            return dict(loss=error.mean(), class_error=error.detach().max())
        return list(error.flatten())


@METRICS.register_module()
class ToyMetric(BaseMetric):
    """Minus the mean squared error."""

    default_prefix = 'toy'

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results += [float(error) for error in data_samples]

    def compute_metrics(self, results: list) -> dict[str, float]:
        return dict(score=-float(np.mean(results)))


@METRICS.register_module()
class ScriptedMetric(ToyMetric):
    """Give the scores of a list, one per validation."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = iter(scores)

    def compute_metrics(self, results: list) -> dict[str, float]:
        return dict(score=next(self.scores))


def toy_config(work_dir: Path, by_epoch: bool = True, **changes: Any) -> Config:
    """Build a config of 4 epochs (or 20 iterations) of 5 batches, validated and saved each epoch.

    Args:
        work_dir: Folder of the run.
        by_epoch: Epochs, or iterations with a checkpoint after every third.
        changes: Dotted keys, dots written as double underscores, and their values.
    """
    kind = 'DefaultSampler' if by_epoch else 'InfiniteSampler'
    steps = (
        dict(by_epoch=True, max_epochs=4, val_interval=1)
        if by_epoch
        else dict(by_epoch=False, max_iters=20, val_interval=5)
    )
    loader = dict(batch_size=4, num_workers=0)
    config = Config(
        dict(
            work_dir=str(work_dir),
            experiment_name=uuid.uuid4().hex,  # mmengine shares loggers between equal names
            default_scope='mmdetr',
            model=dict(type='ToyModel'),
            train_dataloader=dict(
                **loader, sampler=dict(type=kind, shuffle=True), dataset=dict(type='ToyDataset')
            ),
            val_dataloader=dict(
                **loader,
                sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=dict(type='ToyDataset', augment=False),
            ),
            train_cfg=steps,
            val_cfg=dict(),
            val_evaluator=dict(type='ToyMetric'),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)),
            param_scheduler=[
                dict(type='MultiStepLR', by_epoch=by_epoch, milestones=[3], gamma=0.1)
            ],
            default_hooks=dict(
                checkpoint=dict(
                    type='CheckpointHook',
                    interval=1 if by_epoch else 3,
                    by_epoch=by_epoch,
                    max_keep_ckpts=2,
                    save_best='toy/score',
                    rule='greater',
                ),
                logger=dict(type='LoggerHook', interval=2),
            ),
            randomness=dict(seed=3),
        )
    )
    config.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
    return config


def weights(runner: Any) -> Tensor:
    """Join all weights of a runner's model in one vector."""
    return torch.cat([p.detach().flatten() for p in runner.model.parameters()])
