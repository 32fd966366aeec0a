"""What RT-DETRv2 and D-FINE change in deformable attention."""

import pytest
import torch

from mmdetr.models.layers.deformable_attention_v2 import DeformableAttentionV2, DiscreteSampling


def test_discrete_sampling_is_brute_force():
    torch.manual_seed(0)
    shapes, num_points = [(4, 4), (2, 2)], (3, 2)
    value = torch.randn(2, 20, 2, 5)
    locations = torch.rand(2, 3, 2, 5, 2) * 1.4 - 0.2
    weights = torch.rand(2, 3, 2, 5)
    ours = DiscreteSampling(num_points)(value, shapes, locations, weights)
    expected = torch.zeros(2, 3, 2, 5)
    for image, query, head in torch.cartesian_prod(*map(torch.arange, (2, 3, 2))):
        for point in range(5):
            level = int(point >= 3)
            side, start = shapes[level][0], 16 * level
            x, y = locations[image, query, head, point].tolist()
            column, row = (min(max(int(v * side + 0.5), 0), side - 1) for v in (x, y))
            pixel = value[image, start + row * side + column, head]
            expected[image, query, head] += weights[image, query, head, point] * pixel
    torch.testing.assert_close(ours, expected.flatten(2))


def test_discrete_sampling_of_wide_and_high_maps():
    """As in the authors' code a wide map counts as square; a high one, which they refuse, is read
    up to its last column."""
    for shape, expected in (((2, 4), 1), ((4, 2), 1)):
        pixels = torch.arange(8.0).view(1, 8, 1, 1)
        right = torch.tensor([0.99, 0.0]).view(1, 1, 1, 1, 2)
        found = DiscreteSampling([1])(pixels, [shape], right, torch.ones(1, 1, 1, 1))
        assert found.item() == expected


def test_offsets_of_discrete_sampling_are_not_trained():
    attention = DeformableAttentionV2(16, 2, (3, 6), sampling='discrete')
    query, memory = torch.randn(1, 4, 16), torch.randn(1, 20, 16)
    attention(query, torch.rand(1, 4, 1, 4), memory, [(4, 4), (2, 2)]).sum().backward()
    assert attention.sampling_offsets.weight.grad is None
    assert attention.attention_weights.weight.grad is not None


def test_without_projections_values_are_the_memory():
    attention = DeformableAttentionV2(16, 2, (3, 6), projected=False)
    assert {name.split('.')[0] for name, _ in attention.named_parameters()} == {
        'sampling_offsets',
        'attention_weights',
    }
    memory = torch.ones(1, 20, 16)
    centre = torch.tensor([0.5, 0.5, 0.01, 0.01]).expand(1, 4, 1, 4)
    found = attention(torch.randn(1, 4, 16), centre, memory, [(4, 4), (2, 2)])
    torch.testing.assert_close(found, torch.ones(1, 4, 16))


def test_another_word_is_refused():
    with pytest.raises(ValueError, match='bilinear'):
        DeformableAttentionV2(16, 2, (3, 6), sampling='nearest')
