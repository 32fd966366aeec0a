"""Score an exported file on the test data of a config, as a checkpoint is scored."""

import os
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import Tensor

from mmdetr.registry import MODELS
from mmdetr.structures import DetDataSample, PanopticResult
from mmdetr.utils.model import unwrap
from mmdetr.utils.text import shorten

from .metadata import ExportedFileError
from .runtime import RuntimeDetector
from .sessions import RUNTIMES


def is_exported(file: str | os.PathLike) -> bool:
    """Say by its suffix whether a file is an exported one."""
    return os.path.splitext(file)[1] in RUNTIMES


@MODELS.register_module()
class ExportedModel(BaseModel):
    """A RuntimeDetector in the place of a model, for evaluation alone.

    It resizes images itself, so the pipeline must leave them as they are.

    Args:
        file: As of :class:`RuntimeDetector`.
        threads: As there.
    """

    def __init__(self, file: str, threads: int | None = None) -> None:
        super().__init__(data_preprocessor=BaseDataPreprocessor())
        self.detector = RuntimeDetector(file, threads=threads)
        self.num_classes = self.detector.metadata.num_classes

    def forward(
        self,
        inputs: Sequence[Tensor],
        data_samples: list[DetDataSample],
        mode: str = 'predict',
    ) -> list[DetDataSample]:
        """Write into the data samples what is found in uint8 images [3, h, w] in BGR order.

        Raises:
            ValueError: ``mode`` is another one: a file cannot train.
        """
        if mode != 'predict':
            raise ValueError(f"an exported file has mode='predict' alone, not {mode!r}")
        images = [image.permute(1, 2, 0).cpu().numpy() for image in inputs]
        for sample, found in zip(data_samples, self.detector.predict(images), strict=True):
            sample.pred_instances = InstanceData(
                bboxes=torch.from_numpy(found.boxes),
                scores=torch.from_numpy(found.scores),
                labels=torch.from_numpy(found.labels),
            )
            if found.masks is not None:
                sample.pred_instances.masks = found.masks
            if found.panoptic is not None:
                segments: Any = found.panoptic.segments
                sample.pred_panoptic = PanopticResult(found.panoptic.ids, segments)
        return data_samples


def use_exported(config: Config, file: str, threads: int | None = None) -> None:
    """Let a config test an exported file: its model, and a pipeline that does not resize."""
    config.model = dict(type='ExportedModel', file=file, threads=threads)
    config.load_from, config.resume = None, False
    # The hook would copy the model, to average weights that are no longer there.
    config.custom_hooks = [
        hook
        for hook in config.get('custom_hooks') or []
        if not (isinstance(hook, dict) and hook['type'].rpartition('.')[2] == 'EMAHook')
    ]
    _drop_resizing(config.test_dataloader.dataset)


def _drop_resizing(dataset: Any) -> None:
    """Take the resizing step out of the pipeline of a dataset, or of those that it wraps."""
    if dataset.get('pipeline'):
        dataset.pipeline = [
            step for step in dataset.pipeline if step['type'].rpartition('.')[2] != 'Resize'
        ]
    inner = dataset.get('dataset') or dataset.get('datasets') or ()
    for each in [inner] if isinstance(inner, dict) else inner:
        _drop_resizing(each)


def check_classes(runner: Runner, file: str) -> None:
    """Compare the classes that the file names with those of the test data.

    Raises:
        ExportedFileError: They differ.
    """
    classes = unwrap(runner.model).detector.metadata.classes
    data = (runner.test_loop.dataloader.dataset.metainfo or {}).get('classes')
    if classes and data and list(data) != classes:
        raise ExportedFileError(
            f'{file} has the classes {shorten(classes)}, the data {shorten(data)}: their numbers '
            'do not mean the same'
        )
