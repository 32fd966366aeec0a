"""Values of configs against what is built from them."""

import re
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from mmdetr.apis import init_detector
from mmdetr.config.check import INFERENCE_KEYS, check_config_types
from mmdetr.config.options import read_config
from mmdetr.engine import DetectionRunner
from mmdetr.registry import HOOKS, MODELS

CONFIGS = Path(__file__).parents[2] / 'configs'
DEMO = CONFIGS / 'detr_tiny_1xb32-12e_shapes.py'
COCO = CONFIGS / 'detr_r50_8xb2-150e_coco.py'


def changed(path: Path, key: str, value: Any) -> Config:
    """As a child config states it, of whatever type."""
    config = Config.fromfile(path)
    *parents, last = [int(part) if part.isdigit() else part for part in key.split('.')]
    place: Any = config
    for part in parents:
        place = place[part]
    place[last] = value
    return config


@pytest.mark.parametrize('path', sorted(CONFIGS.rglob('detr*.py')), ids=lambda path: path.stem)
def test_our_configs(path: Path) -> None:
    check_config_types(Config.fromfile(path))


@pytest.mark.parametrize(
    ('key', 'value', 'expected'),
    [
        ('model.bbox_head.num_queries', '100', 'a whole number'),
        ('model.bbox_head.num_queries', 100.0, 'a whole number'),
        ('model.bbox_head.num_queries', None, 'a whole number'),
        ('model.bbox_head.num_queries', True, 'a whole number'),
        ('model.bbox_head.max_per_img', 1.5, 'a whole number or None'),
        ('model.bbox_head.transformer.norm_first', 'False', 'True or False'),
        ('model.bbox_head.transformer.norm_first', 0, 'True or False'),
        ('model.bbox_head.transformer.dropout', '0.1', 'a number'),
        ('model.bbox_head.transformer.dropout', float('nan'), 'a number'),
        ('model.bbox_head.transformer', [], 'a dict'),
        ('model.bbox_head.criterion.assigner.match_costs', ['cls'], 'a dict'),
        ('model.bbox_head.criterion.loss_giou', False, 'a dict or None'),
        ('model.backbone', None, 'a dict'),
        ('model.backbone.frozen_stages', 1.5, 'a whole number'),
        ('model.backbone.out_indices', 3, 'a list of whole numbers'),
        ('model.backbone.type', 5, 'a string'),
        ('model', 'DETR', 'a dict'),
        ('train_dataloader.batch_size', '2', 'a whole number of 1 to 1e+09'),
        ('train_dataloader.batch_size', 0, 'a whole number of 1 to 1e+09'),
        ('val_dataloader.batch_size', None, 'a whole number of 1 to 1e+09'),
        ('val_dataloader.num_workers', -1, 'a whole number of 0 to 512'),
        ('train_dataloader.batch_size', 2.0, 'a whole number of 1 to 1e+09'),
        ('train_dataloader.persistent_workers', 'no', 'True or False'),
        ('train_dataloader.dataset', [], 'a dict'),
        ('train_dataloader.dataset.pipeline', 'train_pipeline', 'a list of'),
        ('train_dataloader.sampler.shuffle', 'False', 'True or False'),
        ('train_cfg.max_epochs', '12', 'a number'),
        ('train_cfg.val_interval', 1.5, 'a whole number'),
        ('optim_wrapper.optimizer.lr', '1e-4', 'a number'),
        ('optim_wrapper.optimizer.lr', None, 'a number'),
        ('optim_wrapper.clip_grad.max_norm', -0.1, 'a number above 0'),
        ('optim_wrapper.clip_grad', 0.1, 'a dict or None'),
        ('optim_wrapper.accumulative_counts', 2.5, 'a whole number'),
        ('optim_wrapper', {}, 'a dict with optimizer or a dict with constructor or None'),
        ('param_scheduler.0.by_epoch', 'True', 'True or False'),
        ('param_scheduler.1.eta_min', -1e-6, 'a number of 0 or more or None'),
        ('default_hooks.checkpoint.interval', '1', 'a whole number'),
        ('default_hooks.checkpoint', 'CheckpointHook', 'a dict with type or None'),
        ('default_hooks.non_finite_guard.action', True, 'a string'),
        ('custom_hooks', dict(type='EMAHook'), 'a list of dicts with type'),
        ('val_evaluator', dict(), 'a dict with type'),
        ('train_dataloader', dict(batch_size=2), 'a dict with dataset or None'),
        ('train_dataloader.dataset', dict(num_images=2), 'a dict with type'),
        ('default_scope', None, 'a string'),
        ('randomness.seed', -1, 'a whole number of 0 to '),
        ('randomness.seed', '0', 'a whole number of 0 to '),
        ('env_cfg.mp_cfg.mp_start_method', 'thread', "'fork' or 'spawn'"),
        ('log_processor.window_size', 0, 'a whole number of 1 or more'),
        ('log_level', 'LOUD', "a whole number or 'NOTSET' or"),
        ('resume', 'yes', "True or False or 'auto'"),
        ('load_from', 5, 'a string or None'),
        ('val_evaluator', 'CocoMetric', 'a dict'),
    ],
)
def test_refused(key: str, value: Any, expected: str) -> None:
    with pytest.raises(TypeError) as caught:
        check_config_types(changed(DEMO, key, value))
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f'{key} must be {expected}')
    assert repr(value) in line


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('auto_scale_lr.base_batch_size', '16'),
        ('auto_scale_lr.enable', 'False'),
        ('optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult', '0.1'),
        ('optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult', -0.1),
        ('param_scheduler.0.gamma', -0.1),
        ('param_scheduler.0.milestones', 100),
        ('train_dataloader.dataset.data_prefix.img', 2017),
        ('train_dataloader.dataset.filter_cfg', dict(filter_empty_gt='False')),
        ('train_dataloader.dataset.pipeline.2.prob', 1.5),
        ('train_dataloader.dataset.pipeline.3.transforms.1.1.min_size', '384'),
        ('train_dataloader.dataset.pipeline.3.transforms.0.0.keep_ratio', 'True'),
        ('train_dataloader.dataset.pipeline.3.transforms.0.0.scales', [(480, '1333')]),
        ('val_evaluator.ann_file', 5),
    ],
)
def test_refused_of_coco(key: str, value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        check_config_types(changed(COCO, key, value))
    (line,) = str(caught.value).splitlines()
    assert line.startswith(key)


EMA = dict(type='EMAHook', momentum=0.0002, priority='NORMAL')
WARMUP = dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=1000)


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        # int for float, lists for tuples and the reverse
        ('model.bbox_head.positional_encoding.temperature', 20),
        ('optim_wrapper.optimizer.weight_decay', 0),
        ('optim_wrapper.optimizer.betas', [0.9, 0.99]),
        ('model.backbone.out_indices', [3]),
        ('model.data_preprocessor.mean', (0, 0, 0)),
        ('param_scheduler.0.milestones', (100, 120)),
        ('test_dataloader.dataset.pipeline.1.scale', [800, 1333]),
        ('train_dataloader.dataset.pipeline.3.transforms.0.0.scales', [[480, 1333], [512, None]]),
        ('train_dataloader.dataset.pipeline.2.prob', [0.25, 0.25]),
        # None for what may be left out
        ('model.backbone.init_cfg', None),
        ('model.bbox_head.criterion.loss_giou', None),
        ('model.bbox_head.criterion', None),
        ('model.bbox_head.criterion.assigner.match_costs.giou', None),
        ('optim_wrapper.clip_grad', None),
        ('optim_wrapper.optimizer.fused', None),
        ('default_hooks.collapse_watch', None),
        ('auto_scale_lr', None),
        ('param_scheduler', None),
        ('val_dataloader', None),
        ('randomness.seed', None),
        # forms that mmengine takes
        ('train_cfg', dict(by_epoch=False, max_iters=1e5, val_interval=1000)),
        ('train_cfg', dict(type='IterBasedTrainLoop', max_iters=10, dynamic_intervals=[(5, 2)])),
        ('param_scheduler', dict(type='StepLR', step_size=8, gamma=0.1, end=12)),
        ('param_scheduler', [WARMUP, dict(type='CosineAnnealingLR', T_max=12, eta_min=0)]),
        ('custom_hooks', [EMA, dict(type='EarlyStoppingHook', monitor='coco/bbox_mAP')]),
        ('default_hooks.checkpoint.save_best', ['coco/bbox_mAP', 'coco/bbox_mAP_50']),
        ('default_hooks.checkpoint.save_best', None),
        ('optim_wrapper', dict(optimizer=dict(type='SGD', lr=1))),
        (
            'optim_wrapper',
            dict(
                type='AmpOptimWrapper',
                dtype='bfloat16',
                loss_scale=dict(init_scale=2.0**10),
                optimizer=dict(type='Adam', lr=1e-4),
                clip_grad=dict(type='value', clip_value=1),
                accumulative_counts=4,
            ),
        ),
        (
            'optim_wrapper',
            dict(
                constructor='LayerDecayConstructor',
                optimizer=dict(type='Adam', lr=1e-4),
                paramwise_cfg=dict(layer_decay=0.7),
            ),
        ),
        ('val_evaluator', [dict(type='CocoMetric'), dict(type='CocoMetric', classwise=True)]),
        ('visualizer.vis_backends', [dict(type='LocalVisBackend'), dict(type='WandbVisBackend')]),
        ('train_dataloader.collate_fn', dict(type='default_collate')),
        ('train_dataloader.batch_sampler', dict(type='SameSizeBatchSampler')),
        ('train_dataloader.num_batch_per_epoch', 100),
        (
            'train_dataloader.dataset',
            dict(type='ConcatDataset', datasets=[dict(type='CocoDataset', ann_file='a.json')]),
        ),
        (
            'train_dataloader.dataset',
            dict(type='RepeatDataset', times=2, dataset=dict(type='CocoDataset')),
        ),
        ('train_dataloader.dataset.metainfo', dict(classes=('a', 'b'))),
        ('train_dataloader.dataset.indices', [0, 1]),
        ('train_dataloader.dataset.filter_cfg', dict(filter_empty_gt=True, min_size=32)),
        ('model_wrapper_cfg', dict(type='MMDistributedDataParallel', find_unused_parameters=True)),
        ('find_unused_parameters', True),
        ('resume', 'auto'),
        ('log_level', 10),
        ('load_from', 'a.pth'),
        ('compile', True),
        ('data_root', 5),  # a variable, which nobody takes
        ('my_own', dict(type=5)),
    ],
)
def test_accepted(key: str, value: Any) -> None:
    check_config_types(changed(COCO, key, value))


@pytest.mark.parametrize(
    ('key', 'value', 'unknown'),
    [
        ('optim_wrapper.paramwise_cfg', dict(custom_key={}), 'custom_key'),
        ('optim_wrapper.paramwise_cfg.custom_keys.backbone', dict(lr_mul=0.1), 'lr_mul'),
        ('optim_wrapper.clip_grad', dict(max_nrm=0.1), 'max_nrm'),
        ('auto_scale_lr', dict(base_batchsize=16), 'base_batchsize'),
        ('env_cfg', dict(cudnn_bench=True), 'cudnn_bench'),
        ('train_dataloader.dataset.filter_cfg', dict(min_sz=32), 'min_sz'),
    ],
)
def test_keys_that_nobody_reads(key: str, value: Any, unknown: str) -> None:
    """mmengine passes over most of them without a word."""
    with pytest.raises(TypeError) as caught:
        check_config_types(changed(COCO, key, value))
    assert str(caught.value).startswith(f'{key}.{unknown} is read by nobody')


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('model.bbox_head.num_querys', 5, 'did you mean num_queries?'),
        ('model.backbone.depht', 18, 'did you mean depth?'),
        ('train_cfg.max_epoch', 5, 'did you mean max_epochs?'),
        ('optim_wrapper.optimizer.learning_rate', 0.1, 'did you mean lr?'),
        ('optim_wrapper.clip_gard', {}, 'did you mean clip_grad?'),
        ('param_scheduler.0.start_facter', 0.1, 'did you mean start_factor?'),
        ('train_dataloader.sampler.shufle', True, 'did you mean shuffle?'),
        ('val_evaluator.metrik', 'bbox', 'did you mean metric?'),
        # Their classes take any argument, and hand it on.
        ('default_hooks.checkpoint.intervall', 5, 'did you mean interval?'),
    ],
)
def test_misspelt_arguments(key: str, value: Any, message: str) -> None:
    with pytest.raises(TypeError) as caught:
        check_config_types(changed(DEMO, key, value))
    assert str(caught.value).startswith(f'{key} is read by nobody')
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ('key', 'value', 'reason'),
    [
        ('param_scheduler.0.start_factor', 0, 'a number above 0 to 1'),
        ('train_cfg.max_epochs', 1e30, 'a number of 1 to 1e+09'),
        ('train_dataloader.batch_size', 10**30, 'a whole number of 1 to 1e+09'),
        ('train_dataloader.num_workers', 100_000, 'a whole number of 0 to 512'),
        ('train_dataloader.dataset.num_images', 10**15, 'a whole number of 1 to 1e+08'),
        ('log_processor.mean_pattern', '(', 'a string that is a regular expression'),
        ('optim_wrapper.optimizer.lr', -1, 'a number of 0 or more'),
        ('train_dataloader.prefetch_factor', 0, 'a whole number of 1 or more'),
        ('optim_wrapper.clip_grad.max_norm', float('inf'), 'finite'),
        ('default_hooks.checkpoint.save_best', float('inf'), ''),
    ],
)
def test_values_that_fail_late(key: str, value: Any, reason: str) -> None:
    with pytest.raises(TypeError) as caught:
        check_config_types(changed(DEMO, key, value))
    assert str(caught.value).startswith(f'{key} must be {reason}')


def test_settings_of_workers_without_workers() -> None:
    config = changed(DEMO, 'train_dataloader.num_workers', 0)
    config.train_dataloader.update(prefetch_factor=2, persistent_workers=True)
    with pytest.raises(TypeError) as caught:
        check_config_types(config)
    assert [line.partition(' ')[0] for line in str(caught.value).splitlines()] == [
        'train_dataloader.prefetch_factor',
        'train_dataloader.persistent_workers',
    ]


def test_component_without_type() -> None:
    config = changed(DEMO, 'custom_hooks', [dict(type='EMAHook'), dict(priority=5)])
    with pytest.raises(TypeError, match=r'^custom_hooks\.1 must be a dict with type, not'):
        check_config_types(config)


def test_every_mismatch_has_its_line() -> None:
    config = changed(DEMO, 'model.bbox_head.num_queries', 'x')
    config.model.neck.out_channels = None
    config.resume = 3
    with pytest.raises(TypeError) as caught:
        check_config_types(config)
    lines = str(caught.value).splitlines()
    assert [line.split()[0] for line in lines] == [
        'resume',
        'model.neck.out_channels',
        'model.bbox_head.num_queries',
    ]


@HOOKS.register_module()
class OwnHook:
    def __init__(self, rate: float, names: list[str] | None = None, anything=None) -> None:
        pass


@MODELS.register_module()
def own_function(width: int) -> None:
    pass


def test_components_of_ones_own() -> None:
    check_config_types(dict(custom_hooks=[dict(type='OwnHook', rate=1, anything={})]))
    check_config_types(dict(custom_hooks=[dict(type=OwnHook, rate=1)]))
    for hook in (dict(type='OwnHook', rate='1'), dict(type=OwnHook, rate='1')):
        with pytest.raises(TypeError, match=r'custom_hooks\.0\.rate must be a number'):
            check_config_types(dict(custom_hooks=[hook]))
    with pytest.raises(TypeError, match=r'names\.1 must be a string'):
        check_config_types(dict(custom_hooks=[dict(type='OwnHook', names=['a', 1])]))
    with pytest.raises(TypeError, match=r'model\.neck\.width must be a whole number'):
        check_config_types(dict(model=dict(neck=dict(type='own_function', width='8'))))
    with pytest.raises(TypeError, match=r'model\.neck\.rate must be a number'):
        check_config_types(dict(model=dict(neck=dict(type='OwnHook', rate='1'))))


def test_only_the_given_keys_are_checked() -> None:
    config = changed(DEMO, 'train_cfg.max_epochs', '12')
    config.test_dataloader.batch_size = '2'
    with pytest.raises(TypeError) as caught:
        check_config_types(config, INFERENCE_KEYS)
    assert str(caught.value).startswith('test_dataloader.batch_size must be')
    assert len(str(caught.value).splitlines()) == 1


# Where it is called


def test_runner_and_detector() -> None:
    config = changed(DEMO, 'model.bbox_head.transformer.norm_first', 'False')
    with pytest.raises(TypeError, match='norm_first must be True or False'):
        DetectionRunner.from_cfg(config)
    with pytest.raises(TypeError, match='norm_first must be True or False'):
        init_detector(config)
    with pytest.raises(TypeError, match='num_queries must be a whole number'):
        init_detector(DEMO, cfg_options={'model.bbox_head.num_queries': 1.5})
    with pytest.raises(KeyError, match='did you mean'):
        init_detector(DEMO, cfg_options={'modle.bbox_head.num_queries': 1})


def test_tools_end_with_the_message(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r'^error: resume must be True or False'):
        read_config(str(DEMO), {'resume': 'no'})
    child = tmp_path / 'child.py'
    child.write_text(f"_base_ = '{DEMO}'\nmodel = dict(bbox_head=dict(num_queries='100'))\n")
    with pytest.raises(SystemExit, match=r'num_queries must be a whole number'):
        read_config(str(child), None)


@pytest.mark.parametrize(
    ('key', 'name', 'text'),
    [
        ('model', 'DETRR', "model.type: no component is registered as 'DETRR'; did you mean DETR?"),
        ('model.neck', 'Nonsense', 'custom_imports=dict(imports=[...]) names the module'),
        ('model.bbox_head.criterion.loss_bbox', 'L1Los', 'did you mean L1Loss?'),
        ('train_dataloader.sampler', 'DefaultSample', 'did you mean DefaultSampler?'),
        ('test_dataloader.dataset.pipeline.0', 'Nonsense', 'test_dataloader.dataset.pipeline.0'),
        ('test_evaluator', 'CocoMetrix', 'did you mean CocoMetric?'),
        ('default_hooks.logger', 'LoggingHook', 'did you mean LoggerHook?'),
        ('param_scheduler.1', 'CosineAnealingLR', 'did you mean CosineAnnealingLR?'),
        ('optim_wrapper.optimizer', 'AdamWW', 'did you mean AdamW?'),
        ('optim_wrapper.optimizer', 'nowhere.AdamW', "no component is registered as 'nowhere.A"),
    ],
)
def test_types_that_nobody_registered(key: str, name: str, text: str) -> None:
    """Also of what is built after the training, as the test data."""
    config = Config.fromfile(CONFIGS / 'detr_tiny_1xb32-12e_shapes.py')
    place: Any = config
    for part in key.split('.'):
        place = place[int(part)] if part.isdigit() else place[part]
    place['type'] = name
    with pytest.raises(TypeError, match=re.escape(text)) as caught:
        check_config_types(config)
    assert str(caught.value).startswith(f'{key}.type: ')


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('model.bbox_head.transformer.num_encoder_layers', 10**30),  # would be built for ever
        ('model.bbox_head.transformer.num_decoder_layers', -1),
        ('model.bbox_head.transformer.feedforward_channels', -1),
        ('default_hooks.checkpoint.rule', 'abc'),
        ('default_hooks.checkpoint.rule', ''),
        ('default_hooks.checkpoint.interval', 0),  # nothing would be saved
        ('env_cfg.mp_cfg.opencv_num_threads', 10**30),
        ('optim_wrapper.clip_grad.norm_type', 1e30),  # its power overflows
        ('default_scope', 'mmdettr'),
        ('default_scope', ''),
    ],
)
def test_values_that_are_built_into_nonsense(key: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f'^{re.escape(key)} must be'):
        check_config_types(changed(DEMO, key, value))


def test_types_of_other_peoples_parts_are_theirs() -> None:
    """Whoever takes a dict may have names of its own."""
    config = dict(custom_hooks=[dict(type='ProfilerHook', on_trace_ready=dict(type='log_trace'))])
    check_config_types(config)
