"""A detector made ready to serve, against the plain one."""

import copy

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmdetr.apis import inference_detector, init_detector, optimize_for_inference
from tests.helpers.exported import build
from tests.test_apis.test_inference import CONFIG


def plain_model(depth: int):
    torch.manual_seed(0)
    config = Config(copy.deepcopy(CONFIG))
    config.model.backbone.depth = depth
    model = init_detector(config, device='cpu')
    for name, value in model.backbone.state_dict().items():
        if 'bn' in name or 'downsample.1' in name:
            torch.nn.init.uniform_(value, 0.4, 0.9)  # statistics that matter and do not explode
    return model


def outputs(model, padded: bool):
    torch.manual_seed(1)
    inputs = torch.randn(2, 3, 96, 160)
    padding_mask = None
    if padded:
        padding_mask = torch.zeros(2, 96, 160, dtype=torch.bool)
        padding_mask[1, :, 100:] = True
    with torch.no_grad():
        prediction = model(inputs, padding_mask)
    return torch.cat((prediction.logits, prediction.bboxes), dim=-1).float()


@pytest.mark.parametrize('depth', [18, 50])
@pytest.mark.parametrize('padded', [False, True])
def test_float32_gives_the_same(depth, padded):
    model = plain_model(depth)
    expected = outputs(model, padded)
    assert expected.std() > 0.05
    optimized = optimize_for_inference(model)
    assert optimized is model
    torch.testing.assert_close(outputs(optimized, padded), expected, atol=1e-4, rtol=0)
    norms = (torch.nn.BatchNorm2d, type(plain_model(18).backbone.bn1))
    assert not any(isinstance(module, norms) for module in model.modules())


def test_bfloat16_is_near_and_normalises_in_float32():
    model = plain_model(18)
    expected = outputs(model, padded=True)
    optimize_for_inference(model, dtype='bfloat16')
    assert model.bbox_head.cls_branch.weight.dtype == torch.bfloat16
    assert model.data_preprocessor.mean.dtype == torch.float32
    assert (outputs(model, padded=True) - expected).abs().max() < 0.05


def test_in_one_call_and_through_inference():
    config = Config(copy.deepcopy(CONFIG))
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    torch.manual_seed(0)
    plain = inference_detector(init_detector(config, device='cpu'), image).pred_instances
    for optimize, atol in ((True, 1e-4), (dict(dtype=torch.bfloat16), 0.05)):
        torch.manual_seed(0)
        model = init_detector(config, device='cpu', optimize=optimize)
        found = inference_detector(model, image).pred_instances
        assert found.scores.dtype == found.bboxes.dtype == torch.float32
        torch.testing.assert_close(found.scores, plain.scores, atol=atol, rtol=0)


@pytest.mark.parametrize(('dtype', 'match'), [('int8', 'one of'), ('float16', 'needs a GPU')])
def test_refused(dtype, match):
    with pytest.raises(ValueError, match=match):
        optimize_for_inference(plain_model(18), dtype=dtype)


@pytest.mark.slow
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_compiled_for_any_size(dtype):
    model = plain_model(18)
    expected = copy.deepcopy(model)
    optimize_for_inference(model, dtype=dtype, compile=True)
    optimize_for_inference(expected, dtype=dtype)
    compilations = torch._dynamo.utils.counters['stats']
    compilations.clear()
    # ATen takes another convolution for feature maps of 20480 numbers and fewer, which would need
    # a graph of its own.
    for size in ((192, 256), (256, 192), (224, 320), (256, 256)):
        inputs = torch.randn(1, 3, *size)
        with torch.no_grad():
            found, wanted = model(inputs), expected(inputs)
        atol = 1e-4 if dtype == 'float32' else 0.05
        torch.testing.assert_close(found.logits, wanted.logits, atol=atol, rtol=0)
    assert compilations['unique_graphs'] <= 2


@pytest.mark.slow
@pytest.mark.parametrize('name', ['deformable_detr', 'dino', 'rtdetrv2', 'dfine'])
def test_successors_compiled_for_other_sizes(name):
    model = build(f'{name}_tiny_1xb32-12e_shapes.py')
    expected = optimize_for_inference(copy.deepcopy(model))
    optimize_for_inference(model, compile=True)
    for size in ((96, 128), (128, 96), (64, 64)):
        image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        found, wanted = (inference_detector(each, image) for each in (model, expected))
        torch.testing.assert_close(found.pred_instances.scores, wanted.pred_instances.scores)
        torch.testing.assert_close(found.pred_instances.bboxes, wanted.pred_instances.bboxes)
