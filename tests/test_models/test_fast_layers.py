"""Layers that exist for speed, against torch's plain ones."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import resnet as torchvision_resnet
from torchvision.ops import FrozenBatchNorm2d

from mmdetr.models.backbones.resnet import BLOCKS, ResNet
from mmdetr.models.layers import attention
from mmdetr.models.layers.attention import MultiheadAttention
from mmdetr.models.layers.conv_norm import conv_norm, fold
from mmdetr.models.layers.dropout import Dropout, dropout
from mmdetr.models.layers.linear import linear
from mmdetr.models.layers.winograd import WinogradConv2d


@pytest.mark.parametrize('p', [0.1, 0.5, 0.003])
def test_dropout_share_and_scale(p):
    torch.manual_seed(0)
    x = torch.full((1001, 999), 2.0)
    y = dropout(x, p, training=True)
    count = x.numel()
    zeros = (y == 0).sum().item()
    # Five standard deviations of the binomial distribution, and the resolution of p.
    assert abs(zeros - p * count) < 5 * (count * p * (1 - p)) ** 0.5 + count / 65536
    assert y[y != 0].unique().tolist() == pytest.approx([2 / (1 - p)])


def test_dropout_elements_are_independent():
    """Four elements share one random integer: neighbours must not go together."""
    torch.manual_seed(0)
    kept = (dropout(torch.ones(1_000_000), 0.5, training=True) != 0).float() - 0.5
    for distance in (1, 2, 3, 4, 5, 8):
        correlation = (kept[distance:] * kept[:-distance]).mean() / 0.25
        assert abs(correlation) < 5e-3, distance


def test_dropout_gradient_follows_the_mask():
    torch.manual_seed(0)
    x = torch.rand(50, 70, dtype=torch.float64, requires_grad=True)
    y = dropout(x, 0.3, training=True)
    y.sum().backward()
    torch.testing.assert_close(x.grad, (y != 0).double() / 0.7)
    assert torch.autograd.gradcheck(
        lambda z: dropout(z, 0.3, training=True) if torch.manual_seed(1) else z,
        torch.rand(7, dtype=torch.float64, requires_grad=True),
    )


def test_dropout_follows_the_seed_and_rests_in_eval():
    x = torch.rand(400)
    layer = Dropout(0.4)
    outputs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outputs.append(layer(x))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(Dropout(1.0)(x), torch.zeros(400))
    with pytest.raises(ValueError, match='probability'):
        Dropout(1.5)


MASKS = {
    'none': lambda: None,
    'bool': lambda: torch.rand(2, 1, 5, 9) > 0.4,
    'float': lambda: torch.randn(2, 4, 5, 9),
    'empty row': lambda: torch.arange(5)[:, None].expand(2, 1, 5, 9) != 3,
}


@pytest.mark.parametrize('mask', MASKS)
def test_attention_with_dropout_is_torchs(mask, monkeypatch):
    """Step by step, but for the random numbers, it is the fused kernel's result and gradient."""
    torch.manual_seed(0)
    layer = MultiheadAttention(32, 4, dropout=0.25)
    query, key, value = torch.randn(2, 5, 32), torch.randn(2, 9, 32), torch.randn(2, 9, 32)
    query.requires_grad_()
    attn_mask = MASKS[mask]()
    seen = []

    def keep_all(weights, p, training):
        seen.append((weights.sum(-1), p, training))
        return weights

    expected = layer.eval()(query, key, value, attn_mask)
    expected_gradient = torch.autograd.grad(expected.square().sum(), query)
    monkeypatch.setattr(attention, 'dropout', keep_all)
    output = layer.train()(query, key, value, attn_mask)
    gradient = torch.autograd.grad(output.square().sum(), query)

    assert [entry[1:] for entry in seen] == [(0.25, True)]
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize('relu', [False, True])
@pytest.mark.parametrize('bias', [False, True])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_linear_is_torchs_and_follows_hooks(relu, bias, dtype):
    torch.manual_seed(0)
    layer = nn.Linear(24, 40, bias=bias).to(dtype)
    x = torch.randn(2, 7, 24, dtype=dtype)
    expected = F.linear(x, layer.weight, layer.bias)
    expected = F.relu(expected) if relu else expected
    torch.testing.assert_close(linear(layer, x, relu), expected)  # with gradients
    with torch.no_grad():
        torch.testing.assert_close(linear(layer, x, relu), expected)
        layer.register_forward_hook(lambda module, inputs, output: output * 0 + 3)
        assert (linear(layer, x, relu) == 3).all()


@pytest.mark.parametrize('size', [(1, 1), (4, 4), (5, 7), (13, 30)])
@pytest.mark.parametrize('batch', [1, 3])
def test_winograd_is_the_convolution(size, batch):
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 10, 3, padding=1)
    x = torch.randn(batch, 6, *size)
    expected = conv.double()(x.double())
    output = WinogradConv2d(conv.float())(x)
    assert output.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(output.double(), expected, atol=2e-5, rtol=0)
    exact = WinogradConv2d(conv.double())(x.double())
    torch.testing.assert_close(exact, expected, atol=1e-12, rtol=0)


def test_winograd_is_an_operation_for_the_compiler():
    layer = WinogradConv2d(nn.Conv2d(6, 10, 3, padding=1))
    x = torch.randn(2, 6, 9, 14).contiguous(memory_format=torch.channels_last)
    arguments = (x, layer.weight, layer.bias)
    torch.library.opcheck(torch.ops.mmdetr.winograd_conv2d.default, arguments)
    torch.testing.assert_close(torch.ops.mmdetr.winograd_conv2d(*arguments), layer(x))


@pytest.mark.parametrize(
    'changed',
    [dict(stride=2), dict(padding=0), dict(dilation=2), dict(groups=2), dict(kernel_size=1)],
)
def test_winograd_refuses_other_convolutions(changed):
    conv = nn.Conv2d(4, 4, **(dict(kernel_size=3, padding=1) | changed))
    assert not WinogradConv2d.fits(conv)
    with pytest.raises(ValueError, match='3x3'):
        WinogradConv2d(conv)


def random_norm(kind: type, channels: int) -> nn.Module:
    norm = kind(channels)
    for name, value in norm.state_dict().items():
        if value.is_floating_point():
            value.uniform_(0.5, 2) if name != 'bias' else value.normal_()
    return norm.eval()


@pytest.mark.parametrize('kind', [FrozenBatchNorm2d, nn.BatchNorm2d])
@pytest.mark.parametrize('relu', [True, False])
@pytest.mark.parametrize('with_shortcut', [True, False])
@pytest.mark.parametrize('recording', [True, False])
@pytest.mark.parametrize('overwrite', [True, False])
def test_conv_norm_is_its_parts(kind, relu, with_shortcut, recording, overwrite):
    torch.manual_seed(0)
    conv = nn.Conv2d(5, 8, 3, stride=2, padding=1, bias=False)
    norm = random_norm(kind, 8)
    x = torch.randn(2, 5, 9, 12).to(memory_format=torch.channels_last)
    shortcut = torch.randn(2, 8, 5, 6).to(memory_format=torch.channels_last)
    expected = norm(conv(x)) + (shortcut if with_shortcut else 0)
    expected = F.relu(expected) if relu else expected

    given = shortcut.clone() if with_shortcut else None
    with torch.set_grad_enabled(recording):
        output = conv_norm(conv, norm, x, given, relu, overwrite)
    if with_shortcut and not overwrite:
        assert torch.equal(given, shortcut)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    if recording:
        wanted = torch.autograd.grad(expected.square().sum(), conv.weight)
        gradient = torch.autograd.grad(output.square().sum(), conv.weight)
        torch.testing.assert_close(gradient, wanted, atol=1e-3, rtol=1e-4)


def test_trained_batch_norm_keeps_its_batch_statistics():
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 4, 1, bias=False), random_norm(nn.BatchNorm2d, 4).train()
    x = torch.randn(2, 3, 5, 5)
    output = conv_norm(conv, norm, x, relu=False)
    torch.testing.assert_close(output.mean((0, 2, 3)), norm.bias, atol=1e-5, rtol=0)


@pytest.mark.parametrize('winograd', [False, True])
def test_fold_for_good(winograd):
    torch.manual_seed(0)
    owner = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, bias=False), random_norm(nn.BatchNorm2d, 6))
    x = torch.randn(1, 4, 10, 11)
    expected = F.relu(owner(x))
    fold(owner, '0', '1', winograd)
    assert isinstance(owner[1], nn.Identity)
    assert isinstance(owner[0], WinogradConv2d) == winograd
    with torch.no_grad():
        output = conv_norm(owner[0], owner[1], x)
    torch.testing.assert_close(output, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('watched', [False, True])
@pytest.mark.parametrize('depth', [18, 50])
def test_gradients_of_the_backbone_are_torchvisions(depth, watched, with_cp):
    """Rectified where they lie, but for those that somebody else holds, too."""
    torch.manual_seed(0)
    ours = ResNet(depth, frozen_stages=-1, out_indices=(1, 3), with_cp=with_cp).double()
    block = {18: torchvision_resnet.BasicBlock, 50: torchvision_resnet.Bottleneck}[depth]
    layers = list(BLOCKS[depth][1])
    theirs = torchvision_resnet.ResNet(block, layers, norm_layer=FrozenBatchNorm2d).double()
    theirs.load_state_dict(ours.state_dict(), strict=False)
    seen = []
    if watched:
        ours.layer3[0].register_full_backward_hook(lambda *args: seen.append(args[2][0]))
    image = torch.rand(2, 3, 40, 56, dtype=torch.float64)

    def their_maps():
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(image))))
        second = theirs.layer2(theirs.layer1(x))
        return second, theirs.layer4(theirs.layer3(second))

    shapes = [each.shape for each in their_maps()]
    leaves = [torch.zeros(shape, dtype=image.dtype, requires_grad=True) for shape in shapes]
    weights = [torch.randn(shape, dtype=image.dtype) for shape in shapes]
    for compute in (lambda: ours(image), their_maps):
        # The gradient of a sum is one tensor for both of its terms; that of the second goes on
        # last, as it was computed first.
        terms = [leaf * 1 for leaf in leaves]
        pairs = zip(compute(), terms, weights, strict=True)
        sum(((each + term) * weight).sum() for each, term, weight in pairs).backward()
    for leaf, weight in zip(leaves, weights, strict=True):
        assert torch.equal(leaf.grad, 2 * weight)
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad)
    assert len(seen) == watched
