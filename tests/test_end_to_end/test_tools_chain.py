"""The whole way with the real model: train, resume, two processes, test; on generated shapes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmdetr.checkpoint import load_file
from mmdetr.engine.runner import DetectionRunner

ROOT = Path(__file__).parents[2]
DEMO = ROOT / 'configs' / 'detr_tiny_1xb32-12e_shapes.py'
# Frozen batch norm: statistics of a batch cannot be the same when two processes share it.
SMALL = {
    'model.backbone.norm_frozen': True,
    'model.neck.out_channels': 32,
    'model.bbox_head.transformer.feedforward_channels': 32,
    'model.bbox_head.transformer.dropout': 0.1,
    'train_dataloader.batch_size': 4,
    'train_dataloader.dataset.num_images': 16,
    'train_dataloader.num_workers': 1,
    'val_dataloader.dataset.num_images': 8,
    'val_dataloader.num_workers': 0,
    'val_dataloader.persistent_workers': False,
    'test_dataloader.dataset.num_images': 8,
    'test_dataloader.num_workers': 0,
    'test_dataloader.persistent_workers': False,
    'train_cfg.max_epochs': 2,
    # Few steps have to move the weights.
    'param_scheduler.0.end': 2,
    'default_hooks.logger.interval': 1,
    'default_hooks.checkpoint.max_keep_ckpts': -1,
    # A mean over one iteration shows the losses of each.
    'log_processor.window_size': 1,
}


def small_config(work_dir: Path, **options) -> Config:
    cfg = Config.fromfile(DEMO)
    cfg.merge_from_dict({**SMALL, **options})
    cfg.work_dir = str(work_dir)
    rename(cfg, work_dir.as_posix())
    return cfg


def rename(cfg: Config, name: str) -> None:
    """mmengine keeps loggers and visualizers by name for the life of a process."""
    cfg.experiment_name = cfg.visualizer.name = name.replace('/', '_')


def weights(work_dir: Path, epoch: int = 2) -> dict:
    return load_file(work_dir / f'epoch_{epoch}.pth')['state_dict']


def scalars(work_dir: Path) -> list[dict]:
    """All that was logged, in order."""
    paths = sorted(work_dir.glob('*/vis_data/scalars.json'))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


class InterruptError(Exception):
    """Stands for whatever ends a process."""


def test_resumed_run_ends_like_an_uninterrupted_one(tmp_path, monkeypatch):
    DetectionRunner.from_cfg(small_config(tmp_path / 'whole')).train()

    broken = DetectionRunner.from_cfg(small_config(tmp_path / 'broken'))
    step = broken.model.train_step
    calls = iter(range(100))

    def failing_step(*args, **kwargs):
        if next(calls) == 5:  # in the second epoch
            raise InterruptError
        return step(*args, **kwargs)

    monkeypatch.setattr(broken.model, 'train_step', failing_step)
    with pytest.raises(InterruptError):
        broken.train()
    resumed = small_config(tmp_path / 'broken')
    resumed.resume = True
    rename(resumed, f'{tmp_path} resumed')
    DetectionRunner.from_cfg(resumed).train()

    expected, actual = weights(tmp_path / 'whole'), weights(tmp_path / 'broken')
    assert all(torch.equal(actual[name], expected[name]) for name in expected)
    first = weights(tmp_path / 'whole', epoch=1)
    assert any(not torch.equal(first[name], expected[name]) for name in expected)
    results = [scalars(tmp_path / name)[-1] for name in ('whole', 'broken')]
    assert 'coco/bbox_mAP' in results[0]
    for key in results[0]:
        if key.startswith('coco/'):
            assert results[0][key] == results[1][key], key


def test_two_processes_give_the_losses_of_one(tmp_path):
    options = {'model.bbox_head.transformer.dropout': 0.0, 'train_cfg.max_epochs': 1}
    DetectionRunner.from_cfg(small_config(tmp_path / 'one', **options)).train()
    options['train_dataloader.batch_size'] = 2
    overrides = [f'{key}={value}' for key, value in {**SMALL, **options}.items()]
    subprocess.run(
        [
            *('bash', ROOT / 'tools/dist_train.sh', DEMO, '2', '--work-dir', tmp_path / 'two'),
            *('--cfg-options', *overrides),
        ],
        check=True,
        capture_output=True,
        timeout=300,
        env={**os.environ, 'PYTHON': sys.executable, 'CUDA_VISIBLE_DEVICES': ''},
    )
    one, two = (
        [line for line in scalars(tmp_path / name) if 'loss' in line] for name in ('one', 'two')
    )
    assert len(one) == len(two) == 4
    assert (tmp_path / 'two' / 'validation_history.json').is_file()
    for ours, theirs in zip(one, two, strict=True):
        for key in ours:
            if 'loss' in key or key == 'cardinality_error':
                assert theirs[key] == pytest.approx(ours[key], rel=1e-4), key
    meta = load_file(tmp_path / 'two' / 'epoch_1.pth')['meta']
    assert meta['batches_per_epoch'] == 4  # 16 images in batches of 2 on 2 ranks
    expected, actual = weights(tmp_path / 'one', 1), weights(tmp_path / 'two', 1)
    for name in expected:
        # The gradient of a key's bias is zero but for rounding, which Adam turns into full steps.
        if not name.endswith('in_proj_bias'):
            torch.testing.assert_close(actual[name], expected[name], atol=1e-4, rtol=1e-3)


def test_learns_eight_images(tmp_path):
    """The loss falls, and testing the checkpoint gives the AP of training."""
    shared = dict(num_images=8, seed=0)
    options = {
        'model.backbone.norm_frozen': False,
        'model.bbox_head.transformer.dropout': 0.0,
        'train_dataloader.batch_size': 8,
        'train_dataloader.dataset': shared,
        'val_dataloader.dataset': shared,
        'test_dataloader.dataset': shared,
        'train_cfg': dict(max_epochs=60, val_interval=60),
        'param_scheduler.0.end': 20,
        'param_scheduler.1.T_max': 60,
        'default_hooks.checkpoint.interval': 60,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
    }
    DetectionRunner.from_cfg(small_config(tmp_path / 'train', **options)).train()
    lines = scalars(tmp_path / 'train')
    losses = [line['loss'] for line in lines if 'loss' in line]
    trained = lines[-1]['coco/bbox_mAP_50']
    assert losses[-1] < 0.7 * losses[0]
    assert trained > 0

    cfg = small_config(tmp_path / 'test', **options)
    cfg.load_from = str(tmp_path / 'train' / 'epoch_60.pth')
    assert DetectionRunner.from_cfg(cfg).test()['coco/bbox_mAP_50'] == trained
