"""One model on a device: detections, losses, steps, mixed precision, DistributedDataParallel."""

import copy
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.distributed as dist
from _common import ROOT, time_in_turns
from _losses import data_samples, objects, without_dropout
from _models import exact_convolutions, keep_activations_small
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from mmdetr.apis import init_detector
from mmdetr.utils.model import unwrap

# Half precision rounds to 3 (bfloat16) or 4 (float16) digits, and a query may be matched otherwise.
TOLERANCES = dict(bfloat16=0.1, float16=0.05)
LOSS_TOLERANCE = 1e-4
# A GPU adds up gradients in any order.
GRADIENT_TOLERANCE = 1e-2
WARMUP = 2


def zoo() -> list[Path]:
    """The first config of each model for COCO."""
    found: dict[str, Path] = {}
    for path in sorted((ROOT / 'configs').glob('*_coco.py')):
        model = Config.fromfile(path).model.to_dict()
        found.setdefault(json.dumps(model, sort_keys=True), path)
    return list(found.values())


@contextmanager
def group_of_one(device: str) -> Iterator[None]:
    """torch.distributed with this process alone."""
    variables = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT='0', RANK='0', WORLD_SIZE='1')
    with patch.dict(os.environ, variables):
        dist.init_process_group('gloo' if device == 'cpu' else 'nccl', init_method='env://')
    try:
        yield
    finally:
        dist.destroy_process_group()


def check_close(what: str, found: float, expected: float, tolerance: float) -> float:
    """Return the relative difference.

    Raises:
        ValueError: It is above the tolerance, or a number is not finite.
    """
    difference = abs(found - expected) / abs(expected)
    if not difference <= tolerance:
        raise ValueError(f'{what} is {found:.6g} instead of {expected:.6g}')
    return difference


class ModelCheck:
    """The parts of the check of one model.

    Args:
        config: Config file of the model.
        device: Where it runs.
        size: (h, w) of the images; what the test pipeline makes of 480 x 640 pixels if None.
        batch: Images of a training step.
        repeats: Timed calls of each kind.
    """

    def __init__(
        self, config: Path, device: str, size: list[int] | None, batch: int, repeats: int
    ) -> None:
        init_default_scope('mmdetr')
        torch.manual_seed(0)
        self.device = torch.device(device)
        self.repeats = repeats
        self.cfg = Config.fromfile(config)
        # Batches of a random size each would have other losses.
        self.cfg.model.data_preprocessor.pop('sizes', None)
        self.size = tuple(size or self._image_size())
        self.model = init_detector(self.cfg, device='cpu')
        keep_activations_small(self.model)
        self.model.to(self.device)
        self.image, self.batch = self._random_batch(1), self._random_batch(batch)

    def run(self) -> dict[str, Any]:
        """The figures of all parts.

        Raises:
            ValueError: Something differs by too much, or is not finite.
        """
        result = dict(size=list(self.size), image=self.detect())
        if find_spec('mmdetr.models.fast'):
            result['forms'] = self.compare_forms()
        with without_dropout(self.model.train()):
            result['loss'] = self.compare_precisions()
            result['ddp_difference'] = self.compare_ddp()
        dtypes = ('float32',) if self.device.type == 'cpu' else ('float32', *TOLERANCES)
        result['step'] = {dtype: self.step(dtype) for dtype in dtypes}
        return result

    def detect(self) -> dict[str, Any]:
        """Seconds and memory of one image."""
        self.model.eval()
        found = self._detections(self.model)[0].pred_instances
        if not (found.bboxes.isfinite().all() and found.scores.isfinite().all()):
            raise ValueError('boxes or scores are not finite')
        return self._figures(lambda: self._detections(self.model))

    def compare_forms(self) -> dict[str, Any]:
        """Seconds of one image in plain and in fast forms, and how far logits and boxes differ."""
        from mmdetr.models.fast import use_fast_forms, use_plain_forms

        models = dict(plain=copy.deepcopy(self.model), fast=copy.deepcopy(self.model))
        use_plain_forms(models['plain'])
        use_fast_forms(models['fast'])
        data = self.model.data_preprocessor(self.image)
        with torch.no_grad():
            plain, fast = (m(data['inputs'], data['padding_mask']) for m in models.values())
        difference = max(
            float((getattr(fast, name) - getattr(plain, name)).abs().max())
            for name in ('logits', 'bboxes')
        )
        if not difference <= 1e-3:
            raise ValueError(f'fast forms differ from plain ones by {difference:.3g}')
        calls = {
            name: lambda model=model: self._detections(model) for name, model in models.items()
        }
        seconds = time_in_turns(calls, self.repeats, WARMUP)
        return dict(seconds=seconds, difference=difference)

    def compare_precisions(self) -> dict[str, float]:
        """Loss in float32 and in automatic mixed precision, by type."""
        losses = {}
        for dtype in ('float32', *TOLERANCES):
            mixed = dtype != 'float32'
            with (
                torch.no_grad(),
                torch.autocast(self.device.type, getattr(torch, dtype), enabled=mixed),
            ):
                losses[dtype] = float(self._loss(self.model))
        for dtype, tolerance in TOLERANCES.items():
            check_close(f'loss in {dtype}', losses[dtype], losses['float32'], tolerance)
        return losses

    def compare_ddp(self) -> float:
        """Relative difference of the loss; gradients are compared as well."""
        wrapped = MMDistributedDataParallel(
            self.model,
            device_ids=None if self.device.type == 'cpu' else [self.device],
            broadcast_buffers=False,
        )
        # With random weights a rounding decides which proposals become queries.
        with exact_convolutions():
            bare, found = (self._loss_and_gradient_norm(each) for each in (self.model, wrapped))
        check_close('gradients in DDP', found[1], bare[1], GRADIENT_TOLERANCE)
        return check_close('loss in DDP', found[0], bare[0], LOSS_TOLERANCE)

    def step(self, dtype: str) -> dict[str, Any]:
        """Seconds, memory and losses of training steps; ``--amp`` where it is not float32."""
        cfg = dict(self.cfg.optim_wrapper)
        if dtype != 'float32':
            scale = 'dynamic' if dtype == 'float16' else 1.0
            cfg.update(type='AmpOptimWrapper', dtype=dtype, loss_scale=scale)
        wrapper = build_optim_wrapper(self.model.train(), cfg)
        losses: list[float] = []

        def call() -> None:
            losses.append(float(self.model.train_step(self.batch, wrapper)['loss']))

        result = self._figures(call)
        weights = torch.stack([parameter.isfinite().all() for parameter in self.model.parameters()])
        if not (np.isfinite(losses).all() and weights.all()):
            raise ValueError(f'loss or weights of steps in {dtype} are not finite: {losses}')
        return dict(result, losses=losses)

    def _image_size(self) -> tuple[int, ...]:
        steps = self.cfg.test_dataloader.dataset.pipeline
        shape = (480, 640)
        picture = dict(img=np.zeros((*shape, 3), np.uint8), img_shape=shape, ori_shape=shape)
        pipeline = Compose([each for each in steps if each['type'] != 'LoadImageFromFile'])
        return tuple(pipeline(dict(picture, img_id=0))['inputs'].shape[1:])

    @torch.no_grad()
    def _detections(self, model: Any) -> list[Any]:
        return model.test_step(self.image)

    def _random_batch(self, count: int) -> dict[str, Any]:
        """Random pixels and objects, as a loader gives them."""
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(256, (count, 3, *self.size), dtype=torch.uint8, generator=generator)
        targets = objects(count, 7, self.cfg.model.bbox_head.num_classes)
        samples = data_samples(targets, *self.size, with_masks=True)
        return dict(inputs=list(pixels), data_samples=samples)

    def _loss(self, model: Any) -> torch.Tensor:
        torch.manual_seed(0)  # of the noise that denoising queries get
        data = self.model.data_preprocessor(copy.deepcopy(self.batch), training=True)
        return unwrap(model).parse_losses(model(**data, mode='loss'))[0]

    def _loss_and_gradient_norm(self, model: Any) -> tuple[float, float]:
        model.zero_grad()
        loss = self._loss(model)
        loss.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        model.zero_grad()
        return float(loss.detach()), norm

    def _figures(self, call: Callable[[], Any]) -> dict[str, Any]:
        """Seconds of calls, and MiB of tensors on a GPU at their peak."""
        if self.device.type != 'cpu':
            torch.cuda.reset_peak_memory_stats(self.device)
        seconds = time_in_turns({'call': call}, self.repeats, WARMUP)['call']
        if self.device.type == 'cpu':
            return dict(seconds=seconds, peak_mib=None)
        return dict(seconds=seconds, peak_mib=torch.cuda.max_memory_allocated(self.device) / 2**20)
