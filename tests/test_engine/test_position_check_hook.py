"""Image sizes against learned positional encodings, before the first step."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose

from mmdetr.engine import DetectionRunner
from mmdetr.engine.hooks import PositionCheckHook
from mmdetr.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs'
LEARNED = 'ablations/detr_r50_16xb4-300e_coco_learned-pos.py'
SHORT = 'detr_short_r50_8xb2-150e_coco.py'
RATIO = dict(type='Resize', scale=(800, 1333), keep_ratio=True)
FIXED = dict(type='Resize', scale=(640, 480), keep_ratio=False)


def as_runner(config: str, loaders: dict | None = None, **options: Any) -> Any:
    """As much of a runner as the hook sees: the model and pipelines of a config."""
    cfg = Config.fromfile(CONFIGS / config)
    cfg.merge_from_dict(options)
    with torch.device('meta'):
        runner = SimpleNamespace(model=MODELS.build(cfg.model), val_loop=object())
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        steps = (loaders or {}).get(name, cfg[name].dataset.pipeline)
        dataset = SimpleNamespace(pipeline=Compose(steps))
        setattr(runner, name, SimpleNamespace(dataset=dataset))
    return runner


def check_all(runner: Any) -> None:
    hook = PositionCheckHook()
    hook.before_train(runner)
    hook.before_val(runner)
    hook.before_test(runner)


DC5 = {'model.backbone.dilation': True}


@pytest.mark.parametrize(
    ('config', 'options'),
    [
        (LEARNED, {}),
        (LEARNED, DC5 | {'model.bbox_head.positional_encoding.interpolate': True}),
        (
            LEARNED,
            DC5
            | {f'model.bbox_head.positional_encoding.num_{axis}': 84 for axis in ('rows', 'cols')},
        ),
        (SHORT, {}),
        ('detr_r50-dc5_16xb4-500e_coco.py', {}),
        ('detr_tiny_1xb32-12e_shapes.py', {}),
    ],
)
def test_what_fits_passes(config: str, options: dict) -> None:
    check_all(as_runner(config, **options))


def test_dilated_stage_with_the_papers_table() -> None:
    """1333 pixels are 84 at stride 16."""
    message = (
        r'train_dataloader\.dataset\.pipeline can give images of 1333 x 800 pixels \(height x '
        r'width\), for which the feature map of 84 x 50 is larger .* of 50 x 50: raise num_rows'
    )
    with pytest.raises(ValueError, match=message):
        PositionCheckHook().before_train(as_runner(LEARNED, **DC5))


@pytest.mark.parametrize('rows', [84, 83])
def test_size_is_rounded_up(rows: int) -> None:
    prefix = 'model.bbox_head.positional_encoding.num_'
    runner = as_runner(LEARNED, **DC5, **{f'{prefix}rows': rows, f'{prefix}cols': 84})
    if rows == 84:
        check_all(runner)
    else:
        with pytest.raises(ValueError, match='84 x 50'):
            check_all(runner)


def test_padding_of_the_batch_counts() -> None:
    runner = as_runner(SHORT, **{'model.data_preprocessor.pad_size_divisor': 128})
    with pytest.raises(ValueError, match=r'480 x 480 pixels.* feature map of 16 x 16'):
        check_all(runner)


@pytest.mark.parametrize('loader', ['train', 'val', 'test'])
def test_every_loader_is_checked_before_its_loop(loader: str) -> None:
    runner = as_runner(SHORT, {f'{loader}_dataloader': [FIXED]})
    with pytest.raises(ValueError, match=f'{loader}_dataloader.*480 x 640.* 15 x 20 has 300'):
        getattr(PositionCheckHook(), f'before_{loader}')(runner)
    if loader == 'val':
        with pytest.raises(ValueError, match='val_dataloader'):
            PositionCheckHook().before_train(runner)


def test_wrapped_datasets_are_searched() -> None:
    runner = as_runner(SHORT)
    good = runner.test_dataloader.dataset
    bad = SimpleNamespace(dataset=SimpleNamespace(pipeline=Compose([RATIO])))
    runner.test_dataloader.dataset = SimpleNamespace(datasets=[good, bad])
    with pytest.raises(ValueError, match='1333 x 800'):
        PositionCheckHook().before_test(runner)


def test_strides_are_those_of_the_feature_maps() -> None:
    for dilation in (False, True):
        cfg = dict(type='ResNet', depth=50, dilation=dilation, out_indices=(0, 1, 2, 3))
        backbone = MODELS.build(cfg).eval()
        with torch.no_grad():
            shapes = [feature.shape[-1] for feature in backbone(torch.zeros(1, 3, 64, 64))]
        assert shapes == [64 // stride for stride in backbone.strides]


def test_runner_has_the_hook(tmp_path: Path) -> None:
    cfg = Config.fromfile(CONFIGS / 'detr_tiny_1xb32-12e_shapes.py')
    cfg.model.bbox_head.positional_encoding = dict(type='LearnedPositionalEncoding', num_rows=7)
    cfg.work_dir, cfg.experiment_name = str(tmp_path), 'position_check'
    resize = dict(type='Resize', scale=(64, 64), keep_ratio=False)
    cfg.test_dataloader.dataset.pipeline.insert(0, resize)
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    with pytest.raises(ValueError, match=r'64 x 64 pixels.* 8 x 8 is larger .* 7 x 50'):
        DetectionRunner.from_cfg(cfg).test()
