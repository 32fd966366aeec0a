"""Layouts of architectures that mmdetr does not know."""

import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import nn

from mmdetr.checkpoint import (
    Architecture,
    CheckpointError,
    Layout,
    get_layout,
    load_checkpoint,
    read_checkpoint,
    register_layout,
)
from mmdetr.checkpoint.layouts import layout as registry

# A successor of DETR as somebody would add it: a file of its own.
SUCCESSOR = """
from mmdetr.checkpoint import Architecture, Layout, register_layout

SUCCESSOR = Architecture('Successor', class_rows=('head.label.weight',), has_no_object_row=False)
register_layout(Layout(SUCCESSOR, 'mmdetr', anchors=('head.label.weight', 'head.points.0.bias')))
register_layout(
    Layout(
        SUCCESSOR,
        'facebook',
        anchors=(
            'input_proj.weight',
            'transformer.decoder.layers.0.multihead_attn.in_proj_weight',
            'ref_point_head.0.bias',
        ),
        rows=[
            ('neck.projection.*', 'input_proj.*'),
            ('head.decoder.#.cross_attn.*', 'transformer.decoder.layers.#.multihead_attn.*'),
            ('head.points.*', 'ref_point_head.*'),
            ('head.label.*', 'class_embed.*'),
        ],
    )
)
"""


class Model(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.neck = nn.ModuleDict(dict(projection=nn.Linear(2, 2)))
        self.head = nn.Module()
        self.head.class_rows = ('label.weight',)
        self.head.label = nn.Linear(2, num_classes, bias=False)
        self.head.points = nn.ModuleList([nn.Linear(2, 2)])
        self.head.decoder = nn.ModuleList(
            nn.ModuleDict(dict(cross_attn=nn.MultiheadAttention(2, 1))) for _ in range(2)
        )


@pytest.fixture(autouse=True)
def _own_register(monkeypatch):
    monkeypatch.setattr(registry, '_LAYOUTS', list(registry._LAYOUTS))


@pytest.fixture
def successor(tmp_path, monkeypatch):
    """Registered by ``custom_imports`` of a config."""
    (tmp_path / 'successor_layouts.py').write_text(SUCCESSOR)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'successor_layouts', raising=False)
    (tmp_path / 'config.py').write_text("custom_imports = dict(imports=['successor_layouts'])\n")
    Config.fromfile(tmp_path / 'config.py')


def facebook_weights(num_classes: int) -> dict:
    weights = {'input_proj.weight': torch.rand(2, 2), 'input_proj.bias': torch.rand(2)}
    for i in range(2):
        root = f'transformer.decoder.layers.{i}.multihead_attn'
        weights[f'{root}.in_proj_weight'] = torch.rand(6, 2)
        weights[f'{root}.in_proj_bias'] = torch.rand(6)
        weights[f'{root}.out_proj.weight'] = torch.rand(2, 2)
        weights[f'{root}.out_proj.bias'] = torch.rand(2)
    weights |= {'ref_point_head.0.weight': torch.rand(2, 2), 'ref_point_head.0.bias': torch.rand(2)}
    return weights | {'class_embed.weight': torch.rand(num_classes, 2)}


@pytest.mark.usefixtures('successor')
def test_a_registered_layout_is_recognised_and_loaded(tmp_path, caplog):
    """Its anchors include DETR's: the layout with more of them is meant."""
    weights = facebook_weights(91)
    torch.save(dict(model=weights), tmp_path / 'a.pth')
    file = read_checkpoint(tmp_path / 'a.pth')
    assert (file.layout.architecture.name, file.format) == ('Successor', 'facebook')

    model = Model(2)
    logger = MMLogger.get_instance('test_layout')
    logger.addHandler(caplog.handler)
    load_checkpoint(
        model, tmp_path / 'a.pth', strict=True, classes=('cat', 'person'), logger=logger
    )
    logger.removeHandler(caplog.handler)

    assert torch.equal(model.head.label.weight, weights['class_embed.weight'][[17, 1]])
    own = model.head.decoder[1].cross_attn.out_proj.weight
    assert torch.equal(own, weights['transformer.decoder.layers.1.multihead_attn.out_proj.weight'])
    assert 'format: facebook; Successor' in caplog.text
    # The file names no classes: that its rows are COCO's is a guess.
    assert 'name its rows by checkpoint_classes' in caplog.text


@pytest.mark.usefixtures('successor')
def test_there_and_back():
    layout = get_layout('Successor', 'facebook')
    weights = facebook_weights(3)
    ours, unknown = layout.to_ours(weights | {'other': torch.ones(1)})
    assert unknown == ['other']
    assert layout.from_ours(ours).keys() == weights.keys()
    assert registry.from_mmdetr(ours, 'facebook').keys() == weights.keys()


def test_without_its_layout_the_file_passes_for_a_detr(tmp_path):
    """As an unregistered architecture would: the anchors are DETR's."""
    torch.save(facebook_weights(3), tmp_path / 'a.pth')
    file = read_checkpoint(tmp_path / 'a.pth')
    assert file.layout.architecture.name == 'DETR'
    assert file.unknown == ['ref_point_head.0.weight', 'ref_point_head.0.bias']


@pytest.mark.usefixtures('successor')
def test_a_file_of_another_architecture_is_reported(tmp_path, caplog):
    weights = facebook_weights(3)
    del weights['ref_point_head.0.bias']
    torch.save(weights, tmp_path / 'a.pth')
    logger = MMLogger.get_instance('test_layout')
    logger.addHandler(caplog.handler)
    with pytest.raises(CheckpointError, match='no weight of the model fits'):
        load_checkpoint(nn.Linear(1, 1), tmp_path / 'a.pth')
    load_checkpoint(Model(3), tmp_path / 'a.pth', logger=logger)
    logger.removeHandler(caplog.handler)
    assert 'WARNING: the file is of a DETR, the model a Successor' in caplog.text


def test_wrong_registrations():
    architecture = Architecture('New')
    register_layout(Layout(architecture, 'facebook', anchors=('a',)))
    with pytest.raises(ValueError, match='layout facebook of New is already registered'):
        register_layout(Layout(architecture, 'facebook', anchors=('b',)))
    with pytest.raises(ValueError, match='architecture and anchors'):
        register_layout(Layout(architecture, 'huggingface', anchors=()))
    with pytest.raises(ValueError, match=r'no layout caffe of New.*there are: facebook'):
        get_layout('New', 'caffe')
    with pytest.raises(ValueError, match='architecture is not registered'):
        registry.from_mmdetr({'x': torch.ones(1)}, 'facebook')
