"""Fast forms against the plain ones."""

import copy
import pickle

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock
from torchvision.ops import FrozenBatchNorm2d

from mmdetr.models.backbones.resnet import ResNet
from mmdetr.models.fast import FAST_FORMS, use_fast_forms, use_plain_forms
from mmdetr.models.fast.conv_norm import conv_norm, fold
from mmdetr.models.fast.resnet import FastBasicBlock
from mmdetr.models.fast.winograd import WinogradConv2d
from mmdetr.models.layers import MultiheadAttention
from mmdetr.registry import MODELS
from tests.helpers.reference import batch, model_config, read_case


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
def test_conv_norm_is_its_parts(kind, relu, with_shortcut, recording):
    torch.manual_seed(0)
    conv = nn.Conv2d(5, 8, 3, stride=2, padding=1, bias=False)
    norm = random_norm(kind, 8)
    x = torch.randn(2, 5, 9, 12).to(memory_format=torch.channels_last)
    shortcut = torch.randn(2, 8, 5, 6).to(memory_format=torch.channels_last)
    expected = norm(conv(x)) + (shortcut if with_shortcut else 0)
    expected = F.relu(expected) if relu else expected

    given = shortcut.clone() if with_shortcut else None
    with torch.set_grad_enabled(recording):
        output = conv_norm(conv, norm, x, given, relu)
    if with_shortcut:
        assert torch.equal(given, shortcut)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    if recording:
        wanted = torch.autograd.grad(expected.square().sum(), conv.weight)
        gradient = torch.autograd.grad(output.square().sum(), conv.weight)
        torch.testing.assert_close(gradient, wanted, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize('kernel_size', [1, 3])
@pytest.mark.parametrize('trained_norm', [False, True])
def test_gradients_of_a_strided_convolution(kernel_size, trained_norm, monkeypatch):
    """In the form for a CPU without AVX-512, twice over."""
    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda: 'AVX2')
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, kernel_size, stride=2, padding=kernel_size // 2, bias=False).double()
    norm = random_norm(nn.BatchNorm2d if trained_norm else FrozenBatchNorm2d, 3).double()
    x = torch.randn(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    leaves = (x, *conv.parameters(), *norm.parameters())

    def compute(*_):
        return conv_norm(conv, norm, x, relu=False)

    assert ('_Convolution' in compute().grad_fn.name()) == (kernel_size == 3)
    assert torch.autograd.gradcheck(compute, leaves)
    assert torch.autograd.gradgradcheck(compute, leaves)


def test_trained_batch_norm_keeps_its_batch_statistics():
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 4, 1, bias=False), random_norm(nn.BatchNorm2d, 4).train()
    x = torch.randn(2, 3, 5, 5)
    output = conv_norm(conv, norm, x, relu=False)
    torch.testing.assert_close(output.mean((0, 2, 3)), norm.bias, atol=1e-5, rtol=0)


def test_convolution_in_bfloat16_on_any_cpu():
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(8, 8, 3, padding=1, bias=False), random_norm(FrozenBatchNorm2d, 8)
    x = torch.randn(1, 8, 10, 10)
    expected = F.relu(norm(conv(x)) + x)
    owner = nn.Sequential(conv, norm)
    fold(owner, '0', '1')
    owner.bfloat16()
    with torch.no_grad():
        output = conv_norm(owner[0], owner[1], x.bfloat16(), x.bfloat16())
    torch.testing.assert_close(output.float(), expected, atol=0.05, rtol=0.02)


@pytest.mark.parametrize('winograd', [False, True])
def test_fold_for_good(winograd):
    torch.manual_seed(0)
    owner = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, bias=False), random_norm(nn.BatchNorm2d, 6))
    x = torch.randn(1, 4, 10, 11)
    expected = F.relu(owner(x))
    fold(owner, '0', '1')
    assert isinstance(owner[1], nn.Identity)
    if winograd:
        owner[0] = WinogradConv2d(owner[0])
    with torch.no_grad():
        output = conv_norm(owner[0], owner[1], x)
    torch.testing.assert_close(output, expected, atol=2e-5, rtol=0)


def loss_and_gradients(model: nn.Module, inputs: dict) -> tuple[torch.Tensor, list[torch.Tensor]]:
    model.zero_grad()
    total, _ = model.parse_losses(model(**inputs, mode='loss'))
    total.backward()
    return total, [p.grad.clone() for p in model.parameters() if p.requires_grad]


@pytest.mark.parametrize('depth', [18, 50])
@pytest.mark.parametrize('frozen_stages', [-1, 2])
def test_a_detector_computes_the_same_in_both_forms(depth, frozen_stages):
    torch.manual_seed(0)
    meta, arrays = read_case('sine_post')
    config = model_config(meta)
    config['backbone'] |= dict(depth=depth, frozen_stages=frozen_stages)
    model, inputs = MODELS.build(config).double().train(), batch(meta, arrays)
    inputs['inputs'] = inputs['inputs'].double()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0
        if isinstance(module, MultiheadAttention):
            module.dropout = 0.0
    kinds = {type(module) for module in model.modules()}
    assert kinds & set(FAST_FORMS.values())
    assert not kinds & set(FAST_FORMS)
    fast_loss, fast_gradients = loss_and_gradients(model, inputs)
    with torch.no_grad():
        fast = model.eval()(inputs['inputs'])
    use_plain_forms(model)
    kinds = {type(module) for module in model.modules()}
    assert not kinds & set(FAST_FORMS.values())
    with torch.no_grad():
        plain = model(inputs['inputs'])
    torch.testing.assert_close(fast.logits, plain.logits)
    plain_loss, plain_gradients = loss_and_gradients(model.train(), inputs)
    torch.testing.assert_close(fast_loss, plain_loss)
    for fast_gradient, plain_gradient in zip(fast_gradients, plain_gradients, strict=True):
        torch.testing.assert_close(fast_gradient, plain_gradient)
    use_fast_forms(model)
    assert torch.equal(loss_and_gradients(model, inputs)[0], fast_loss)


def test_the_switch_of_the_config():
    config = model_config(read_case('sine_post')[0])
    model = MODELS.build(dict(config, fast_forms=False))
    assert not {type(module) for module in model.modules()} & set(FAST_FORMS.values())


def test_what_derives_from_a_plain_layer_keeps_its_form():
    class Own(BasicBlock):
        pass

    layers = nn.Sequential(Own(4, 4), BasicBlock(4, 4))
    use_fast_forms(layers)
    assert [type(layer) for layer in layers] == [Own, FastBasicBlock]


def test_a_fast_model_is_copied_and_pickled_as_any():
    model = MODELS.build(model_config(read_case('sine_post')[0])).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(x).logits
        copied = copy.deepcopy(model)
        for parameter in model.parameters():
            parameter.zero_()
        assert torch.equal(copied(x).logits, expected)
        loaded = pickle.loads(pickle.dumps(copied))
        assert torch.equal(loaded(x).logits, expected)


@pytest.mark.parametrize('fast', [False, True])
@pytest.mark.parametrize('depth', [18, 50])
def test_gradients_of_the_backbone_are_torchvisions(depth, fast):
    torch.manual_seed(0)
    ours = ResNet(depth, frozen_stages=-1, out_indices=(1, 3)).double()
    if fast:
        use_fast_forms(ours)
    theirs = getattr(torchvision.models, f'resnet{depth}')(norm_layer=FrozenBatchNorm2d).double()
    theirs.load_state_dict(ours.state_dict(), strict=False)
    image = torch.rand(2, 3, 40, 56, dtype=torch.float64)

    def their_maps():
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(image))))
        second = theirs.layer2(theirs.layer1(x))
        return second, theirs.layer4(theirs.layer3(second))

    weights = [torch.randn_like(each) for each in their_maps()]
    for maps in (ours(image), their_maps()):
        sum((each * weight).sum() for each, weight in zip(maps, weights, strict=True)).backward()
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad)


def test_double_backward():
    """Gradient penalties differentiate gradients."""
    torch.manual_seed(0)
    backbone = ResNet(18, frozen_stages=-1).double()
    use_fast_forms(backbone)
    image = torch.rand(1, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    outputs = []
    for form in (use_fast_forms, use_plain_forms):
        form(backbone)
        (gradient,) = torch.autograd.grad(backbone(image)[0].sum(), image, create_graph=True)
        (second,) = torch.autograd.grad(gradient.square().sum(), backbone.conv1.weight)
        outputs.append(second)
    torch.testing.assert_close(*outputs)


@torch.no_grad()
@pytest.mark.parametrize('depth', [18, 50])
def test_what_a_forward_hook_keeps_stays(depth):
    """Blocks compute in place, but not in what the block before gave out."""
    torch.manual_seed(0)
    backbone = ResNet(depth=depth, out_indices=(0, 1, 2, 3)).eval()
    use_fast_forms(backbone)
    kept = {}

    def keep(name):
        return lambda module, args, output: kept.update({name: (output, output.clone())})

    for stage in backbone.stage_names:
        getattr(backbone, stage).register_forward_hook(keep(stage))
        for i, block in enumerate(getattr(backbone, stage)):
            block.register_forward_hook(keep(f'{stage}.{i}'))
    outputs = backbone(torch.randn(1, 3, 64, 64))
    assert len(kept) == 4 + sum(len(getattr(backbone, stage)) for stage in backbone.stage_names)
    for name, (output, copied) in kept.items():
        assert torch.equal(output, copied), name
    for stage, output in zip(backbone.stage_names, outputs, strict=True):
        assert torch.equal(output, kept[stage][1])
