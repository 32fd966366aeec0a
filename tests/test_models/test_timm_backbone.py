"""TimmBackbone against timm's own features."""

import importlib

import pytest
import torch
from safetensors.torch import save_file

from mmdetr.models import TimmBackbone


@pytest.fixture
def timm():
    return pytest.importorskip('timm')


def their_features(timm, name, x, state_dict, **arguments):
    model = timm.create_model(name, features_only=True, **arguments)
    model.load_state_dict(state_dict)
    return model.eval().to(memory_format=torch.channels_last)(
        x.contiguous(memory_format=torch.channels_last)
    )


@pytest.mark.parametrize(
    ('name', 'out_indices', 'strides', 'arguments'),
    [
        ('mobilenetv2_050', (2, 3, 4), (8, 16, 32), {}),
        ('resnet10t', (1, 4), (4, 32), {}),
        ('convnext_atto', (1, 2), (8, 16), {}),
        ('vit_tiny_patch16_224', (3, 11), (16, 16), dict(dynamic_img_size=True)),
        ('swin_tiny_patch4_window7_224', (0, 1), (4, 8), dict(img_size=(64, 96))),
    ],
)
def test_features_are_timms_bit_for_bit(timm, name, out_indices, strides, arguments):
    torch.manual_seed(0)
    backbone = TimmBackbone(name, out_indices, model_args=arguments).eval()
    x = torch.randn(2, 3, 64, 96)
    theirs = their_features(
        timm, name, x, backbone.body.state_dict(), out_indices=out_indices, **arguments
    )
    with torch.no_grad():
        maps = backbone(x)
    assert backbone.strides == strides
    for each, their, width, stride in zip(
        maps, theirs, backbone.out_channels, strides, strict=True
    ):
        assert each.shape == (2, width, 64 // stride, 96 // stride)
        their = their.permute(0, 3, 1, 2) if their.shape != each.shape else their
        assert torch.equal(each, their)


@pytest.mark.parametrize('name', ['mobilenetv2_050', 'convnext_atto', 'resnet10t'])
def test_weights_of_a_file_of_the_whole_model(timm, name, tmp_path):
    whole = timm.create_model(name).eval()
    save_file(whole.state_dict(), tmp_path / 'whole.safetensors')
    backbone = TimmBackbone(name, pretrained=str(tmp_path / 'whole.safetensors')).eval()
    backbone.init_weights()
    x = torch.randn(1, 3, 64, 64)
    expected = whole.forward_intermediates(x, indices=[3], intermediates_only=True)
    torch.testing.assert_close(backbone(x)[-1], expected[0], atol=1e-4, rtol=1e-3)


def test_a_file_of_another_model_is_refused(timm, tmp_path):
    save_file(timm.create_model('mobilenetv2_050').state_dict(), tmp_path / 'other.safetensors')
    backbone = TimmBackbone('mobilenetv2_100', pretrained=str(tmp_path / 'other.safetensors'))
    with pytest.raises(ValueError, match=r'other.safetensors: .* check model_name'):
        backbone.init_weights()


def test_frozen_parts_get_no_gradient_and_keep_their_statistics(timm):
    backbone = TimmBackbone('mobilenetv2_050', (2,), frozen_stages=1, norm_frozen=False).train()
    before = {name: value.clone() for name, value in backbone.body.state_dict().items()}
    sum(each.sum() for each in backbone(torch.randn(2, 3, 64, 64))).backward()
    for name, parameter in backbone.body.named_parameters():
        trained = name.startswith('blocks.2')
        assert (parameter.grad is not None) == parameter.requires_grad == trained, name
    changed = {
        name.split('.bn')[0]
        for name, value in backbone.body.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed
    assert all(name.startswith('blocks.2') for name in changed)


def test_frozen_norms(timm):
    backbone = TimmBackbone('convnext_atto', (1,)).train()
    trained = [name for name, each in backbone.named_parameters() if each.requires_grad]
    assert not any('norm' in name for name in trained)
    assert any('conv' in name for name in trained)


def test_checkpointing_gives_the_same_gradients(timm):
    torch.manual_seed(0)
    backbone = TimmBackbone('mobilenetv2_050', (2,), with_cp=True).train()
    plain = TimmBackbone('mobilenetv2_050', (2,)).train()
    plain.load_state_dict(backbone.state_dict())
    x = torch.randn(1, 3, 64, 64)
    for model in (backbone, plain):
        model(x)[0].square().sum().backward()
    for ours, theirs in zip(backbone.parameters(), plain.parameters(), strict=True):
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad)


def test_a_misspelt_name_lists_the_nearest(timm):
    with pytest.raises(ValueError, match=r"no model 'mobilnetv2_100'.*mobilenetv2_100"):
        TimmBackbone('mobilnetv2_100')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(out_indices=(7,)), 'check out_indices'),
        (dict(frozen_stages=5), r'must be in -1\.\.4'),
        (dict(with_cp=True, norm_frozen=False), 'needs norm_frozen'),
    ],
)
def test_what_timm_does_not_have(timm, arguments, message):
    with pytest.raises(ValueError, match=message):
        TimmBackbone('mobilenetv2_050', **arguments)


def test_without_timm_the_error_says_what_to_install(monkeypatch):
    def refuse(name, *args):
        raise ModuleNotFoundError(f'No module named {name!r}')

    monkeypatch.setattr(importlib, 'import_module', refuse)
    with pytest.raises(ImportError, match=r'pip install "mmdetr\[timm\]"'):
        TimmBackbone('mobilenetv2_100')
