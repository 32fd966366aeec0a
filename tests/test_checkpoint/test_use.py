"""Nothing is tested or used with random weights or as another model than was trained."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from mmdetr import __version__
from mmdetr.apis import init_detector
from mmdetr.checkpoint import CheckpointError, load_file
from mmdetr.checkpoint.comparison import config_differences
from mmdetr.checkpoint.config_text import parse_config
from mmdetr.registry import MODELS

CLASSES = ('circle', 'rectangle', 'triangle')
CONFIG = dict(
    default_scope='mmdetr',
    model=dict(
        type='DETR',
        data_preprocessor=dict(type='DetDataPreprocessor', mean=[123.675, 116.28, 103.53]),
        backbone=dict(type='ResNet', depth=18, out_indices=(1,), frozen_stages=1),
        neck=dict(type='InputProjection', out_channels=32),
        bbox_head=dict(
            type='DETRHead',
            num_classes=3,
            num_queries=6,
            positional_encoding=dict(type='SinePositionalEncoding', temperature=20),
            transformer=dict(
                type='DETRTransformer',
                num_encoder_layers=1,
                num_decoder_layers=1,
                feedforward_channels=32,
                dropout=0.1,
            ),
        ),
    ),
    test_dataloader=dict(
        dataset=dict(
            type='CocoDataset',
            ann_file='nowhere.json',
            metainfo=dict(classes=CLASSES),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations', with_bbox=True),
                dict(type='Resize', scale=(100, 96), keep_ratio=True),
                dict(type='PackDetInputs'),
            ],
        ),
    ),
)


def config(changes: dict[str, Any] | None = None) -> Config:
    cfg = Config(CONFIG).copy()
    cfg.merge_from_dict(changes or {})
    return cfg


@pytest.fixture(scope='module')
def trained(tmp_path_factory: Any) -> Path:
    """A checkpoint as a training leaves it, its config as text."""
    path = tmp_path_factory.mktemp('use') / 'trained.pth'
    torch.manual_seed(0)
    model = MODELS.build(dict(CONFIG['model'], _scope_='mmdetr'))
    meta = dict(
        cfg=config().pretty_text, mmdetr_version=__version__, dataset_meta=dict(classes=CLASSES)
    )
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return path


HEAD = 'model.bbox_head'
STEPS = 'test_dataloader.dataset.pipeline'
RESIZE = f'{STEPS}.2'
PIPELINE = CONFIG['test_dataloader']['dataset']['pipeline']


@pytest.mark.parametrize(
    ('change', 'line'),
    [
        ({f'{HEAD}.transformer.num_heads': 4}, 'num_heads: checkpoint 8, config 4'),
        ({f'{HEAD}.positional_encoding.temperature': 10}, 'temperature: checkpoint 20, config 10'),
        ({f'{HEAD}.positional_encoding.normalize': False}, 'checkpoint True, config False'),
        ({f'{HEAD}.transformer.query_pos': 'none'}, 'checkpoint attention, config none'),
        ({f'{HEAD}.sigmoid_bboxes': False}, 'sigmoid_bboxes: checkpoint True, config False'),
        ({f'{HEAD}.num_queries': 4}, 'num_queries: checkpoint 6, config 4'),
        ({f'{HEAD}.class_activation': dict(type='SigmoidClasses')}, 'config SigmoidClasses'),
        ({'model.data_preprocessor.mean': [0, 0, 0]}, r'mean: checkpoint .*, config \[0, 0, 0\]'),
        ({'model.data_preprocessor.bgr_to_rgb': False}, 'bgr_to_rgb: checkpoint True'),
        ({f'{RESIZE}.scale': (50, 48)}, r'Resize\.scale: checkpoint \[100, 96\], config \(50, 48'),
        ({f'{RESIZE}.keep_ratio': False}, r'Resize\.keep_ratio: checkpoint True, config False'),
        (
            {STEPS: [step for step in PIPELINE if step['type'] != 'Resize']},
            'checkpoint LoadImageFromFile, Resize, config',
        ),
    ],
    ids=lambda value: next(iter(value)).rpartition('.')[2] if isinstance(value, dict) else '',
)
def test_another_function_is_refused_and_named(trained: Path, change: dict, line: str) -> None:
    with pytest.raises(CheckpointError, match=rf'trained\.pth and the config do not .*{line}'):
        init_detector(config(change), trained, device='cpu')
    if 'num_queries' not in line and 'SigmoidClasses' not in line:
        init_detector(config(change), trained, device='cpu', allow_mismatch=True)


def test_what_changes_nothing_passes(trained: Path) -> None:
    changes = {
        'model.fast_forms': False,
        'model.backbone.frozen_stages': -1,
        'model.backbone.norm_frozen': False,
        f'{HEAD}.transformer.dropout': 0.3,
        f'{HEAD}.transformer.num_heads': 8,  # the default, written out
        f'{HEAD}.transformer.embed_dims': 32,
        f'{HEAD}.max_per_img': 3,
        f'{HEAD}.class_activation': dict(type='SoftmaxClasses'),
        f'{STEPS}.3.meta_keys': ('img_id',),
        'model.data_preprocessor.mean': (123.675, 116.28, 103.53),
    }
    init_detector(config(changes), trained, device='cpu')


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'classes': ('circle', 'disc', 'tri')}, 'no weights for the classes disc, tri .*it has c'),
        ({f'{HEAD}.num_classes': 5, 'classes': None}, 'no weights for the classes 0, 1, 2, 3, 4 '),
        ({f'{HEAD}.num_classes': 80, 'classes': None}, 'no weights for the classes person, .* 68'),
        ({f'{HEAD}.num_queries': 8}, 'no values for 2 rows of bbox_head.query_embedding.weight'),
        ({f'{HEAD}.transformer.num_decoder_layers': 2}, 'no values for 18 tensors: bbox_head'),
        ({'model.neck.out_channels': 64}, r'tensors: neck\.projection\.weight \(file \(32, 128'),
    ],
)
def test_random_weights_are_refused(trained: Path, changes: dict, message: str) -> None:
    changes = dict(changes)
    cfg = config()
    if 'classes' in changes:
        cfg.test_dataloader.dataset.metainfo = dict(classes=changes.pop('classes') or ())
        if not cfg.test_dataloader.dataset.metainfo.classes:
            cfg.test_dataloader.dataset.pop('metainfo')
    cfg.merge_from_dict(changes)
    with pytest.raises(CheckpointError, match=message):
        init_detector(cfg, trained, device='cpu')
    model = init_detector(cfg, trained, device='cpu', allow_mismatch=True)
    assert isinstance(model, torch.nn.Module)


def test_classes_in_another_order_go_by_name(trained: Path) -> None:
    names = ('Triangle', 'circle', 'rectangle')
    cfg = config({'test_dataloader.dataset.metainfo.classes': names})
    model = init_detector(cfg, trained, device='cpu')
    saved = load_file(trained)['state_dict']['bbox_head.cls_branch.weight']
    assert torch.equal(model.bbox_head.cls_branch.weight, saved[[2, 0, 1, 3]])
    assert model.dataset_meta['classes'] == names


def test_without_checkpoint_it_says_so() -> None:
    with pytest.warns(UserWarning, match='all weights are random'):
        init_detector(config(), device='cpu')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with pytest.raises(UserWarning):
            init_detector(config(), device='cpu')


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('a = dict(b=[1, (2, -3.5)], c=None)', {'a': {'b': [1, [2, -3.5]], 'c': None}}),
        ("a = {'x.y': dict(lr_mult=0.1), 1: True}", {'a': {'x.y': {'lr_mult': 0.1}, '1': True}}),
        ('a = dict(**dict(b=1), c=2)', {'a': {'b': 1, 'c': 2}}),
        ("a = __import__('os').system('false')", {'a': "__import__('os').system('false')"}),
        ('import os\nos.system("false")\na = 1', {'a': 1}),
        ('a = (', None),
        ('(' * 100_000, None),
        ('a = ' + '-' * 100_000 + '1', None),
        (7, None),
        (dict(a=1), {'a': 1}),
    ],
    ids=range(10),
)
def test_config_text_is_read_and_not_run(text: Any, value: Any) -> None:
    assert parse_config(text) == value


def test_text_of_the_projects_configs_equals_themselves(configs_to_compare: list[Path]) -> None:
    for path in configs_to_compare:
        cfg = Config.fromfile(path)
        theirs = parse_config(cfg.pretty_text)
        assert theirs is not None
        assert config_differences(theirs, cfg) == []


@pytest.fixture
def configs_to_compare() -> list[Path]:
    folder = Path(__file__).parents[2] / 'configs'
    return [
        folder / 'detr_tiny_1xb32-12e_shapes.py',
        folder / 'detr_r50-dc5_16xb4-500e_coco.py',
        folder / 'detr_short_r50_8xb2-150e_coco.py',
    ]


def test_two_published_models_differ(configs_to_compare: list[Path]) -> None:
    tiny, dc5, short = (Config.fromfile(path) for path in configs_to_compare)
    lines = config_differences(dc5, short)
    assert 'model.backbone.dilation: checkpoint True, config False' in lines
    assert 'model.bbox_head.num_reg_layers: checkpoint 3, config 1' in lines
    assert any(line.startswith('model.bbox_head.transformer.type:') for line in lines)
    assert any('Resize' in line for line in config_differences(tiny, dc5))


def test_shapes_that_no_model_has(tmp_path: Path) -> None:
    """What tells about the architecture is read from shapes."""
    weights = init_detector(config(), device='cpu').state_dict()
    weights['bbox_head.query_embedding.weight'] = torch.ones(())
    torch.save(dict(meta=dict(mmdetr_version='1'), state_dict=weights), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'a\.pth: its weights have shapes'):
        init_detector(config(), tmp_path / 'a.pth', device='cpu')
