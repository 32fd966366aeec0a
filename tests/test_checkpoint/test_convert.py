import json
import runpy
import sys
from argparse import Namespace
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmdetr import __version__
from mmdetr.checkpoint import CheckpointError, convert, load_file, read_checkpoint
from mmdetr.datasets.coco_classes import COCO_CATEGORY_IDS, COCO_CLASSES
from mmdetr.utils.operating_point import operating_point_of
from tests.helpers.reference import facebook_state_dict, our_name, read_case

TOOL = Path(__file__).parents[2] / 'tools' / 'convert_checkpoint.py'
HEAD = 'bbox_head.cls_branch'


@cache
def facebook_weights(case: str) -> dict:
    meta, _ = read_case(case)
    return facebook_state_dict(meta['shapes'], meta['seed'])


@pytest.fixture
def facebook_file(tmp_path):
    """A file as the authors' training writes it."""
    path = tmp_path / 'facebook.pth'
    content = dict(
        model=facebook_weights('sine_post'),
        optimizer=dict(state={}),
        args=Namespace(dilation=False, lr=1e-4),
    )
    torch.save(content, path)
    return path


@pytest.fixture
def our_file(tmp_path):
    """A file of a training on COCO's 80 classes, without the training."""
    weights = {our_name(k): v for k, v in facebook_weights('sine_post').items()}
    for leaf in ('weight', 'bias'):
        weights[f'{HEAD}.{leaf}'] = weights[f'{HEAD}.{leaf}'][[*COCO_CATEGORY_IDS, 91]]
    meta = dict(
        epoch=12,
        mmdetr_version=__version__,
        cfg=Config(dict(model=dict(backbone=dict(dilation=True)))).pretty_text,
        dataset_meta=dict(classes=COCO_CLASSES, cat_ids=COCO_CATEGORY_IDS),
    )
    path = tmp_path / 'epoch_12.pth'
    torch.save(dict(meta=meta, state_dict=weights, optimizer={}, message_hub={}), path)
    return path


def run(source, destination, fmt):
    convert(read_checkpoint(source), destination, fmt)
    return destination


def assert_same(weights: dict, expected: dict) -> None:
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], value) for name, value in expected.items())


@pytest.mark.parametrize('suffix', ['safetensors', 'bin'])
def test_facebook_to_huggingface_to_ours_and_back(facebook_file, suffix, tmp_path):
    (tmp_path / 'hf').mkdir()
    hf = run(facebook_file, tmp_path / 'hf' / f'model.{suffix}', 'huggingface')
    mine = run(hf, tmp_path / 'mine.pth', 'mmdetr')
    back = load_file(run(mine, tmp_path / 'back.pth', 'facebook'))

    assert_same(back['model'], load_file(facebook_file)['model'])
    assert 'optimizer' not in back
    config = json.loads((tmp_path / 'hf' / 'config.json').read_text())
    assert config['id2label']['0'] == 'N/A'
    assert config['id2label']['18'] == 'dog'
    assert config['backbone'] == 'resnet18'
    assert (config['d_model'], config['encoder_ffn_dim'], config['num_queries']) == (64, 128, 12)
    assert (config['encoder_layers'], config['decoder_layers']) == (2, 3)
    assert config['dilation'] is False


def test_training_state_goes_meta_stays(our_file, facebook_file, tmp_path):
    stripped = load_file(run(our_file, tmp_path / 'a.pth', 'mmdetr'))
    original = load_file(our_file)
    assert stripped.keys() == {'meta', 'state_dict'}
    assert stripped['meta'] == original['meta']
    assert_same(stripped['state_dict'], original['state_dict'])

    meta = load_file(run(facebook_file, tmp_path / 'b.pth', 'mmdetr'))['meta']
    assert meta['source_config'] == dict(dilation=False, lr=1e-4)
    assert meta['dataset_meta']['classes'][:3] == ('N/A', 'person', 'bicycle')
    assert meta['dataset_meta']['cat_ids'] == tuple(range(91))


@pytest.mark.parametrize(('fmt', 'name'), [('facebook', 'a.pth'), ('huggingface', 'a.bin')])
def test_operating_point_goes_along(our_file, fmt, name, tmp_path):
    point = dict(name='all', threshold=0.4, precision=0.9, recall=0.8, f1=0.85, num_objects=9)
    stated = dict(everything=point, classes=[dict(point, name='cat')], iou=0.5, num_images=5)
    content = load_file(our_file)
    torch.save(dict(content, meta=dict(content['meta'], operating_point=stated)), our_file)
    (tmp_path / 'other').mkdir()
    other = run(our_file, tmp_path / 'other' / name, fmt)
    back = run(other, tmp_path / 'back.pth', 'mmdetr')
    for path in (other, back):
        assert operating_point_of(read_checkpoint(path).meta).to_dict() == stated


@pytest.mark.parametrize(('fmt', 'name'), [('facebook', 'a.pth'), ('huggingface', 'a.bin')])
def test_80_classes_become_92_rows_and_come_back(our_file, fmt, name, tmp_path):
    theirs = run(our_file, tmp_path / name, fmt)
    back = load_file(run(theirs, tmp_path / 'back.pth', 'mmdetr'))

    content = load_file(theirs)
    weights = content['model'] if fmt == 'facebook' else content
    head = 'class_embed' if fmt == 'facebook' else 'class_labels_classifier'
    logits = weights[f'{head}.weight'] @ torch.ones(64) + weights[f'{head}.bias']
    original = load_file(our_file)
    own = original['state_dict']
    own_logits = own[f'{HEAD}.weight'] @ torch.ones(64) + own[f'{HEAD}.bias']
    # The probabilities of the 80 classes and no-object are untouched, the other rows have none.
    expected = torch.zeros(92)
    expected[[*COCO_CATEGORY_IDS, 91]] = own_logits.softmax(0)
    torch.testing.assert_close(logits.softmax(0), expected)
    assert_same(back['state_dict'], own)
    assert back['meta']['dataset_meta'] == original['meta']['dataset_meta']
    # In a file of another format the version would say that the names are ours.
    assert 'mmdetr_version' not in content.get('meta', {})
    assert back['meta']['mmdetr_version'] == __version__


def test_own_classes_keep_their_rows(our_file, tmp_path):
    content = torch.load(our_file, weights_only=True)
    for leaf in ('weight', 'bias'):
        content['state_dict'][f'{HEAD}.{leaf}'] = content['state_dict'][f'{HEAD}.{leaf}'][:3]
    content['meta'] = dict(dataset_meta=dict(classes=('RBC', 'WBC')))
    torch.save(content, our_file)

    facebook = load_file(run(our_file, tmp_path / 'facebook.pth', 'facebook'))
    hf = run(our_file, tmp_path / 'model.bin', 'huggingface')

    assert torch.equal(facebook['model']['class_embed.bias'], content['state_dict'][f'{HEAD}.bias'])
    assert facebook['meta']['dataset_meta'] == dict(classes=('RBC', 'WBC'))
    assert read_checkpoint(hf).classes == ('RBC', 'WBC')


def test_an_existing_config_is_left_alone(facebook_file, tmp_path):
    (tmp_path / 'config.json').write_text('{"mine": 1}')
    written = convert(read_checkpoint(facebook_file), tmp_path / 'model.bin', 'huggingface')
    assert written == [tmp_path / 'model.bin', tmp_path / 'preprocessor_config.json']
    assert (tmp_path / 'config.json').read_text() == '{"mine": 1}'


def test_what_huggingface_cannot_hold(tmp_path):
    path = tmp_path / 'pre.pth'
    torch.save(dict(model=facebook_weights('sine_pre')), path)
    with pytest.raises(CheckpointError, match=r'pre\.pth: the huggingface format has no place'):
        run(path, tmp_path / 'model.bin', 'huggingface')
    assert not (tmp_path / 'model.bin').exists()


@pytest.mark.parametrize(
    ('name', 'fmt'), [('a.safetensors', 'mmdetr'), ('a.pth', 'huggingface'), ('a', 'facebook')]
)
def test_name_that_does_not_suit_the_format(facebook_file, name, fmt, tmp_path):
    with pytest.raises(CheckpointError, match='checkpoint is named'):
        run(facebook_file, tmp_path / name, fmt)


@pytest.fixture
def tool(monkeypatch, capsys):
    """Run the command line; returns what it printed, or exits as it does."""

    def run_tool(*args):
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, args)])
        runpy.run_path(str(TOOL), run_name='__main__')
        return capsys.readouterr().out

    return run_tool


def test_the_tool_converts_and_inspects(facebook_file, tool, tmp_path):
    output = tool(facebook_file, tmp_path / 'mine.pth', '--to', 'mmdetr', '--inspect')

    lines = dict(line.split(': ', 1) for line in output.splitlines() if ': ' in line)
    assert lines['format'] == 'facebook'
    assert lines['variant'] == (
        'ResNet-18, 2 encoder and 3 decoder layers, width 64, feed-forward 128, post-norm, sine or '
        'no positions, 12 queries, 92 class rows'
    )
    assert lines['DC5'] == 'no'
    assert lines['mask head'] == 'no'
    assert lines['classes'].startswith('80: person, bicycle, car')
    assert lines['beside the weights'] == 'optimizer, args'
    assert f'wrote {tmp_path / "mine.pth"}' in output
    weights = load_file(tmp_path / 'mine.pth')['state_dict']
    assert_same(weights, {our_name(k): v for k, v in facebook_weights('sine_post').items()})


def test_the_tool_says_what_is_wrong(tool, tmp_path, capsys):
    with pytest.raises(SystemExit, match=r'error: .*missing\.pth'):
        tool('--inspect', tmp_path / 'missing.pth')
    with pytest.raises(SystemExit):
        tool(tmp_path / 'missing.pth')
    assert '--inspect to look' in capsys.readouterr().err
