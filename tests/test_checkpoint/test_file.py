"""Whose a file is: by its meta, by the names of its weights, or by the model it is for."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmdetr import __version__
from mmdetr.apis import init_detector
from mmdetr.checkpoint import CheckpointError, load_file, read_checkpoint
from tests.helpers.layouts import names

DEMO = Path(__file__).parents[3] / 'shared' / 'cases' / '_tiny' / 'demo.pth'
# A model of nobody's architecture, and one whose names are those of the authors' files.
OWN = {'trunk.weight': torch.ones(2, 2), 'boxes.bias': torch.ones(2)}
LIKE_FACEBOOK = {
    'input_proj.weight': torch.ones(2),
    'transformer.decoder.layers.0.multihead_attn.in_proj_weight': torch.ones(2),
}


def meta_of_0_1_0(scope: str = 'mmdetr') -> dict:
    """What mmdetr 0.1.0 wrote; it had no ``mmdetr_version``."""
    config = Config(dict(default_scope=scope, model=dict(type='DETR')))
    return dict(
        epoch=2,
        iter=10,
        cfg=config.pretty_text,
        seed=1,
        mmengine_version='0.10.7',
        dataset_meta=dict(classes=('a', 'b')),
    )


def save(path, weights, meta=None):
    torch.save(weights if meta is None else dict(meta=meta, state_dict=weights), path)
    return path


@pytest.mark.parametrize('meta', [dict(mmdetr_version=__version__), meta_of_0_1_0()])
def test_our_meta_is_enough(meta, tmp_path):
    file = read_checkpoint(save(tmp_path / 'a.pth', OWN, meta))
    assert file.format == 'mmdetr'
    assert file.state_dict.keys() == OWN.keys()
    assert file.unknown == []
    assert file.variant is None


def test_our_version_counts_more_than_names(tmp_path):
    meta = dict(mmdetr_version=__version__)
    file = read_checkpoint(save(tmp_path / 'a.pth', LIKE_FACEBOOK, meta))
    assert file.format == 'mmdetr'
    assert file.state_dict.keys() == LIKE_FACEBOOK.keys()


def test_mmdetections_file_with_the_same_kind_of_meta(tmp_path):
    weights = {name: torch.zeros(1) for name in names('mmdetection', 18).values()}
    assert (
        read_checkpoint(save(tmp_path / 'a.pth', weights, meta_of_0_1_0('mmdet'))).format
        == 'mmdetection'
    )


@pytest.mark.parametrize('meta', [None, {}, meta_of_0_1_0('mmdet'), dict(mmengine_version='1')])
def test_files_of_others_are_refused(meta, tmp_path):
    path = save(tmp_path / 'a.pth', OWN, meta)
    with pytest.raises(CheckpointError, match=r'a\.pth: of no known layout.* 2 names \(boxes\.bi'):
        read_checkpoint(path)


def test_bare_weights_of_the_model(tmp_path):
    model = nn.Module()
    model.trunk, model.boxes = nn.Linear(2, 2), nn.Linear(2, 2)
    whole = model.state_dict()
    for weights in (whole, OWN, whole | {'other': torch.ones(1)}):
        file = read_checkpoint(save(tmp_path / 'a.pth', weights), model=model)
        assert file.format == 'mmdetr'
        assert file.state_dict.keys() == weights.keys()
    foreign = OWN | {'other': torch.ones(1)}  # parts of both are missing in the other
    with pytest.raises(CheckpointError, match='of no known layout'):
        read_checkpoint(save(tmp_path / 'a.pth', foreign), model=model)


@pytest.mark.skipif(not DEMO.exists(), reason=f'{DEMO} is not here')
def test_a_file_written_by_0_1_0():
    content = load_file(DEMO)
    assert 'mmdetr_version' not in content['meta']
    assert read_checkpoint(DEMO).format == 'mmdetr'

    model = init_detector(Config.fromstring(content['meta']['cfg'], '.py'), DEMO, device='cpu')

    own, saved = model.state_dict(), content['state_dict']
    assert own.keys() == saved.keys()
    assert all(torch.equal(own[name], value) for name, value in saved.items())
    assert model.dataset_meta['classes'] == ('circle', 'rectangle', 'triangle')
