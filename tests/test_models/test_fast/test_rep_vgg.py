"""Folded real-time detectors against themselves before."""

import pytest
import torch
from torch import nn

from mmdetr.models import DFINEHybridEncoder, HGNetV2, HybridEncoder, ResNetVd
from mmdetr.models.fast import fold_batch_norms
from mmdetr.models.fast.rep_vgg import FoldedRepVGGBlock
from mmdetr.models.fast.winograd import WinogradConv2d


def with_statistics(model):
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.1, 0.1)
    return model.eval()


@pytest.mark.parametrize('winograd', [False, True])
@pytest.mark.parametrize(
    ('build', 'sizes'),
    [
        (lambda: ResNetVd(18, out_indices=(1, 2)), None),
        (lambda: ResNetVd(50, norm_frozen=True, out_indices=(1,)), None),
        (lambda: HGNetV2('B0', affine=True), None),
        (lambda: HybridEncoder([32, 64], 64, feedforward_channels=64), (32, 64)),
        (lambda: HybridEncoder([16, 128], 128, expansion=0.5), (16, 128)),
        (lambda: DFINEHybridEncoder([32, 64], 64, expansion=0.5), (32, 64)),
    ],
    ids=('r18', 'r50', 'b0', 'hybrid', 'hybrid-half', 'dfine'),
)
def test_folded_models_compute_the_same(build, sizes, winograd):
    model = with_statistics(build())
    if sizes is None:
        x = torch.randn(2, 3, 64, 96)
    else:
        x = [torch.randn(2, c, 8 // 2**i, 12 // 2**i) for i, c in enumerate(sizes)]
    with torch.no_grad():
        before = model(x)
        fold_batch_norms(model, winograd=winograd)
        after = model(x)
    for ours, expected in zip(after, before, strict=True):
        torch.testing.assert_close(ours, expected, atol=2e-4, rtol=2e-4)
    assert not any('BatchNorm' in type(module).__name__ for module in model.modules())


def test_two_convolutions_become_one():
    model = with_statistics(HybridEncoder([16, 128], 128))
    number = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    fold_batch_norms(model, winograd=True)
    blocks = [each for each in model.modules() if isinstance(each, FoldedRepVGGBlock)]
    assert len(blocks) == 6
    left = sum(isinstance(each, nn.Conv2d | WinogradConv2d) for each in model.modules())
    assert left == number - len(blocks)
    assert sum(isinstance(each, WinogradConv2d) for each in model.modules()) == len(blocks)
