"""``init_cfg=dict(type='Pretrained', ...)`` of whole models and of parts."""

import hashlib
import os
from collections import OrderedDict

import pytest
import torch
import torchvision
from mmengine.model import BaseModule
from mmengine.registry import DefaultScope
from torch import nn

from mmdetr.checkpoint import CheckpointError, from_mmdetr
from mmdetr.models.backbones import ResNet
from mmdetr.registry import MODELS
from tests.helpers.reference import facebook_state_dict, model_config, our_name, read_case


def pretrained(checkpoint, **kwargs) -> dict:
    return dict(type='Pretrained', checkpoint=str(checkpoint), **kwargs)


def resnet(checkpoint, depth: int = 18, **kwargs) -> ResNet:
    backbone = ResNet(depth, init_cfg=pretrained(checkpoint), **kwargs)
    backbone.init_weights()
    return backbone


def assert_holds(module: nn.Module, weights: dict) -> None:
    own = module.state_dict()
    wanted = [name for name in own if not name.endswith('num_batches_tracked')]
    assert wanted
    assert all(torch.equal(own[name], weights[name]) for name in wanted)


class Projection(BaseModule):
    def __init__(self, init_cfg: dict) -> None:
        super().__init__(init_cfg=init_cfg)
        self.projection = nn.Conv2d(512, 64, 1)


@pytest.fixture
def facebook_weights() -> dict:
    meta, _ = read_case('sine_post')
    return facebook_state_dict(meta['shapes'], meta['seed'])


@pytest.fixture
def our_weights(facebook_weights) -> dict:
    return {our_name(name): value for name, value in facebook_weights.items()}


@pytest.fixture
def backbone_weights(our_weights) -> dict:
    prefix = 'backbone.'
    return {k.removeprefix(prefix): v for k, v in our_weights.items() if k.startswith(prefix)}


@pytest.mark.parametrize('out_indices', [(3,), (0, 1)])
@pytest.mark.parametrize('norm_frozen', [True, False])
def test_classifier_and_later_stages_are_ignored(out_indices, norm_frozen, tmp_path):
    source = torchvision.models.resnet18()
    source.bn1.num_batches_tracked += 4
    torch.save(source.state_dict(), tmp_path / 'resnet18.pth')
    backbone = resnet(tmp_path / 'resnet18.pth', out_indices=out_indices, norm_frozen=norm_frozen)
    assert_holds(backbone, source.state_dict())
    assert backbone.is_init
    if not norm_frozen:
        assert backbone.bn1.num_batches_tracked == 4


def test_file_without_counters_leaves_them(tmp_path):
    source = {
        k: v for k, v in torchvision.models.resnet18().state_dict().items() if 'num_' not in k
    }
    torch.save(source, tmp_path / 'a.pth')
    assert resnet(tmp_path / 'a.pth', norm_frozen=False).bn1.num_batches_tracked == 0


@pytest.mark.parametrize('fmt', ['mmdetr', 'facebook', 'mmdetection', 'huggingface-native'])
def test_the_backbone_of_any_detector(fmt, our_weights, backbone_weights, tmp_path):
    torch.save(dict(state_dict=from_mmdetr(our_weights, fmt)), tmp_path / 'detr.pth')
    assert_holds(resnet(tmp_path / 'detr.pth'), backbone_weights)


@pytest.mark.parametrize('prefix', ['backbone.0.body.', 'backbone.', 'net.module.'])
def test_the_backbone_of_an_unknown_detector(prefix, backbone_weights, tmp_path):
    weights = {prefix + name: value for name, value in backbone_weights.items()}
    torch.save(dict(model=weights | {'head.conv1.weight': torch.ones(1)}), tmp_path / 'a.pth')
    assert_holds(resnet(tmp_path / 'a.pth'), backbone_weights)


def test_torchvision_names(backbone_weights, tmp_path, monkeypatch):
    (tmp_path / 'checkpoints').mkdir()
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    torch.save(backbone_weights, tmp_path / 'resnet18.pth')
    digest = hashlib.sha256((tmp_path / 'resnet18.pth').read_bytes()).hexdigest()[:8]
    (tmp_path / 'resnet18.pth').rename(tmp_path / 'checkpoints' / f'resnet18-{digest}.pth')
    monkeypatch.setattr(
        'mmdetr.checkpoint.io.torchvision_url',
        lambda name: f'http://nowhere.invalid/{name}-{digest}.pth',
    )
    assert_holds(resnet('torchvision://resnet18'), backbone_weights)


def test_what_does_not_fit_is_named(backbone_weights, tmp_path):
    path = tmp_path / 'resnet18.pth'
    torch.save(backbone_weights, path)
    with pytest.raises(ValueError, match=r'resnet18\.pth: .*ResNet.*first layer1\.2\.conv1.*depth'):
        resnet(path, depth=34)
    backbone_weights['layer2.0.bn1.bias'] = torch.zeros(3)
    torch.save({f'backbone.{k}': v for k, v in backbone_weights.items()}, path)
    with pytest.raises(ValueError, match=r': 1 of 100 tensors.*first backbone\.layer2\.0\.bn1\.b'):
        resnet(path)
    with pytest.raises(FileNotFoundError, match=r'no\.pth'):
        resnet(tmp_path / 'no.pth')


def test_two_backbones_need_a_prefix(backbone_weights, tmp_path):
    other = {name: value + 1 for name, value in backbone_weights.items()}
    content = {f'teacher.{k}': v for k, v in other.items()}
    content |= {f'student.{k}': v for k, v in backbone_weights.items()}
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'at student\., teacher\.: set prefix'):
        resnet(tmp_path / 'a.pth')
    for prefix in ('teacher.', 'teacher'):
        backbone = ResNet(18, init_cfg=pretrained(tmp_path / 'a.pth', prefix=prefix))
        backbone.init_weights()
        assert_holds(backbone, other)


@pytest.mark.parametrize('prefix', [None, 'neck', 'input_proj'])
def test_any_part(prefix, facebook_weights, tmp_path):
    """Its prefix is the one here or in the file."""
    torch.save(dict(model=facebook_weights), tmp_path / 'detr.pth')
    if prefix == 'input_proj':
        neck = nn.Conv2d(512, 64, 1)
        layer = BaseModule(init_cfg=pretrained(tmp_path / 'detr.pth', prefix=prefix))
        layer.weight, layer.bias = neck.weight, neck.bias
    else:
        kwargs = {} if prefix is None else dict(prefix=prefix)
        layer = Projection(pretrained(tmp_path / 'detr.pth', **kwargs))
        neck = layer.projection
    layer.init_weights()
    assert torch.equal(neck.weight, facebook_weights['input_proj.weight'])
    assert torch.equal(neck.bias, facebook_weights['input_proj.bias'])


def test_whole_detector(facebook_weights, our_weights, tmp_path):
    torch.save(dict(model=facebook_weights), tmp_path / 'detr.pth')
    config = model_config(read_case('sine_post')[0])
    model = MODELS.build(config | dict(init_cfg=pretrained(tmp_path / 'detr.pth')))
    model.init_weights()
    assert_holds(model, our_weights)


def test_a_backbone_works_without_a_scope(backbone_weights, tmp_path, monkeypatch):
    torch.save({f'backbone.{k}': v for k, v in backbone_weights.items()}, tmp_path / 'a.pth')
    with DefaultScope.overwrite_default_scope('mmengine'):
        assert_holds(resnet(tmp_path / 'a.pth'), backbone_weights)
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())
    assert DefaultScope.get_current_instance() is None
    assert_holds(resnet(tmp_path / 'a.pth'), backbone_weights)


class Hostile:
    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


@pytest.mark.parametrize('kwargs', [{}, dict(prefix='neck')])
@pytest.mark.parametrize('part', [ResNet, Projection])
def test_hostile_file_runs_nothing(part, kwargs, tmp_path, monkeypatch):
    # As an older torch would, were it asked.
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    torch.save({'a': Hostile(tmp_path / 'flag')}, tmp_path / 'a.pth')
    module = part(init_cfg=pretrained(tmp_path / 'a.pth', **kwargs))
    with pytest.raises(CheckpointError, match=r'a\.pth asks for more than plain data'):
        module.init_weights()
    assert not (tmp_path / 'flag').exists()
