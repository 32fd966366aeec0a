"""The mask head beyond what the authors' numbers show: other sizes, chunks, chosen queries."""

import pytest
import torch
from torch.nn import functional as F

from mmdetr.models import DETRMaskHead, MaskHead
from mmdetr.models.fast import use_fast_forms
from mmdetr.models.fast.mask_head import FastMaskHead, conv_of_enlarged
from mmdetr.structures import MaskInputs

CHANNELS = (6, 8, 10, 12)


def build(fast: bool = False, **options) -> MaskHead:
    torch.manual_seed(0)
    options = dict(embed_dims=128, backbone_channels=CHANNELS, num_heads=8) | options
    holder = torch.nn.ModuleList([MaskHead(**options)])
    if fast:
        use_fast_forms(holder)
    head = holder[0]
    for parameter in head.parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter)
    return head


def inputs(sizes=((33, 18), (17, 9), (9, 5), (5, 3)), num_queries=5, channels=CHANNELS):
    """Two images, the second padded; sizes of the maps from fine to coarse."""
    torch.manual_seed(1)
    maps = [torch.randn(2, c, *size) for c, size in zip(channels, sizes, strict=True)]
    padding_mask = torch.zeros(2, *sizes[-1], dtype=torch.bool)
    padding_mask[1, :, -1] = True
    dense = torch.randn(2, 2, 128, *sizes[-1])
    return MaskInputs(torch.randn(2, num_queries, 128), *dense, maps[:-1], padding_mask)


@pytest.mark.parametrize(
    'sizes',
    [
        ((33, 18), (17, 9), (9, 5), (5, 3)),
        ((32, 24), (16, 12), (8, 6), (4, 3)),
        ((20, 12), (10, 6), (5, 3), (5, 3)),  # DC5: the last step does not enlarge
        ((20, 14), (9, 7), (4, 3), (2, 2)),  # no factor of two
        ((8, 16), (4, 8), (2, 4), (1, 2)),
    ],
)
def test_fast_form_is_the_plain_one(sizes):
    """Masks and gradients in float64, where rounding hides nothing."""
    plain, fast = build().double(), build(fast=True).double()
    assert type(fast) is FastMaskHead
    gradients = []
    for head in (plain, fast):
        maps = inputs(sizes)
        leaves = [maps.hidden, maps.memory, maps.features, *maps.maps]
        leaves = [each.double().requires_grad_() for each in leaves]
        maps = MaskInputs(*leaves[:3], leaves[3:], maps.padding_mask)
        masks = torch.cat(head(maps, list(maps.hidden)))
        assert masks.shape == (10, *sizes[0])
        masks.square().sum().backward()
        found = {str(i): leaf.grad for i, leaf in enumerate(leaves)}
        found |= {name: parameter.grad for name, parameter in head.named_parameters()}
        gradients.append({'masks': masks.detach()} | found)
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, msg=lambda m, n=name: f'{n}: {m}')


@pytest.mark.parametrize('size', [(2, 2), (5, 4), (4, 5), (1, 3)])
@pytest.mark.parametrize('cut', [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_convolution_of_an_enlarged_map(size, cut):
    torch.manual_seed(0)
    height, width = (2 * side - less for side, less in zip(size, cut, strict=True))
    x, weight = torch.randn(3, 4, *size).double(), torch.randn(5, 4, 3, 3).double()
    addend = torch.randn(1, 5, height, width).double()
    large = x.repeat_interleave(2, 2).repeat_interleave(2, 3)[:, :, :height, :width]
    expected = F.conv2d(large, weight, padding=1) + addend
    torch.testing.assert_close(conv_of_enlarged(x, weight, addend), expected)


@pytest.mark.parametrize('fast', [False, True])
def test_chosen_queries_get_the_masks_of_the_full_computation(fast):
    head, maps = build(fast), inputs(num_queries=20)
    with torch.no_grad():
        full = head(maps, list(maps.hidden))
        chosen = [torch.tensor([7, 2, 19]), torch.tensor([], dtype=torch.long)]
        some = head(maps, [maps.hidden[i][chosen[i]] for i in range(2)])
    torch.testing.assert_close(some[0], full[0][chosen[0]], rtol=0, atol=1e-5)
    assert some[1].shape == (0, 33, 18)


@pytest.mark.parametrize('fast', [False, True])
def test_recomputed_chunks_change_nothing(fast):
    """20 queries in chunks of 3, of which the first two are kept; and at once."""
    results = []
    for chunk_size in (3, 20):
        head, maps = build(fast, chunk_size=chunk_size).double(), inputs(num_queries=10)
        doubles = [each.double() for each in (maps.hidden, maps.memory, maps.features)]
        maps = MaskInputs(*doubles, [each.double() for each in maps.maps], maps.padding_mask)
        masks = torch.cat(head(maps, list(maps.hidden)))
        masks.square().sum().backward()
        results.append((masks.detach(), [p.grad for p in head.parameters()]))
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize('fast', [False, True])
def test_without_queries_every_parameter_has_a_gradient(fast):
    """Data parallelism waits for the gradient of each."""
    head, maps = build(fast), inputs()
    masks = head(maps, [maps.hidden[i][:0] for i in range(2)])
    torch.cat(masks).sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in head.parameters())


def test_attention_of_a_query_sums_to_one_and_leaves_padding_out():
    head, maps = build(), inputs()
    arguments = maps.hidden[1:], maps.memory[1:], maps.padding_mask[1:]
    with torch.no_grad():
        attention = head.attention(*arguments)[0]
    assert attention.shape == (5, 8, 5, 3)
    torch.testing.assert_close(attention.sum((1, 2, 3)), torch.ones(5))
    assert not attention[..., -1].any()
    scaled = build(attention_scale=15.0).attention
    scaled.load_state_dict(head.attention.state_dict())
    with torch.no_grad():
        larger = scaled(*arguments)[0]
    torch.testing.assert_close(larger, 15 * attention)


def test_fewer_maps_take_fewer_steps():
    """Two maps of the backbone: one step, and a width that is a multiple of 32."""
    head = build(embed_dims=32, backbone_channels=(6, 12))
    maps = MaskInputs(
        torch.randn(1, 3, 32), *torch.randn(2, 1, 32, 4, 4), [torch.randn(1, 6, 8, 8)], None
    )
    assert head(maps, list(maps.hidden))[0].shape == (3, 8, 8)


@pytest.mark.parametrize('options', [dict(embed_dims=64), dict(num_heads=4)])
def test_widths_that_groups_do_not_divide_are_refused(options):
    with pytest.raises(ValueError, match=r'neck\.out_channels, num_heads or'):
        build(**options)


def test_a_mask_head_without_use_is_refused():
    with pytest.raises(ValueError, match='instance_masks=True'):
        DETRMaskHead(
            num_classes=3,
            num_queries=4,
            in_channels=128,
            positional_encoding=dict(type='mmdetr.SinePositionalEncoding'),
            transformer=dict(type='mmdetr.DETRTransformer', num_decoder_layers=1),
            mask_head=dict(type='mmdetr.MaskHead'),
            backbone_channels=CHANNELS,
            instance_masks=False,
        )
