"""The demo with Conditional, DAB- and DN-DETR: trained, resumed bit by bit, tested, asked."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmdetr.apis import inference_detector, init_detector
from mmdetr.checkpoint import load_file
from mmdetr.engine.runner import DetectionRunner
from mmdetr.registry import MODELS
from mmdetr.structures import SetTarget
from tests.helpers.ranks import run_ranks

from .test_ranks import EXACT, _train
from .test_tools_chain import ROOT, SMALL, InterruptError, rename, scalars

MODELS_OF_DEMO = [
    'dn',
    pytest.param('conditional', marks=pytest.mark.slow),
    pytest.param('dab', marks=pytest.mark.slow),
]


def small_config(name: str, work_dir: Path, **options) -> Config:
    """The demo of a model, small, without workers."""
    cfg = Config.fromfile(ROOT / 'configs' / f'{name}_detr_tiny_1xb32-12e_shapes.py')
    no_workers = {'train_dataloader.num_workers': 0, 'train_dataloader.persistent_workers': False}
    cfg.merge_from_dict({**SMALL, **no_workers, **options})
    cfg.work_dir = str(work_dir)
    rename(cfg, work_dir.as_posix())
    return cfg


@pytest.mark.parametrize('name', MODELS_OF_DEMO)
def test_trains_resumes_tests_and_infers(name: str, tmp_path, monkeypatch) -> None:
    DetectionRunner.from_cfg(small_config(name, tmp_path / 'whole')).train()

    broken = DetectionRunner.from_cfg(small_config(name, tmp_path / 'broken'))
    step, calls = broken.model.train_step, iter(range(100))

    def failing_step(*args, **kwargs):
        if next(calls) == 6:  # in the second epoch
            raise InterruptError
        return step(*args, **kwargs)

    monkeypatch.setattr(broken.model, 'train_step', failing_step)
    with pytest.raises(InterruptError):
        broken.train()
    resumed = small_config(name, tmp_path / 'broken', resume=True)
    rename(resumed, f'{tmp_path} resumed')
    DetectionRunner.from_cfg(resumed).train()

    whole, parts = (
        load_file(tmp_path / run / 'epoch_2.pth')['state_dict'] for run in ('whole', 'broken')
    )
    for weight, value in whole.items():
        assert torch.equal(parts[weight], value), weight
    lines = scalars(tmp_path / 'whole')
    assert ('d1.dn_loss_giou' in lines[0]) == (name == 'dn')

    checkpoint = tmp_path / 'whole' / 'epoch_2.pth'
    tested = small_config(name, tmp_path / 'test', load_from=str(checkpoint))
    assert DetectionRunner.from_cfg(tested).test()['coco/bbox_mAP'] == lines[-1]['coco/bbox_mAP']

    model = init_detector(tested, checkpoint, device='cpu')
    sample = inference_detector(model, np.full((64, 80, 3), 90, np.uint8))
    assert len(sample.pred_instances.scores) == 10


def test_denoising_does_not_leak() -> None:
    """The matching queries predict the same with and without ground truth."""
    cfg = Config.fromfile(ROOT / 'configs' / 'dn_detr_tiny_1xb32-12e_shapes.py')
    cfg.merge_from_dict({**SMALL, 'model.bbox_head.transformer.dropout': 0.0})
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    inputs = torch.randn(2, 3, 64, 64)
    targets = [SetTarget(torch.arange(n), torch.tensor([[0.5, 0.5, 0.2, 0.3]] * n)) for n in (1, 3)]
    with torch.no_grad():
        plain, seeing = model.network(inputs), model.network(inputs, None, targets)
    assert seeing.denoising.logits.shape == (3, 2, 15, 3)
    torch.testing.assert_close(seeing.logits, plain.logits)
    torch.testing.assert_close(seeing.bboxes, plain.bboxes)


@pytest.mark.slow
def test_a_rank_without_any_object_trains_along(tmp_path) -> None:
    """It has no denoising query either, but every loss and every gradient that the other has."""
    options = {**EXACT, 'train_dataloader.batch_size': 2, 'default_hooks.dataset_check': None}
    for key, value in dict(type='SparseShapesDataset', empty=2).items():
        options[f'train_dataloader.dataset.{key}'] = value
    cfg = small_config('dn', tmp_path, **options)
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    run_ranks(2, _train, cfg)
    lines = [line for line in scalars(tmp_path) if 'loss' in line]
    assert len(lines) == 4
    assert all('d0.dn_loss_cls' in line and np.isfinite(line['loss']) for line in lines)
