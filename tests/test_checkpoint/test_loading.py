import argparse
import json
import logging
from functools import cache

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel
from torch import nn

from mmdetr.checkpoint import (
    CheckpointError,
    CheckpointFile,
    get_layout,
    load_checkpoint,
    load_into,
)
from mmdetr.registry import MODELS
from tests.helpers.layouts import mask_head_names, names
from tests.helpers.reference import batch, facebook_state_dict, model_config, our_name, read_case

HEAD = 'bbox_head.cls_branch'
CATEGORY_IDS = [
    *range(1, 12), *range(13, 26), 27, 28, *range(31, 45), *range(46, 66), 67, 70,
    *range(72, 83), *range(84, 91),
]  # fmt: skip


@cache
def facebook_weights(case: str) -> dict:
    meta, _ = read_case(case)
    return facebook_state_dict(meta['shapes'], meta['seed'])


def ours(case: str) -> dict:
    return {our_name(name): value for name, value in facebook_weights(case).items()}


def build(case: str = 'sine_post', **changes) -> nn.Module:
    """Our model of a reference case, with initial weights; ``changes`` go to the head."""
    config = model_config(read_case(case)[0])
    config['bbox_head'].update(changes)
    torch.manual_seed(0)
    return MODELS.build(config)


def mmdetection_weights(case: str, rows: list[int]) -> dict:
    """A file's content with the layout of mmdetection and its class rows."""
    weights = facebook_weights(case)
    pairs = names('mmdetection', 18, 3)
    file = {pairs[name]: value for name, value in weights.items()}
    for leaf in ('weight', 'bias'):
        file[f'bbox_head.fc_cls.{leaf}'] = weights[f'class_embed.{leaf}'][rows]
    for name in [n for n in file if n.endswith('running_mean')]:
        file[name.replace('running_mean', 'num_batches_tracked')] = torch.tensor(5)
    return file


@pytest.fixture
def log(caplog):
    """Text of the reports, at the level of people."""
    logger = MMLogger.get_instance('test_load')
    logger.addHandler(caplog.handler)
    yield lambda: '\n'.join(r.getMessage() for r in caplog.records if r.levelno >= logging.INFO)
    logger.removeHandler(caplog.handler)


def load(model: nn.Module, path, **kwargs) -> dict:
    return load_checkpoint(model, path, logger=MMLogger.get_instance('test_load'), **kwargs)


def save(path, content):
    torch.save(content, path)
    return path


def assert_loaded(model: nn.Module, case: str) -> None:
    own, expected = model.state_dict(), ours(case)
    assert own.keys() == expected.keys()
    assert all(torch.equal(own[name], value) for name, value in expected.items())


@pytest.mark.parametrize('case', ['sine_post', 'learned_post', 'sine_pre'])
def test_authors_file_gives_the_authors_numbers(case, tmp_path, log):
    """As their training writes it: with optimizer state and the command line's Namespace."""
    meta, arrays = read_case(case)
    path = save(
        tmp_path / 'checkpoint.pth',
        dict(
            model=facebook_weights(case),
            optimizer=dict(state={}, param_groups=[]),
            lr_scheduler=dict(last_epoch=2),
            epoch=2,
            args=argparse.Namespace(**meta['args']),
        ),
    )
    model = build(case)
    load(model, path, strict=True)

    inputs = batch(meta, arrays)
    with torch.no_grad():
        prediction = model.eval()(inputs['inputs'], inputs['padding_mask'])
    np.testing.assert_allclose(prediction.logits[-1], arrays['pred_logits'][-1], atol=1e-4)
    np.testing.assert_allclose(prediction.bboxes[-1], arrays['pred_boxes'][-1], atol=1e-4)
    total = len(meta['shapes'])
    assert f'loaded: {total} of {total} weights of the model' in log()
    assert 'NEWLY' not in log()


def test_our_file_with_module_prefix_and_training_state(tmp_path, log):
    weights = {f'module.{name}': value for name, value in ours('sine_post').items()}
    meta = dict(epoch=3, dataset_meta=dict(classes=tuple('abc'), palette=[]))
    path = save(tmp_path / 'epoch_3.pth', dict(meta=meta, state_dict=weights, message_hub={}))
    model = build()

    checkpoint = load(model, path, strict=True)

    assert_loaded(model, 'sine_post')
    assert checkpoint['meta']['epoch'] == 3
    assert checkpoint['message_hub'] == {}
    assert checkpoint['state_dict'].keys() == model.state_dict().keys()


@pytest.mark.parametrize('layout', ['huggingface', 'huggingface-native', 'huggingface-5'])
@pytest.mark.parametrize('suffix', ['.safetensors', '.bin'])
def test_huggingface_file(layout, suffix, tmp_path):
    pairs, weights, file = names(layout, 18, 3), facebook_weights('sine_post'), {}
    for name, theirs in pairs.items():
        base, _, part = name.partition('#')
        if base in weights:
            value = weights[base]
            file[theirs] = value.chunk(3)['qkv'.index(part)].clone() if part else value
    path = tmp_path / f'model{suffix}'
    if suffix == '.bin':
        torch.save(file, path)
    else:
        pytest.importorskip('safetensors.torch').save_file(file, path)
    model = build()

    load(model, path, strict=True)

    assert_loaded(model, 'sine_post')


def test_huggingface_class_names_come_from_the_config_beside(tmp_path, log):
    model = build(num_classes=2)
    pairs = names('huggingface', 18, 3)
    theirs = {}
    for name, value in model.state_dict().items():
        for base, other in pairs.items():
            if our_name(base.partition('#')[0]) == name:
                part = base.partition('#')[2]
                theirs[other] = value.chunk(3)['qkv'.index(part)].clone() if part else value
    path = save(tmp_path / 'pytorch_model.bin', theirs)
    config = dict(model_type='detr', id2label={'0': 'boat', '1': 'buoy'}, dilation=False)
    (tmp_path / 'config.json').write_text(json.dumps(config))
    target = build(num_classes=3)
    initial = target.bbox_head.cls_branch.weight.detach().clone()

    load(target, path, classes=('buoy', 'pier', 'boat'))

    head, source = target.bbox_head.cls_branch.weight, model.bbox_head.cls_branch.weight
    assert torch.equal(head[[0, 2, 3]], source[[1, 0, 2]])
    assert torch.equal(head[1], initial[1])
    assert 'NEWLY INITIALISED classes (1): pier' in log()


def test_broken_config_beside_a_huggingface_file(tmp_path):
    (tmp_path / 'config.json').write_text('{')
    file = {name: torch.zeros(1) for name in names('huggingface', 18).values()}
    with pytest.raises(CheckpointError, match=r'config\.json: not valid JSON'):
        load(build(), save(tmp_path / 'pytorch_model.bin', file))


def test_mmdetection_file(tmp_path, log):
    coco80 = [*CATEGORY_IDS, 91]
    file = mmdetection_weights('sine_post', coco80)
    path = save(tmp_path / 'detr.pth', dict(meta=dict(epoch=150), state_dict=file))
    model = build(num_classes=80)

    load(model, path, strict=True)

    expected = ours('sine_post')
    assert torch.equal(model.bbox_head.cls_branch.weight, expected[f'{HEAD}.weight'][coco80])
    assert all(
        torch.equal(value, expected[name])
        for name, value in model.state_dict().items()
        if not name.startswith(HEAD)
    )


def test_mmdetection_file_with_own_classes(tmp_path):
    file = mmdetection_weights('sine_post', [3, 5, 91])
    meta = dict(dataset_meta=dict(CLASSES=('lynx', 'wolf')))
    model = build(num_classes=2)

    load(
        model,
        save(tmp_path / 'own.pth', dict(meta=meta, state_dict=file)),
        classes=['wolf', 'lynx'],
    )

    rows = ours('sine_post')[f'{HEAD}.bias'][[5, 3, 91]]
    assert torch.equal(model.bbox_head.cls_branch.bias, rows)


def test_92_rows_to_80_classes(tmp_path, log):
    path = save(tmp_path / 'detr.pth', dict(model=facebook_weights('sine_post')))
    model = build(num_classes=80)

    checkpoint = load(model, path, strict=True)

    rows = [*CATEGORY_IDS, 91]
    expected = ours('sine_post')
    for leaf in ('weight', 'bias'):
        own = model.state_dict()[f'{HEAD}.{leaf}']
        assert torch.equal(own, expected[f'{HEAD}.{leaf}'][rows])
    assert '80 of 80 classes by name' in log()
    assert checkpoint['meta']['dataset_meta']['cat_ids'] == tuple(CATEGORY_IDS)


def test_own_classes_from_the_model_or_the_argument(tmp_path, log):
    path = save(tmp_path / 'detr.pth', dict(model=facebook_weights('sine_post')))
    by_argument, by_model = build(num_classes=3), build(num_classes=3)
    initial = by_model.bbox_head.cls_branch.bias.detach().clone()
    by_model.dataset_meta = dict(classes=('RBC', 'dog', 'cat'))

    checkpoint = load(by_argument, path, classes=('RBC', 'dog', 'cat'))
    load(by_model, path)

    found = ours('sine_post')[f'{HEAD}.bias']
    expected = torch.stack([initial[0], found[18], found[17], found[91]])
    assert torch.equal(by_argument.bbox_head.cls_branch.bias, expected)
    assert torch.equal(by_model.bbox_head.cls_branch.bias, expected)
    assert 'NEWLY INITIALISED classes (1): RBC' in log()
    assert checkpoint['meta']['dataset_meta'] == dict(classes=('RBC', 'dog', 'cat'))
    with pytest.raises(CheckpointError, match='strict'):
        load(build(num_classes=3), path, classes=('RBC', 'dog', 'cat'), strict=True)


@pytest.mark.parametrize('num_queries', [5, 20])
def test_another_number_of_queries(num_queries, tmp_path, log):
    path = save(tmp_path / 'detr.pth', dict(model=facebook_weights('sine_post')))
    model = build(num_queries=num_queries)
    initial = model.bbox_head.query_embedding.weight.detach().clone()

    load(model, path)

    table, found = model.bbox_head.query_embedding.weight, ours('sine_post')
    found = found['bbox_head.query_embedding.weight']
    assert torch.equal(table[:12], found[:num_queries])
    assert torch.equal(table[12:], initial[12:])
    assert f'the file has 12, the model {num_queries}' in log()
    assert ('NEWLY INITIALISED rows of bbox_head.query_embedding.weight (8)' in log()) == (
        num_queries == 20
    )


def test_larger_table_of_learned_positions(tmp_path):
    path = save(tmp_path / 'detr.pth', dict(model=facebook_weights('learned_post')))
    encoding = dict(type='LearnedPositionalEncoding', num_rows=60, num_cols=50)
    model = build('learned_post', positional_encoding=encoding)

    load(model, path)

    found = ours('learned_post')
    name = 'bbox_head.positional_encoding.{}_embed.weight'
    assert torch.equal(model.state_dict()[name.format('row')][:50], found[name.format('row')])
    assert torch.equal(model.state_dict()[name.format('col')], found[name.format('col')])


def test_other_shapes_and_layers_are_reported(tmp_path, log):
    weights = dict(facebook_weights('sine_post'))
    weights['bbox_embed.layers.2.bias'] = torch.zeros(7)
    weights['transformer.decoder.layers.3.norm1.weight'] = torch.zeros(64)
    del weights['transformer.encoder.layers.0.norm1.bias']
    path = save(tmp_path / 'detr.pth', weights)

    checkpoint = load(build(), path)

    assert 'loaded: 189 of 191 weights' in log()
    assert 'NEWLY INITIALISED (2)' in log()
    assert 'bbox_head.reg_branch.layers.2.bias (file (7,), model (4,))' in log()
    assert 'bbox_head.transformer.encoder.layers.0.norm1.bias' in log()
    assert 'unused (1): bbox_head.transformer.decoder.layers.3.norm1.weight' in log()
    assert 'WARNING: file and model differ in decoder layers: 4 / 3' in log()
    assert len(checkpoint['state_dict']) == 189
    with pytest.raises(CheckpointError, match=r'strict loading(.|\n)*model \(4,\)'):
        load(build(), path, strict=True)


def test_pre_norm_file_in_a_post_norm_model(tmp_path, log):
    load(build('sine_post'), save(tmp_path / 'pre.pth', dict(model=facebook_weights('sine_pre'))))
    assert 'WARNING: file and model differ in norm: pre-norm / post-norm' in log()


def test_nothing_that_fits_is_an_error(tmp_path):
    weights = {name: torch.zeros(3, 3, 3) for name in facebook_weights('sine_post')}
    with pytest.raises(CheckpointError, match='no weight of the model fits'):
        load(build(), save(tmp_path / 'other.pth', dict(model=weights)))


def test_panoptic_file_gives_the_box_model(tmp_path, log):
    file = {f'detr.{name}': value for name, value in facebook_weights('sine_post').items()}
    file |= {name: torch.zeros(1) for name in mask_head_names()}
    path = save(tmp_path / 'panoptic.pth', dict(model=file))
    model = build()

    load(model, path)

    assert_loaded(model, 'sine_post')
    with pytest.raises(CheckpointError, match='strict'):
        load(build(), path, strict=True)
    text = log()
    assert 'unused (32): bbox_head.mask_head.' in text
    assert 'the file has a mask head, the model none: only its boxes are loaded' in text


def test_trainable_batch_norm_takes_frozen_statistics(tmp_path):
    config = model_config(read_case('sine_post')[0])
    config['backbone']['norm_frozen'] = False
    model = MODELS.build(config)
    model.backbone.bn1.num_batches_tracked += 9

    path = save(tmp_path / 'detr.pth', dict(model=facebook_weights('sine_post')))
    load(model, path, strict=True)

    state = model.state_dict()
    counters = [name for name in state if name.endswith('num_batches_tracked')]
    assert len(counters) == 20
    assert all(state[name] == 0 for name in counters)
    assert all(torch.equal(state[name], value) for name, value in ours('sine_post').items())


def test_own_file_with_trainable_batch_norm_keeps_its_counters(tmp_path):
    config = model_config(read_case('sine_post')[0])
    config['backbone']['norm_frozen'] = False
    trained = MODELS.build(config)
    trained.backbone.bn1.num_batches_tracked += 9
    path = save(tmp_path / 'epoch_1.pth', dict(meta={}, state_dict=trained.state_dict()))

    target, frozen = MODELS.build(config), build()
    load(target, path, strict=True)
    load(frozen, path, strict=True)

    assert target.backbone.bn1.num_batches_tracked == 9
    assert torch.equal(frozen.backbone.bn1.weight, trained.backbone.bn1.weight)


def test_half_precision_file_fills_a_float_model(tmp_path):
    weights = {name: value.half() for name, value in facebook_weights('sine_post').items()}
    model = build()
    load(model, save(tmp_path / 'half.pth', dict(model=weights)))
    assert model.neck.projection.weight.dtype == torch.float32
    assert torch.equal(model.neck.projection.weight, weights['input_proj.weight'].float())


def test_wrapped_model(tmp_path):
    model = build()
    wrapper = MMDistributedDataParallel.__new__(MMDistributedDataParallel)
    nn.Module.__init__(wrapper)
    wrapper.module = model
    load(wrapper, save(tmp_path / 'detr.pth', dict(model=facebook_weights('sine_post'))))
    assert_loaded(model, 'sine_post')


@cache
def resnet50_detr(dilation: bool) -> nn.Module:
    config = model_config(read_case('dc5')[0])
    config['backbone']['dilation'] = dilation
    return MODELS.build(config)


@pytest.mark.parametrize(
    ('filename', 'config', 'dilated', 'expected'),
    [
        ('detr.pth', {}, False, 'this model is plain (backbone.dilation=False)'),
        ('detr.pth', {}, True, 'this model is DC5 (backbone.dilation=True)'),
        ('detr-r50-dc5.pth', {}, True, None),
        ('detr-r50-dc5.pth', {}, False, 'WARNING: the file is DC5'),
        ('detr.pth', dict(dilation=False), True, 'WARNING: the file is plain'),
        ('detr.pth', dict(dilation=True), True, None),
    ],
)
def test_dc5_is_said_where_weights_cannot_tell(filename, config, dilated, expected, log):
    facebook = get_layout('DETR', 'facebook')
    file = CheckpointFile(filename, facebook, ours('dc5'), [], {}, config)

    load_into(resnet50_detr(dilated), file, logger=MMLogger.get_instance('test_load'))

    if expected is None:
        assert 'plain' not in log()
    else:
        assert expected in log()
