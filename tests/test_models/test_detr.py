"""Detector, backbone and data preprocessor."""

import pytest
import torch
import torchvision
from mmengine.structures import InstanceData
from torchvision.ops import FrozenBatchNorm2d

from mmdetr.models import DetDataPreprocessor, ResNet
from mmdetr.registry import MODELS
from mmdetr.structures import DetDataSample
from tests.helpers.reference import model_config, read_case


@pytest.fixture
def small_model():
    torch.manual_seed(0)
    return MODELS.build(model_config(read_case('sine_post')[0]))


def test_preprocessor_normalises_flips_and_pads():
    images = [torch.randint(256, (3, h, w), dtype=torch.uint8) for h, w in ((4, 6), (5, 3))]
    samples = [DetDataSample(), DetDataSample()]
    batch = DetDataPreprocessor()(dict(inputs=images, data_samples=samples))
    assert batch['inputs'].shape == (2, 3, 5, 6)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    rgb = images[1].flip(0).float() / 255
    expected = (rgb - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(batch['inputs'][1, :, :5, :3], expected, atol=1e-5, rtol=1e-5)
    assert batch['inputs'][1, :, :, 3:].abs().sum() == 0
    assert batch['padding_mask'][1].sum() == 5 * 3
    assert not batch['padding_mask'][1, :, :3].any()
    assert [s.img_shape for s in batch['data_samples']] == [(4, 6), (5, 3)]


def test_preprocessor_without_padding_has_no_mask():
    images = [torch.zeros(3, 4, 6, dtype=torch.uint8)] * 2
    assert DetDataPreprocessor()(dict(inputs=images))['padding_mask'] is None
    divided = DetDataPreprocessor(pad_size_divisor=8)(dict(inputs=images))
    assert divided['inputs'].shape[-2:] == divided['padding_mask'].shape[-2:] == (8, 8)


def test_preprocessor_returns_the_keywords_of_forward(small_model):
    batch = small_model.data_preprocessor(dict(inputs=[torch.zeros(3, 64, 64)]))
    small_model.eval()
    prediction = small_model(**batch)
    assert prediction.logits.shape == (1, 1, 12, 92)
    assert prediction.bboxes.shape == (1, 1, 12, 4)


def test_layers_in_training_and_evaluation(small_model):
    inputs = torch.randn(2, 3, 64, 96)
    small_model.train()
    assert small_model(inputs).logits.shape == (3, 2, 12, 92)
    small_model.bbox_head.criterion.aux_loss = False
    assert small_model(inputs).logits.shape[0] == 1


def test_unknown_mode(small_model):
    with pytest.raises(ValueError, match='mode'):
        small_model(torch.zeros(1, 3, 64, 64), mode='train')


def test_max_per_img_keeps_the_best(small_model):
    small_model.eval()
    sample = DetDataSample(metainfo=dict(ori_shape=(100, 200)))
    with torch.no_grad():
        every = small_model(torch.randn(1, 3, 64, 64), data_samples=[sample], mode='predict')[0]
        scores = every.pred_instances.scores
        small_model.bbox_head.max_per_img = 4
        torch.manual_seed(0)
        few = small_model(torch.randn(1, 3, 64, 64), data_samples=[sample], mode='predict')[0]
    assert len(scores) == 12
    kept = few.pred_instances.scores
    assert len(kept) == 4
    assert torch.equal(kept, kept.sort(descending=True).values)


@pytest.mark.parametrize(('depth', 'channels'), [(18, 512), (50, 2048)])
def test_resnet_equals_torchvision(depth, channels):
    torch.manual_seed(0)
    ours = ResNet(depth).eval()
    theirs = getattr(torchvision.models, f'resnet{depth}')(norm_layer=FrozenBatchNorm2d).eval()
    theirs.load_state_dict(ours.state_dict(), strict=False)
    x = torch.randn(1, 3, 64, 64)
    expected = x
    for name, module in theirs.named_children():
        if name in ('avgpool', 'fc'):
            break
        expected = module(expected)
    (actual,) = ours(x)
    assert actual.shape == (1, channels, 2, 2)
    # Without statistics of real images the features are large.
    limit = 1e-5 * expected.abs().max().item()
    torch.testing.assert_close(actual, expected, atol=limit, rtol=0)


def test_resnet_dilation_keeps_stride_16_and_the_first_block_undilated():
    backbone = ResNet(50, dilation=True)
    (features,) = backbone(torch.zeros(1, 3, 64, 64))
    assert features.shape[-2:] == (4, 4)
    dilations = [block.conv2.dilation[0] for block in backbone.layer4]
    assert dilations == [1, 2, 2]


def test_resnet_stages():
    backbone = ResNet(18, out_indices=(0, 1, 2, 3))
    features = backbone(torch.zeros(1, 3, 64, 64))
    assert [f.shape[1] for f in features] == list(backbone.out_channels) == [64, 128, 256, 512]
    assert [f.shape[2] for f in features] == [16, 8, 4, 2]
    assert not hasattr(ResNet(18, out_indices=(1,)), 'layer3')


@pytest.mark.parametrize('frozen_stages', [-1, 0, 1, 4])
def test_frozen_stages(frozen_stages):
    backbone = ResNet(18, frozen_stages=frozen_stages, norm_frozen=False).train()
    parts = ['stem', 'layer1', 'layer2', 'layer3', 'layer4']
    frozen = set(parts[: frozen_stages + 1])
    for name, parameter in backbone.named_parameters():
        part = name.split('.')[0].replace('conv1', 'stem').replace('bn1', 'stem')
        assert parameter.requires_grad == (part not in frozen), name
    assert backbone.bn1.training == ('stem' not in frozen)
    assert backbone.layer1.training == ('layer1' not in frozen)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(depth=20), 'depth'),
        (dict(depth=18, dilation=True), 'dilat'),
        (dict(frozen_stages=5), 'frozen_stages'),
        (dict(out_indices=()), 'out_indices'),
    ],
)
def test_resnet_wrong_options(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ResNet(**kwargs)


def test_pretrained_file(tmp_path):
    source = torchvision.models.resnet18()
    path = tmp_path / 'resnet18.pth'
    torch.save(source.state_dict(), path)
    backbone = ResNet(18, init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    backbone.init_weights()
    assert torch.equal(backbone.layer4[1].conv2.weight, source.layer4[1].conv2.weight)
    wrong = ResNet(34, init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    with pytest.raises(ValueError, match=r'resnet18.pth.*depth'):
        wrong.init_weights()
    missing = ResNet(18, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'no.pth')))
    with pytest.raises(FileNotFoundError, match=r'no\.pth'):
        missing.init_weights()


def test_parse_losses(small_model):
    losses = {'loss_cls': torch.tensor(1.0), 'd0.loss_cls': torch.tensor(2.0)}
    total, log = small_model.parse_losses({**losses, 'class_error': torch.tensor(50.0)})
    assert total.item() == 3
    assert log == {'loss': 3.0, 'loss_cls': 1.0, 'd0.loss_cls': 2.0, 'class_error': 50.0}


def test_r50_has_the_papers_parameters():
    from mmengine.config import Config

    cfg = Config.fromfile('configs/_base_/models/detr_r50.py')
    cfg.model.bbox_head.num_classes = 91
    model = MODELS.build(cfg.model)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trainable == 41_302_368
    rest = sum(p.numel() for p in [*model.neck.parameters(), *model.bbox_head.parameters()])
    assert rest == 18_069_856


def test_loss_step_updates_weights(small_model):
    small_model.train()
    sample = DetDataSample(metainfo=dict(img_id=1))
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[5.0, 5, 30, 40]]), labels=torch.tensor([3])
    )
    data = dict(inputs=[torch.randint(256, (3, 64, 64), dtype=torch.uint8)], data_samples=[sample])
    optimizer = torch.optim.AdamW([p for p in small_model.parameters() if p.requires_grad], 1e-3)
    totals = []
    for _ in range(15):
        batch = small_model.data_preprocessor(data, True)
        total, _ = small_model.parse_losses(small_model(**batch, mode='loss'))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.7 * totals[0]


@pytest.mark.parametrize('depth', [18, 50])
def test_activation_checkpointing_changes_no_number(depth, monkeypatch):
    """Same losses and gradients, dropout and all; only the memory differs."""
    returns = []
    monkeypatch.setattr('mmdetr.models.layers.checkpointing.trim_memory', lambda: returns.append(1))
    config = model_config(read_case('sine_post')[0])
    config['backbone'] |= dict(depth=depth, frozen_stages=1)
    config['bbox_head']['transformer']['dropout'] = 0.3
    inputs = torch.randn(2, 3, 64, 96)
    gradients = {}
    state_dict = None
    for with_cp in (False, True):
        config['backbone']['with_cp'] = with_cp
        config['bbox_head']['transformer']['with_cp'] = with_cp
        model = MODELS.build(config).train()
        state_dict = state_dict or model.state_dict()
        model.load_state_dict(state_dict)
        saved = 0

        def count(tensor):
            nonlocal saved
            saved += tensor.numel()
            return tensor

        torch.manual_seed(3)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            prediction = model(inputs)
        (prediction.logits.square().sum() + prediction.bboxes.sum()).backward()
        gradients[with_cp] = [p.grad for p in model.parameters() if p.requires_grad], saved
    for plain, checkpointed in zip(gradients[False][0], gradients[True][0], strict=True):
        torch.testing.assert_close(checkpointed, plain, atol=1e-6, rtol=1e-5)
    assert gradients[True][1] < 0.6 * gradients[False][1]
    # Stages of 4, 6 and 3 blocks, or of 2: the first block, and each three after it.
    transformer = model.bbox_head.transformer
    num_layers = len(transformer.encoder.layers) + len(transformer.decoder.layers)
    assert len(returns) == {18: 2 + 2 + 2, 50: 2 + 3 + 2}[depth] + num_layers


def test_activation_checkpointing_needs_fixed_statistics():
    with pytest.raises(ValueError, match='norm_frozen'):
        ResNet(depth=18, norm_frozen=False, with_cp=True)


@torch.no_grad()
@pytest.mark.parametrize('depth', [18, 50])
def test_what_a_forward_hook_keeps_stays(depth):
    """Blocks compute in place, but not in what the block before gave out."""
    torch.manual_seed(0)
    backbone = ResNet(depth=depth, out_indices=(0, 1, 2, 3)).eval()
    kept = {}

    def keep(name):
        return lambda module, args, output: kept.update({name: (output, output.clone())})

    for stage in backbone.stage_names:
        for i, block in enumerate(getattr(backbone, stage)):
            block.register_forward_hook(keep(f'{stage}.{i}'))
    outputs = backbone(torch.randn(1, 3, 64, 64))
    assert len(kept) == sum(len(getattr(backbone, stage)) for stage in backbone.stage_names)
    for name, (output, copied) in kept.items():
        assert torch.equal(output, copied), name
    for stage, output in zip(backbone.stage_names, outputs, strict=True):
        assert torch.equal(output, kept[f'{stage}.{len(getattr(backbone, stage)) - 1}'][1])
