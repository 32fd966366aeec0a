"""Files of RT-DETRv2 and D-FINE as their authors write them."""

import pytest
import torch

from mmdetr.checkpoint import (
    CheckpointError,
    convert,
    from_mmdetr,
    load_checkpoint,
    read_checkpoint,
)
from mmdetr.checkpoint.layouts import find_layout
from mmdetr.checkpoint.loading import load_into
from mmdetr.registry import MODELS
from tests.helpers.realtime_cases import build_model, dfine_config, our_name, rtdetr_config
from tests.helpers.successor_cases import authors_state_dict, read_case

FORMATS = {'rtdetrv2': 'lyuwenyu', 'dfine': 'peterande'}


@pytest.fixture(scope='module', params=FORMATS)
def case(request):
    """Name, meta data, arrays, and weights under the authors' names."""
    meta, arrays = read_case(request.param)
    weights = authors_state_dict(meta)
    weights['decoder.anchors'] = torch.zeros(1, 8400, 4)
    weights['decoder.valid_mask'] = torch.zeros(1, 8400, 1, dtype=torch.bool)
    return request.param, meta, arrays, weights


def config(meta, **head):
    build = dfine_config if 'HGNetv2' in meta['args'] else rtdetr_config
    model = build(meta)
    model['bbox_head'].update(head)
    return model


def test_averaged_weights_are_taken(case, tmp_path):
    _, meta, arrays, weights = case
    others = {key: torch.zeros_like(value) for key, value in weights.items()}
    content = dict(model=others, ema=dict(module=weights, updates=7), last_epoch=3)
    torch.save(content, tmp_path / 'file.pth')
    model = MODELS.build(config(meta))
    load_checkpoint(model, tmp_path / 'file.pth', strict=True)
    expected = build_model(meta, arrays).state_dict()
    found = model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_the_variant_is_told_from_the_names(case, tmp_path):
    name, _, _, weights = case
    torch.save(dict(model=weights), tmp_path / 'file.pth')
    file = read_checkpoint(tmp_path / 'file.pth')
    assert file.format == FORMATS[name]
    wanted = dict(
        rtdetrv2='ResNet-18-vd, 3 maps of 256 channels, 3 decoder layers of 256, feed-forward 1024',
        dfine='HGNetV2-B0 with affine blocks, 2 maps of 128 channels, 3 decoder layers of 128',
    )
    assert str(file.variant).startswith(wanted[name])
    assert not file.unknown


def test_there_and_back(case):
    name, meta, _, weights = case
    ours = {our_name(key): value for key, value in authors_state_dict(meta).items()}
    ours = {key: value for key, value in ours.items() if key.startswith(('bb', 'neck', 'backbone'))}
    theirs = from_mmdetr(ours, FORMATS[name])
    kept = {k: v for k, v in weights.items() if k not in ('decoder.anchors', 'decoder.valid_mask')}
    assert theirs.keys() >= kept.keys()
    for key, value in kept.items():
        torch.testing.assert_close(theirs[key], value)
    constants = {key.rpartition('.')[2] for key in theirs.keys() - kept.keys()}
    assert constants <= {'num_points_scale', 'up', 'reg_scale'}
    for key in theirs.keys() - kept.keys():
        if key.endswith('num_points_scale'):
            number = 1 / 6 if name == 'dfine' else 1 / 4
            torch.testing.assert_close(theirs[key], torch.full((12,), number))


@pytest.mark.parametrize('case', ['dfine'], indirect=True)
def test_other_bins_and_points_are_said(case, tmp_path):
    _, meta, _, weights = case
    states = dict(weights)
    states['decoder.reg_scale'] = torch.tensor([4])
    shares = torch.tensor([1 / 6] * 12)
    states['decoder.decoder.layers.0.cross_attn.num_points_scale'] = shares
    torch.save(dict(model=states), tmp_path / 'file.pth')
    file = read_checkpoint(tmp_path / 'file.pth')
    reports = []
    note = lambda _, report: reports.append(report)  # noqa: E731
    load_into(MODELS.build(config(meta)), file, check=note)
    model = config(meta, reg_scale=8.0)
    model['bbox_head']['transformer']['num_points'] = [4, 8]
    load_into(MODELS.build(model), file, check=note)
    assert not reports[0].warnings
    assert reports[1].warnings == [
        'the file was trained with reg_scale 4, the model has 8: set bbox_head.reg_scale as in the '
        'file',
        'the file shares its points among the maps in another way than num_points (4, 8) of the '
        'model: set bbox_head.transformer.num_points as in the file',
    ]


@pytest.mark.parametrize('fmt', ['peterande', 'huggingface'])
@pytest.mark.parametrize(
    ('head', 'said'),
    [
        (dict(), None),
        (dict(reg_scale=8.0), 'would state reg_scale 4, but the model has 8'),
        (dict(transformer=dict(num_points=[4, 8])), r'num_points \[4, 8\]'),
    ],
)
@pytest.mark.parametrize('case', ['dfine'], indirect=True)
def test_bins_and_points_that_would_be_lost_are_refused(case, fmt, head, said, tmp_path):
    weights = find_layout(case[3]).to_ours(case[3]).state_dict
    model = dict(bbox_head=dict(head))
    meta = dict(mmdetr_version='1', cfg=f'model = {model}')
    torch.save(dict(meta=meta, state_dict=weights), tmp_path / 'ours.pth')
    source = read_checkpoint(tmp_path / 'ours.pth')
    path = tmp_path / ('file.pth' if fmt == 'peterande' else 'model.safetensors')
    if said is None:
        assert convert(source, path, fmt)[0] == path
        return
    with pytest.raises(CheckpointError, match=said):
        convert(source, path, fmt)
    assert not path.exists()


def test_other_classes_are_fitted_by_name(case, tmp_path):
    _, meta, _, weights = case
    torch.save(dict(model=weights), tmp_path / 'file.pth')
    model = MODELS.build(config(meta, num_classes=2))
    load_checkpoint(model, tmp_path / 'file.pth', classes=['dog', 'person'])
    # COCO's classes in the order of their ids: person is the first, dog the 17th.
    head, rows = model.bbox_head, [16, 0]
    for branch, key in (
        (head.cls_branches[2], 'decoder.dec_score_head.2'),
        (head.enc_cls_branch, 'decoder.enc_score_head'),
    ):
        torch.testing.assert_close(branch.weight.data, weights[f'{key}.weight'][rows])
    table = weights['decoder.denoising_class_embed.weight']
    torch.testing.assert_close(head.label_embedding.weight.data, table[[*rows, 80]])


@pytest.mark.parametrize('case', ['rtdetrv2'], indirect=True)  # D-FINE has one version
def test_the_first_version_counts(case):
    *_, weights = case
    first = {
        key.replace('enc_output.proj', 'enc_output.0').replace('enc_output.norm', 'enc_output.1'): v
        for key, v in weights.items()
        if 'num_points_scale' not in key
    }
    for level in range(3):
        for i, part in enumerate(('conv', 'norm')):
            old, new = f'encoder.input_proj.{level}.{part}.', f'encoder.input_proj.{level}.{i}.'
            first = {key.replace(old, new): value for key, value in first.items()}
    converted, unknown = find_layout(first).to_ours(first)
    assert not unknown
    expected = find_layout(weights).to_ours(weights).state_dict
    assert converted.keys() == expected.keys()


def test_a_backbone_alone(case, tmp_path):
    _, meta, arrays, weights = case
    backbone = {
        key.removeprefix('backbone.'): value
        for key, value in weights.items()
        if key.startswith('backbone.')
    }
    torch.save(backbone, tmp_path / 'backbone.pth')
    model = config(meta)['backbone']
    model['init_cfg'] = dict(type='Pretrained', checkpoint=str(tmp_path / 'backbone.pth'))
    built = MODELS.build(model)
    built.init_weights()
    expected = build_model(meta, arrays).backbone.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in built.state_dict().items())
