"""Attention that is read from the models, against what their layers put out."""

import threading

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmdetr.analysis.attention_maps import attend, cross_attention_of, splat
from mmdetr.apis import inference_detector, init_detector

IMAGE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
DENSE = ['detr', 'conditional_detr', 'dab_detr', 'dn_detr']
SAMPLED = ['deformable_detr', 'dino']
ONE_HEAD = {'model.bbox_head.transformer.num_heads': 1}
pytestmark = pytest.mark.filterwarnings('ignore:init_detector without checkpoint')


def build(name, **options):
    torch.manual_seed(0)
    config = f'{name}_tiny_1xb32-12e_shapes'
    return init_detector(config, device='cpu', cfg_options=options)


@pytest.mark.parametrize('name', DENSE)
def test_weighted_values_are_the_layers_output(name):
    """With one head, weights times values through the output projection is what the layer gives."""
    model = build(name, **ONE_HEAD)
    decoder_layer = model.bbox_head.transformer.decoder.layers[-1].cross_attn
    encoder_layer = model.bbox_head.transformer.encoder.layers[-1].self_attn
    seen = {}

    def keep(module, args, output):
        seen[module] = args, output

    handles = [each.register_forward_hook(keep) for each in (decoder_layer, encoder_layer)]
    attention = attend(model, IMAGE)
    for handle in handles:
        handle.remove()

    args, output = seen[decoder_layer]
    if hasattr(decoder_layer, 'value'):
        value = decoder_layer.value(args[3])
    else:
        value = decoder_layer._project(args[2], 2, 3)
    queries = torch.tensor([3, 0])
    maps = attention.cross(queries)
    assert maps.maps.shape == (2, 6, 8)  # stride 8
    assert torch.allclose(maps.maps.sum((1, 2)), torch.ones(2), atol=1e-5)
    expected = decoder_layer.out_proj(maps.maps.flatten(1) @ value[0])
    assert torch.allclose(expected, output[0, queries], atol=1e-5)
    assert maps.points is None

    args, output = seen[encoder_layer]
    # Pixel 20, 30 lies in column 2 and row 3 of the map.
    maps = attention.encoder([(20, 30)])
    value = encoder_layer._project(args[2], 2, 3)
    expected = encoder_layer.out_proj(maps.maps.flatten(1) @ value[0])
    assert torch.allclose(expected[0], output[0, 3 * 8 + 2], atol=1e-5)


def test_several_heads_are_averaged():
    """Against torch's own module with the same parameters."""
    model = build('detr')
    layer = model.bbox_head.transformer.decoder.layers[-1].cross_attn
    seen = []
    handle = layer.register_forward_hook(lambda module, args, output: seen.append(args))
    attention = attend(model, IMAGE)
    handle.remove()
    reference = torch.nn.MultiheadAttention(128, layer.num_heads, batch_first=True).eval()
    reference.load_state_dict(layer.state_dict())
    with torch.no_grad():
        _, weights = reference(*seen[0][:3], need_weights=True)
    maps = attention.cross(torch.arange(10)).maps
    assert torch.allclose(maps.flatten(1), weights[0], atol=1e-5)


@pytest.mark.parametrize('name', SAMPLED)
def test_sampling_points_give_the_layers_output(name):
    """With one head, the values read at the points, weighted, are what the layer gives."""
    options = {f'model.bbox_head.transformer.{part}': 1 for part in ('num_heads',)}
    model = build(name, **options)
    layer = model.bbox_head.transformer.decoder.layers[-1].cross_attn
    seen = []
    handle = layer.register_forward_hook(lambda module, args, out: seen.append((args, out)))
    attention = attend(model, IMAGE)
    handle.remove()
    (_, _, value, shapes, _), output = seen[0]
    maps = attention.cross(torch.tensor([5]))
    assert torch.allclose(maps.weights.sum(1), torch.ones(1), atol=1e-5)
    levels = layer.value_proj(value)[0].split([h * w for h, w in shapes])
    total, first = torch.zeros(value.shape[-1]), 0
    for level, (h, w), number in zip(levels, shapes, layer.num_points, strict=True):
        picture = level.T.unflatten(1, (h, w))[None]
        chosen = slice(first, first + number)
        read = F.grid_sample(picture, 2 * maps.points[:, None, chosen] - 1, align_corners=False)
        total = total + (read[0, :, 0] * maps.weights[0, chosen]).sum(-1)
        first += number
    assert torch.allclose(layer.output_proj(total), output[0, 5], atol=1e-5)
    encoder = attention.encoder([(20, 30), (0, 0)])
    assert encoder.points.shape[:2] == (2, sum(layer.num_points))


def test_detections_are_those_of_inference_and_padding_is_cut_off():
    model = build('detr', **{'model.data_preprocessor.pad_size_divisor': 96})
    sample, maps = cross_attention_of(model, IMAGE, score_thr=0.0)
    found = inference_detector(model, IMAGE).pred_instances
    order = found.scores.argsort(descending=True)
    assert torch.equal(sample.pred_instances.bboxes, found.bboxes[order])
    assert maps.maps.shape == (10, 6, 8)  # of 12 x 12
    assert torch.allclose(maps.maps.sum((1, 2)), torch.ones(10), atol=1e-5)
    picture = maps.on_image(0, 48, 64)
    assert (picture.shape, float(picture.max())) == ((48, 64), 1.0)
    threshold = float(found.scores[order[2]])
    assert len(cross_attention_of(model, IMAGE, threshold)[1].maps) == 3


def test_splat_by_hand():
    points = torch.tensor([[[0.1, 0.1], [0.9, 0.9], [0.9, 0.6], [1.0, 0.5], [-0.1, 0.5]]])
    weights = torch.tensor([[0.1, 0.2, 0.3, 0.3, 0.1]])
    grid = splat(points, weights, (2, 4))[0]
    expected = torch.zeros(2, 4)
    expected[0, 0], expected[1, 3] = 0.1, 0.5
    assert torch.allclose(grid, expected)


def test_other_threads_are_not_heard():
    model = build('detr')
    expected = attend(model, IMAGE)
    stop = threading.Event()

    def work():
        while not stop.is_set():
            inference_detector(model, IMAGE[:32, :32])

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(5):
            found = attend(model, IMAGE)
            assert [call.name for call in found.calls] == [call.name for call in expected.calls]
    finally:
        stop.set()
        thread.join()
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_real_time_models_and_those_without_encoder():
    torch.manual_seed(0)
    model = init_detector(
        'rtdetrv2_r18vd_8xb2-120e_coco',
        device='cpu',
        cfg_options={'test_dataloader.dataset.pipeline.1.scale': (96, 64)},
    )
    attention = attend(model, IMAGE)
    maps = attention.cross(attention.sample.pred_instances.queries[:4])
    assert maps.points.shape[0] == 4
    assert attention.encoder([(5, 5)]).layer == 'neck.encoder.0.self_attn'
    model = build('detr', **{'model.bbox_head.transformer.num_encoder_layers': 0})
    with pytest.raises(ValueError, match='no encoder with self-attention'):
        attend(model, IMAGE).encoder([(5, 5)])
    with pytest.raises(ValueError, match=r'point 64,5 is outside of the image of 64 x 48'):
        attend(build('detr'), IMAGE).encoder([(64, 5)])


def test_short_detr_of_torchs_layers():
    torch.manual_seed(0)
    model = init_detector(
        'detr_short_r50_8xb2-150e_coco',
        device='cpu',
        cfg_options={
            'model.backbone.depth': 18,
            'model.bbox_head.positional_encoding.num_tokens': 6,
            'test_dataloader.dataset.pipeline.1.scale': (96, 64),
        },
    )
    attention = attend(model, IMAGE)
    maps = attention.cross(torch.tensor([0, 7]))
    assert maps.layer.endswith('multihead_attn')
    assert torch.allclose(maps.maps.sum((1, 2)), torch.ones(2), atol=1e-5)
    assert attention.encoder([(5, 5)]).maps.shape == maps.maps[:1].shape
