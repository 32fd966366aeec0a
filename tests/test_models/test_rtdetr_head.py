"""RT-DETR's and D-FINE's heads on small models: what the authors' numbers do not show."""

import copy

import pytest
import torch
from mmengine.structures import InstanceData

from mmdetr.registry import MODELS
from mmdetr.structures import DetDataSample
from tests.helpers.realtime_cases import dfine_config, rtdetr_config
from tests.helpers.successor_cases import read_case


def small_config(name: str) -> dict:
    meta, _ = read_case(name)
    config = (rtdetr_config if name == 'rtdetrv2' else dfine_config)(meta)
    config['backbone'] = dict(type='HGNetV2', size='B0', out_indices=(2, 3))
    config['neck'].update(out_channels=32, feedforward_channels=32, num_blocks=1)
    head = config['bbox_head']
    head.update(num_classes=5, num_queries=9)
    head['transformer'].update(num_layers=3, feedforward_channels=32, num_points=[3, 2])
    return config


@pytest.fixture(params=['rtdetrv2', 'dfine'])
def config(request):
    return small_config(request.param)


def build(config: dict) -> torch.nn.Module:
    torch.manual_seed(0)
    model = MODELS.build(config)
    # Branches that start at zero would hide what is mixed up.
    for name, parameter in model.bbox_head.named_parameters():
        if name.endswith('layers.2.weight'):
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def samples(counts: tuple[int, ...]) -> list[DetDataSample]:
    found = []
    for i, count in enumerate(counts):
        sample = DetDataSample(metainfo=dict(img_id=i, img_shape=(64, 96), ori_shape=(32, 48)))
        corner = torch.rand(count, 2) * 30
        sample.gt_instances = InstanceData(
            bboxes=torch.cat((corner, corner + 8 + 20 * torch.rand(count, 2)), dim=1),
            labels=torch.randint(5, (count,)),
        )
        found.append(sample)
    return found


def images(batch_size: int = 2) -> torch.Tensor:
    return torch.randn(batch_size, 3, 64, 96)


@pytest.mark.parametrize('counts', [(2, 3), (0, 4), (0, 0), (12, 1)])
def test_every_parameter_learns_whatever_the_number_of_objects(config, counts):
    model = build(config).train()
    losses = model(images(), data_samples=samples(counts), mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    assert total.isfinite()
    assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]


def test_mixed_precision_gives_nearly_the_same_loss(config):
    model = build(config).train()
    other = copy.deepcopy(model)
    x, objects = images(), samples((2, 3))
    torch.manual_seed(1)
    exact, _ = model.parse_losses(model(x, data_samples=objects, mode='loss'))
    torch.manual_seed(1)
    with torch.autocast('cpu', torch.bfloat16):
        half, _ = other.parse_losses(other(x, data_samples=objects, mode='loss'))
    half.backward()
    assert half.item() == pytest.approx(exact.item(), rel=0.1)


def test_all_layers_end_with_the_last(config):
    model = build(config).eval()
    x = images()
    with torch.no_grad():
        features = model.neck(model.backbone(x))
        every = model.bbox_head(features, all_layers=True)
        last = model.bbox_head(features)
    assert every.num_layers == 3
    assert last.num_layers == 1
    torch.testing.assert_close(every.layer(-1).bboxes, last.bboxes)
    torch.testing.assert_close(every.layer(-1).logits, last.logits)
    assert not torch.allclose(every.bboxes[0], every.bboxes[2])


def test_a_layer_before_the_last_is_evaluated(config):
    config['bbox_head']['transformer'].setdefault('decoder', dict(type='RTDETRDecoder'))
    config['bbox_head']['transformer']['decoder']['eval_idx'] = 1
    model = build(config).eval()
    with torch.no_grad():
        features = model.neck(model.backbone(images()))
        every = model.bbox_head(features, all_layers=True)
        last = model.bbox_head(features)
    torch.testing.assert_close(every.layer(1).bboxes, last.bboxes)
    torch.testing.assert_close(every.layer(1).logits, last.logits)
    model.train()
    assert model(images()).num_layers == 3


def test_small_maps_give_fewer_queries(config):
    model = build(config).eval()
    with torch.no_grad():
        prediction = model(torch.randn(1, 3, 32, 32))
        results = model(
            torch.randn(1, 3, 32, 32),
            data_samples=[DetDataSample(metainfo=dict(ori_shape=(32, 32)))],
            mode='predict',
        )
    assert prediction.logits.shape[2] == 2 * 2 + 1
    assert len(results[0].pred_instances) == 5 * 5


def test_padding_is_refused(config):
    model = build(config)
    with pytest.raises(ValueError, match='keep_ratio=False'):
        model(images(), padding_mask=torch.zeros(2, 64, 96, dtype=torch.bool))


def test_look_forward_twice_reaches_the_layer_before():
    """The second layer's boxes train the first layer's branch; the queries' start does not."""
    model = build(small_config('rtdetrv2')).train()
    prediction = model(images())
    prediction.bboxes[1].sum().backward()
    grads = [branch.layers[0].weight.grad for branch in model.bbox_head.reg_branches]
    assert grads[0].any()
    assert grads[1].any()
    assert not grads[2].any()
    assert model.bbox_head.enc_reg_branch.layers[0].weight.grad is None


def test_maps_and_points_have_to_agree(config):
    config['bbox_head']['transformer']['num_points'] = [4, 4, 4]
    model = build(config)
    with pytest.raises(ValueError, match='num_points for 3 maps, the neck gives 2'):
        model(images())


def test_gradient_of_a_batch_of_one_image(config):
    """Batch norm on a CPU has a wrong one where the gradient of a map has misleading strides."""
    model = build(config).double()
    maps = [
        torch.randn(1, width, *size, dtype=torch.double, requires_grad=True)
        for width, size in zip(model.backbone.out_channels, [(2, 4), (1, 2)], strict=True)
    ]

    def pixels(*maps: torch.Tensor) -> torch.Tensor:
        return model.bbox_head.transformer.encode(model.neck(maps)).pixels.sin()

    assert torch.autograd.gradcheck(pixels, maps, fast_mode=True)
