"""ResNetVd and HGNetV2: sizes of the originals, shapes, freezing."""

import pytest
import torch
from torchvision.ops import FrozenBatchNorm2d

from mmdetr.models import HGNetV2, ResNetVd
from mmdetr.registry import MODELS


@pytest.mark.parametrize(
    ('backbone', 'num_parameters', 'out_channels'),
    [
        # Counted in the originals' own modules.
        (dict(type=ResNetVd, depth=18), 11_199_968, (128, 256, 512)),
        (dict(type=ResNetVd, depth=34), 21_308_128, (128, 256, 512)),
        (dict(type=ResNetVd, depth=50), 23_527_264, (512, 1024, 2048)),
        (dict(type=ResNetVd, depth=101), 42_519_392, (512, 1024, 2048)),
        (dict(type=HGNetV2, size='B0', affine=True), 1_850_396, (256, 512, 1024)),
        (dict(type=HGNetV2, size='B2', affine=True), 6_026_626, (384, 768, 1536)),
        (dict(type=HGNetV2, size='B4'), 13_553_376, (512, 1024, 2048)),
        (dict(type=HGNetV2, size='B5'), 33_325_760, (512, 1024, 2048)),
    ],
    ids=('r18', 'r34', 'r50', 'r101', 'b0', 'b2', 'b4', 'b5'),
)
def test_sizes_are_the_originals(backbone, num_parameters, out_channels):
    with torch.device('meta'):
        backbone = MODELS.build(backbone).eval()
        maps = backbone(torch.zeros(1, 3, 64, 96))
    assert sum(each.numel() for each in backbone.parameters()) == num_parameters
    assert backbone.out_channels == out_channels
    assert backbone.strides == (8, 16, 32)
    assert [each.shape for each in maps] == [
        (1, width, 64 // stride, 96 // stride)
        for width, stride in zip(out_channels, backbone.strides, strict=True)
    ]


@pytest.mark.parametrize('build', [ResNetVd, HGNetV2])
def test_stages_after_the_last_returned_are_not_built(build):
    backbone = build(18 if build is ResNetVd else 'B0', out_indices=(1,))
    assert len(backbone.stages) == 2
    assert len(backbone(torch.zeros(2, 3, 32, 32))) == 1


@pytest.mark.parametrize('build', [ResNetVd, HGNetV2])
def test_frozen_stages_and_norms(build):
    size = 18 if build is ResNetVd else 'B0'
    backbone = build(size, frozen_stages=1, out_indices=(1,)).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone(torch.randn(2, 3, 32, 32))[0].sum().backward()
    for name, each in backbone.named_parameters():
        assert (each.grad is None) == name.startswith(('stem.', 'stages.0.')), name
    changed = {k for k, v in backbone.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert all(name.startswith('stages.1.') for name in changed)
    frozen = build(size, norm_frozen=True)
    assert any(isinstance(each, FrozenBatchNorm2d) for each in frozen.modules())
    assert not any(isinstance(each, torch.nn.BatchNorm2d) for each in frozen.modules())


@pytest.mark.parametrize('build', [ResNetVd, HGNetV2])
def test_checkpointing_gives_the_same_gradients(build):
    torch.manual_seed(0)
    arguments = dict(norm_frozen=True, out_indices=(1,))
    size = 18 if build is ResNetVd else 'B0'
    plain, checkpointed = build(size, **arguments), build(size, with_cp=True, **arguments)
    checkpointed.load_state_dict(plain.state_dict())
    x = torch.randn(1, 3, 32, 32)
    for each in (plain, checkpointed):
        each(x)[0].square().sum().backward()
    for ours, theirs in zip(checkpointed.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize(
    ('build', 'arguments', 'message'),
    [
        (ResNetVd, dict(depth=20), 'depth must be 18, 34, 50 or 101'),
        (HGNetV2, dict(size='B1'), 'one of B0, B2, B4, B5'),
        (ResNetVd, dict(depth=18, frozen_stages=5), 'frozen_stages'),
        (HGNetV2, dict(out_indices=()), 'out_indices'),
        (HGNetV2, dict(with_cp=True), 'needs norm_frozen'),
    ],
)
def test_arguments_outside_of_their_range(build, arguments, message):
    with pytest.raises(ValueError, match=message):
        build(**arguments)
