"""Limits of the arguments of everything that a config builds."""

import math
from typing import Any

import pytest

from mmdetr.registry import DATASETS, HOOKS, MODELS, TASK_UTILS, TRANSFORMS
from mmdetr.utils.arguments import check_at_least

HEAD = dict(
    type='DETRHead',
    num_classes=3,
    num_queries=5,
    in_channels=32,
    positional_encoding=dict(type='SinePositionalEncoding'),
    transformer=dict(type='DETRTransformer', num_encoder_layers=0, num_decoder_layers=1),
)
TRANSFORMER = dict(type='DETRTransformer', embed_dims=32, num_encoder_layers=1)
TORCH = dict(type='TorchTransformer', embed_dims=32, num_encoder_layers=1)


@pytest.mark.parametrize('value', [1, 2.5, None])
def test_at_least_one(value: float | None) -> None:
    check_at_least(1, 'Thing', size=value)


@pytest.mark.parametrize('value', [0, -1, 0.99, math.nan, math.inf])
def test_less_than_one(value: float) -> None:
    with pytest.raises(ValueError, match=f'^size of Thing must be 1 or more, not {value}$'):
        check_at_least(1, 'Thing', other=5, size=value)


@pytest.mark.parametrize(
    ('registry', 'config', 'argument', 'values'),
    [
        (MODELS, dict(type='DetDataPreprocessor'), 'pad_size_divisor', [0, -1]),
        (MODELS, dict(type='DetDataPreprocessor'), 'mean', [[], [1.0], [1.0, 2.0, math.inf]]),
        (MODELS, dict(type='DetDataPreprocessor'), 'std', [[1.0], [1.0, 0.0, 1.0], [1.0, -1, 1]]),
        (MODELS, dict(type='ResNet', depth=18), 'frozen_stages', [-2, 5]),
        (MODELS, dict(type='ResNet', depth=18), 'out_indices', [[], [4], [-1]]),
        (MODELS, dict(type='InputProjection', in_channels=4), 'out_channels', [0, -1]),
        (MODELS, HEAD, 'num_classes', [0, -1]),
        (MODELS, HEAD, 'num_queries', [0, -1]),
        (MODELS, HEAD, 'num_reg_layers', [0, -1]),
        (MODELS, HEAD, 'max_per_img', [0, -1]),
        (MODELS, TRANSFORMER, 'num_heads', [0, -8, 3]),
        (MODELS, TRANSFORMER, 'num_encoder_layers', [-1]),
        (MODELS, TRANSFORMER, 'num_decoder_layers', [0, -1]),
        (MODELS, TRANSFORMER, 'feedforward_channels', [-1]),
        (MODELS, TRANSFORMER, 'dropout', [-0.1, 1.5]),
        (MODELS, TORCH, 'num_heads', [0, -8]),
        (MODELS, TORCH, 'num_encoder_layers', [0]),
        (MODELS, TORCH, 'num_decoder_layers', [0]),
        (MODELS, TORCH, 'feedforward_channels', [0, -1]),
        (MODELS, TORCH, 'dropout', [-0.1, 1.5]),
        (
            MODELS,
            dict(type='SinePositionalEncoding', num_feats=4),
            'temperature',
            [0, -1, math.inf],
        ),
        (MODELS, dict(type='LearnedPositionalEncoding', num_feats=4), 'num_rows', [0, -1]),
        (MODELS, dict(type='LearnedPositionalEncoding', num_feats=4), 'num_cols', [0, -1]),
        (MODELS, dict(type='FlatPositionalEncoding', num_feats=4), 'num_tokens', [0, -1]),
        (MODELS, dict(type='CrossEntropyLoss'), 'no_object_weight', [-0.1, math.inf]),
        (MODELS, dict(type='CrossEntropyLoss'), 'loss_weight', [-1, math.nan]),
        (MODELS, dict(type='L1Loss'), 'loss_weight', [-1, math.nan]),
        (MODELS, dict(type='GIoULoss'), 'loss_weight', [-1, math.nan]),
        (TASK_UTILS, dict(type='ClassificationCost'), 'weight', [-1, math.nan]),
        (TASK_UTILS, dict(type='BBoxL1Cost'), 'weight', [-1, math.nan]),
        (TASK_UTILS, dict(type='GIoUCost'), 'weight', [-1, math.nan]),
        (DATASETS, dict(type='CocoDataset'), 'max_unreadable', [-1]),
        (DATASETS, dict(type='ShapesDataset', num_images=1), 'image_size', [(0, 64), (64, 7)]),
        (DATASETS, dict(type='ShapesDataset', num_images=1), 'seed', [-1]),
        (DATASETS, dict(type='ShapesDataset', num_images=1), 'max_objects', [0, -1]),
        (DATASETS, dict(type='ShapesDataset'), 'num_images', [0, -1]),
        (TRANSFORMS, dict(type='Resize'), 'scale', [(0, 1333), (-800, None)]),
        (TRANSFORMS, dict(type='RandomCrop', max_size=600), 'min_size', [0, -1, 601]),
        (HOOKS, dict(type='DetVisualizationHook'), 'interval', [0, -1]),
        (HOOKS, dict(type='DetVisualizationHook'), 'max_val_images', [-1]),
        (HOOKS, dict(type='DatasetCheckHook'), 'num_files', [-1]),
        (HOOKS, dict(type='HistoryLimitHook'), 'max_length', [0, -1]),
        (HOOKS, dict(type='NonFiniteGuardHook'), 'action', ['halt', '']),
    ],
    ids=lambda value: value['type'] if isinstance(value, dict) else None,
)
def test_limits_of_components(registry: Any, config: dict, argument: str, values: list) -> None:
    for value in values:
        with pytest.raises(ValueError, match=r'must|needs|between|multiple') as error:
            registry.build({**config, argument: value})
        message = str(error.value)
        word = dict(image_size='height|width', std='std', mean='mean').get(argument, argument)
        assert any(each in message for each in word.split('|')), message
