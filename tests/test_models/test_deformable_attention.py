"""Deformable attention against brute force, and its fast form against the plain one."""

import math

import pytest
import torch
from torch import Tensor

from mmdetr.models.fast import deformable_attention as fast
from mmdetr.models.fast import use_fast_forms, use_plain_forms
from mmdetr.models.layers import (
    DeformableSampling,
    MultiScaleDeformableAttention,
    multi_scale_deformable_attention,
)

SHAPES = ((5, 7), (3, 4), (1, 2))
NUM_POINTS = (3, 1, 2)
HEADS, CHANNELS = 2, 3


@pytest.fixture(params=['plain', 'fast', 'fast, image by image'])
def sampling(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> DeformableSampling:
    """Both forms; the fast one in pieces of 4 queries, with one table or one for each image."""
    monkeypatch.setattr(fast, '_PIECE', 4)
    monkeypatch.setattr(fast, '_PIXELS_TO_A_QUERY', 1000)  # the table for a few queries, too
    if 'image' in request.param:
        monkeypatch.setattr(fast, '_GROUP', 1)
    module = DeformableSampling(NUM_POINTS)
    if request.param != 'plain':
        use_fast_forms(module)
    return module


def inputs(num_queries: int = 13, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """Values, locations (some outside, on borders and on pixel centres) and weights."""
    torch.manual_seed(0)
    num_pixels = sum(height * width for height, width in SHAPES)
    shape = (2, num_queries, HEADS, sum(NUM_POINTS))
    locations = torch.rand(*shape, 2) * 1.6 - 0.3
    locations[0, 0] = 0.0
    locations[0, 1] = 1.0
    locations[0, 2] = torch.tensor((0.5 / 7, 4.5 / 5))
    locations[0, 3] = torch.tensor((-0.5 / 7, 5.5 / 5))
    locations[1, 0] = 5.0
    tensors = torch.randn(2, num_pixels, HEADS, CHANNELS), locations, torch.rand(shape)
    return tuple(tensor.to(dtype) for tensor in tensors)


def brute_force(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """Equation 3 in loops: a pixel counts by its distance to the point, if below one pixel."""
    result = torch.zeros(*weights.shape[:3], value.shape[-1], dtype=value.dtype)
    for image, query, head in torch.cartesian_prod(*(torch.arange(n) for n in weights.shape[:3])):
        point, start = 0, 0
        for (height, width), number in zip(SHAPES, NUM_POINTS, strict=True):
            for _ in range(number):
                x, y = (locations[image, query, head, point] * torch.tensor((width, height))) - 0.5
                for row in range(height):
                    for column in range(width):
                        share = max(0, 1 - abs(x - column)) * max(0, 1 - abs(y - row))
                        pixel = value[image, start + row * width + column, head]
                        weight = weights[image, query, head, point]
                        result[image, query, head] += share * weight * pixel
                point += 1
            start += height * width
    return result.flatten(2)


def test_brute_force(sampling: DeformableSampling) -> None:
    value, locations, weights = inputs()
    expected = brute_force(value, locations, weights)
    output = sampling(value, SHAPES, locations, weights)
    torch.testing.assert_close(output, expected, atol=1e-12, rtol=0)
    single = sampling(
        *(each.float() for each in (value,)), SHAPES, locations.float(), weights.float()
    )
    torch.testing.assert_close(single.double(), expected, atol=1e-5, rtol=0)


def test_gradients(sampling: DeformableSampling) -> None:
    value, locations, weights = (each[:1].requires_grad_() for each in inputs(5))
    # On borders and centres of pixels the bilinear form has a kink: there is no one gradient.
    locations = (torch.rand_like(locations) * 1.4 - 0.2).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v, x, w: sampling(v, SHAPES, x, w), (value, locations, weights), fast_mode=True
    )


def test_gradients_of_both_forms_on_borders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, '_PIECE', 4)
    found = []
    for form in (use_plain_forms, use_fast_forms):
        sampling = DeformableSampling(NUM_POINTS)
        form(sampling)
        tensors = [each.requires_grad_() for each in inputs()]
        output = sampling(tensors[0], SHAPES, *tensors[1:])
        found.append(torch.autograd.grad(output, tensors, torch.sin(output.detach() * 100)))
    for ours, expected in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours[1:], expected[1:], atol=1e-12, rtol=0)
    torch.testing.assert_close(found[1][0], found[0][0], atol=1e-12, rtol=0)


def test_nan_stays_visible(sampling: DeformableSampling) -> None:
    value, locations, weights = inputs()
    locations[1, 2, 0, 0, 0] = math.nan
    locations[1, 3, 0, 0, 0] = math.inf
    weights[1, 4, 0, 0] = math.nan
    output = sampling(value, SHAPES, locations, weights)
    assert output[1, 4, :CHANNELS].isnan().all()
    others = [0, *range(5, 9)]
    expected = brute_force(value, locations, weights)
    torch.testing.assert_close(output[1, others], expected[1, others])


def test_half_precision_sums_in_float32(sampling: DeformableSampling) -> None:
    value, locations, weights = inputs(dtype=torch.float32)
    value = value.bfloat16()
    output = sampling(value, SHAPES, locations, weights)
    assert output.dtype == torch.bfloat16
    expected = sampling(value.float(), SHAPES, locations, weights)
    torch.testing.assert_close(output, expected.bfloat16())


def attention(**changes: object) -> MultiScaleDeformableAttention:
    torch.manual_seed(0)
    module = MultiScaleDeformableAttention(8, 2, 3, NUM_POINTS, **changes)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


@pytest.mark.parametrize('num_coordinates', [2, 4])
def test_module_by_its_words(num_coordinates: int) -> None:
    """Offsets are pixels around a point; half sides of a box, divided by the points."""
    module = attention()
    torch.manual_seed(1)
    num_pixels = sum(height * width for height, width in SHAPES)
    query, value = torch.randn(2, 5, 8), torch.randn(2, num_pixels, 8)
    references = torch.rand(2, 5, 3, num_coordinates)
    mask = torch.rand(2, num_pixels) < 0.3
    output = module(query, references, value, SHAPES, mask)

    offsets = module.sampling_offsets(query).view(2, 5, 2, 6, 2)
    levels = [level for level, number in enumerate(NUM_POINTS) for _ in range(number)]
    locations = torch.empty(2, 5, 2, 6, 2)
    for point, level in enumerate(levels):
        height, width = SHAPES[level]
        scale = torch.tensor((1 / width, 1 / height))
        if num_coordinates == 4:
            scale = references[:, :, level, None, 2:] * 0.5 / NUM_POINTS[level]
        centre = references[:, :, level, None, :2]
        locations[..., point, :] = centre + offsets[..., point, :] * scale
    values = module.value_proj(value) * ~mask[..., None]
    attended = multi_scale_deformable_attention(
        values.view(2, -1, 2, 4),
        SHAPES,
        locations,
        module.attention_weights(query).view(2, 5, 2, 6).softmax(-1),
        NUM_POINTS,
    )
    torch.testing.assert_close(output, module.output_proj(attended), atol=1e-5, rtol=1e-5)


def test_one_reference_serves_all_levels() -> None:
    module = attention()
    query, value = torch.randn(1, 4, 8), torch.randn(1, 49, 8)
    references = torch.rand(1, 4, 1, 4)
    expected = module(query, references.expand(-1, -1, 3, -1), value, SHAPES)
    torch.testing.assert_close(module(query, references, value, SHAPES), expected)


def test_start_values() -> None:
    module = MultiScaleDeformableAttention(16, 8, 2, 3)
    offsets = module.sampling_offsets(torch.randn(1, 16)).view(8, 2, 3, 2)
    directions = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    for head, direction in enumerate(directions):
        expected = torch.tensor([1.0, 2.0, 3.0])[:, None] * torch.tensor(direction)
        torch.testing.assert_close(offsets[head], expected.expand(2, 3, 2), atol=1e-5, rtol=0)
    assert module.attention_weights(torch.randn(1, 16)).abs().max() == 0


def test_autocast_keeps_locations_exact() -> None:
    module = attention()
    query, value = torch.randn(1, 4, 8), torch.randn(1, 49, 8)
    references = torch.rand(1, 4, 3, 2)
    with torch.autocast('cpu', torch.bfloat16):
        assert module.locations(query, references, SHAPES).dtype == torch.float32
        output = module(query, references, value, SHAPES)
    assert output.dtype == torch.bfloat16
    module.bfloat16()
    half = module(query.bfloat16(), references, value.bfloat16(), SHAPES)
    assert half.dtype == torch.bfloat16
    assert half.isfinite().all()


@pytest.mark.parametrize(
    ('changed', 'words'),
    [
        (dict(num_heads=3), 'embed_dims 8 is not a multiple of num_heads 3'),
        (dict(num_points=(4, 4)), r'num_points \(4, 4\) must be 4 numbers'),
        (dict(num_points=0), 'num_points of MultiScaleDeformableAttention must be 1 or more'),
    ],
)
def test_wrong_sizes_are_refused(changed: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MultiScaleDeformableAttention(8, **(dict(num_heads=2) | changed))


def test_compiled_and_exported() -> None:
    """Both forms compile whole, and any size of image exports with grid_sample."""
    module = attention().eval()
    use_fast_forms(module)
    query, value = torch.randn(1, 4, 8), torch.randn(1, 49, 8)
    references = torch.rand(1, 4, 3, 2)
    with torch.no_grad():
        expected = module(query, references, value, SHAPES)
        compiled = torch.compile(module, backend='eager', fullgraph=True)
        torch.testing.assert_close(compiled(query, references, value, SHAPES), expected)
    exported = torch.export.export(module, (query, references, value, SHAPES))
    names = {str(node.target) for node in exported.graph.nodes}
    assert any('grid_sampler' in name for name in names)
    assert not any('embedding_bag' in name for name in names)
    torch.testing.assert_close(exported.module()(query, references, value, SHAPES), expected)
