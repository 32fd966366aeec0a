"""Backbones of timm whose convolutions do the work of fixed batch norms."""

import copy
import pickle

import pytest
import torch
from torch import nn

from mmdetr.models import TimmBackbone
from mmdetr.models.fast import fold_batch_norms, use_fast_forms, use_plain_forms
from mmdetr.models.fast.timm_backbone import JoinedConv2d

timm = pytest.importorskip('timm')


def backbone(name='mobilenetv2_050', frozen_stages=0, **arguments):
    torch.manual_seed(0)
    built = TimmBackbone(name, out_indices=[1, 2], frozen_stages=frozen_stages, **arguments)
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias, 0, 0.1)
    return built.train()


def joined(module):
    return [each for each in module.modules() if isinstance(each, JoinedConv2d)]


@pytest.mark.parametrize('name', ['mobilenetv2_050', 'resnet10t'])
def test_maps_and_gradients_are_those_of_the_plain_form(name):
    plain = backbone(name, norm_frozen=True)
    fast = copy.deepcopy(plain)
    names = list(plain.state_dict())
    use_fast_forms(fast)
    norms = [each for each in fast.modules() if isinstance(each, nn.BatchNorm2d)]
    assert len(joined(fast)) == len(norms) > 5
    assert list(fast.state_dict()) == names
    fast = pickle.loads(pickle.dumps(fast))  # pairs are those of the copy
    images = torch.randn(2, 3, 64, 96)
    for expected, found in zip(plain(images), fast(images), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    for model in (plain, fast):
        sum(each.square().mean() for each in model(images)).backward()
    for (name, first), second in zip(plain.named_parameters(), fast.parameters(), strict=True):
        assert (first.grad is None) == (second.grad is None), name
        if first.grad is not None:
            scale = first.grad.abs().max()
            torch.testing.assert_close(second.grad, first.grad, rtol=1e-3, atol=1e-4 * scale)
    assert any(parameter.grad is not None for parameter in fast.parameters())


def test_norms_that_train_are_left_alone():
    plain = backbone(frozen_stages=-1, norm_frozen=False)
    fast = copy.deepcopy(plain)
    use_fast_forms(fast)
    images = torch.randn(2, 3, 64, 64)
    for expected, found in zip(plain(images), fast(images), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    for expected, found in zip(plain.buffers(), fast.buffers(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_the_plain_form_comes_back():
    plain = backbone()
    other = copy.deepcopy(plain)
    use_fast_forms(other)
    use_plain_forms(other)
    assert [type(each) for each in other.modules()] == [type(each) for each in plain.modules()]


def test_folded_for_good():
    plain = backbone().eval()
    folded = copy.deepcopy(plain)
    use_fast_forms(folded)
    fold_batch_norms(folded)
    assert not any(isinstance(each, nn.BatchNorm2d) for each in folded.modules())
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for expected, found in zip(plain(images), folded(images), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
