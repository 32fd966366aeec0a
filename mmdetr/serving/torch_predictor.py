"""The service's detector from a config and a checkpoint."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from pycocotools import mask as coco_mask

from mmdetr.apis import init_detector
from mmdetr.apis.images import to_pipeline_input
from mmdetr.apis.inference import test_pipeline
from mmdetr.apis.threads import leave_threads_to_parent
from mmdetr.checkpoint import CheckpointFile
from mmdetr.structures import DetDataSample, PanopticResult

from .attention import attention_kind, decoder_attention
from .predictor import Detections, Prepared, as_text


class TorchPredictor:
    """A model of torch; images whose network inputs have one size are computed together.

    Nothing is padded for another image's sake, so results are those of ``inference_detector``, but
    for the rounding of kernels that depends on the size of a batch.

    Args:
        model: From :func:`mmdetr.apis.init_detector`.
        name: For people.

    Raises:
        ValueError: The config has no test data, whose pipeline prepares the images.
    """

    def __init__(self, model: Any, name: str) -> None:
        self.name = name
        self.score_thr = model.operating_point.threshold
        self.classes: Sequence[str] = tuple((model.dataset_meta or {}).get('classes', ()))
        self.thresholds: Sequence[float] | None = model.operating_point.by_class(self.classes)
        self.attention = attention_kind(model)
        self._model = model
        self._load, self._transform = test_pipeline(model)

    @classmethod
    def from_files(
        cls,
        config: str | os.PathLike | Config,
        checkpoint: str | os.PathLike | CheckpointFile,
        device: str | None = None,
        dtype: str = 'float32',
        allow_mismatch: bool = False,
        name: str | None = None,
    ) -> 'TorchPredictor':
        """Build the model in its form for inference; arguments as those of ``init_detector``.

        ``name`` is by default that of the checkpoint's file.
        """
        model = init_detector(
            config,
            checkpoint,
            device,
            optimize=dict(dtype=dtype),
            allow_mismatch=allow_mismatch,
        )
        file = checkpoint.filename if isinstance(checkpoint, CheckpointFile) else checkpoint
        return cls(model, name or Path(file).name)

    def prepare(self, image: np.ndarray) -> Prepared:
        """See :class:`mmdetr.serving.predictor.Predictor`."""
        data = to_pipeline_input(np.ascontiguousarray(image[..., ::-1]), self._load)
        data = self._transform(dict(data, img_id=0))
        height, width = image.shape[:2]
        return Prepared(tuple(data['inputs'].shape), (width, height), data)

    @torch.no_grad()
    def predict(self, batch: Sequence[Prepared]) -> list[Detections]:
        """See :class:`mmdetr.serving.predictor.Predictor`."""
        leave_threads_to_parent()
        samples = self._model.test_step(pseudo_collate([each.data for each in batch]))
        return [_to_detections(sample) for sample in samples]

    @torch.no_grad()
    def attend(self, batch: Sequence[tuple[Prepared, int]]) -> list[dict[str, Any]]:
        """See :class:`mmdetr.serving.predictor.Predictor`."""
        results = []
        for prepared, query in batch:
            data = self._model.data_preprocessor(pseudo_collate([prepared.data]), False)
            results.append(
                decoder_attention(self._model, data['inputs'], data['padding_mask'], query)
            )
        return results


def _to_detections(sample: DetDataSample) -> Detections:
    pred = sample.pred_instances.cpu()
    return Detections(
        boxes=pred.bboxes.numpy(),
        scores=pred.scores.numpy(),
        labels=pred.labels.numpy(),
        queries=pred.queries.numpy() if 'queries' in pred else None,
        masks=as_text(pred.masks) if 'masks' in pred else None,
        segments=_segments(sample.pred_panoptic) if 'pred_panoptic' in sample else None,
    )


def _segments(panoptic: PanopticResult) -> list[dict[str, Any]]:
    areas = (np.asfortranarray(panoptic.ids == each['id']) for each in panoptic.segments)
    masks = as_text([coco_mask.encode(area) for area in areas])
    return [dict(each, mask=mask) for each, mask in zip(panoptic.segments, masks, strict=True)]
