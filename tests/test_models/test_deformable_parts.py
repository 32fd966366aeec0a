"""Parts of the deformable models, one by one and in small models."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn import functional as F

from mmdetr.apis import optimize_for_inference
from mmdetr.models import ChannelMapper, EncoderProposals
from mmdetr.models.transformers import Memory
from mmdetr.registry import MODELS
from mmdetr.structures import DetDataSample, SetTarget, SigmoidClasses

CONFIGS = Path(__file__).parents[2] / 'configs'
DINO, DEFORMABLE = (f'{name}_tiny_1xb32-12e_shapes.py' for name in ('dino', 'deformable_detr'))


def build(name: str = DINO, **changes: Any) -> nn.Module:
    """A small model whose queries differ, with frozen batch norms."""
    init_default_scope('mmdetr')
    cfg = Config.fromfile(CONFIGS / name)
    cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    for key, parameter in model.bbox_head.named_parameters():
        if 'branch' in key or 'sampling_offsets' in key:
            nn.init.normal_(parameter, std=0.2)
    model.eval()
    model.bbox_head.train()
    return model


def samples(counts: tuple[int, ...] = (2, 1)) -> list[DetDataSample]:
    found = []
    for i, number in enumerate(counts):
        sample = DetDataSample(metainfo=dict(img_id=i, img_shape=(64, 64), ori_shape=(64, 64)))
        bboxes = torch.tensor([[5.0, 5, 30, 40], [20, 10, 60, 60]])[:number]
        sample.gt_instances = InstanceData(bboxes=bboxes, labels=torch.tensor([0, 2])[:number])
        found.append(sample)
    return found


def loss(model: nn.Module, inputs: Tensor, counts: tuple[int, ...] = (2, 1)) -> Tensor:
    torch.manual_seed(1)
    model.training = True  # the head sees the objects; batch norms stay as they are
    return model.parse_losses(model(inputs, None, samples(counts), mode='loss'))[0]


def test_neck_makes_further_levels_of_the_last_map() -> None:
    torch.manual_seed(0)
    neck = ChannelMapper([8, 16], 64, num_outs=4, strides=(8, 16))
    maps = torch.randn(2, 8, 12, 9), torch.randn(2, 16, 6, 5)
    levels = neck(maps)
    assert [tuple(each.shape[1:]) for each in levels] == [
        (64, 12, 9), (64, 6, 5), (64, 3, 3), (64, 2, 2),
    ]  # fmt: skip
    assert neck.strides == (8, 16, 32, 64)
    for number, source in ((0, maps[1]), (1, levels[2])):
        conv, norm = neck.extra_convs[number]
        expected = F.conv2d(source, conv.weight, conv.bias, stride=2, padding=1)
        expected = F.group_norm(expected, 32, norm.weight, norm.bias)
        torch.testing.assert_close(levels[2 + number], expected)


def test_neck_refuses_fewer_levels_than_maps() -> None:
    with pytest.raises(ValueError, match='num_outs of ChannelMapper must be 3 or more'):
        ChannelMapper([8, 16, 32], 64, num_outs=2)


def test_memory_by_hand() -> None:
    """A map of 2 x 4 whose last two columns are padding in the second image."""
    mask = torch.zeros(2, 2, 4, dtype=torch.bool)
    mask[1, :, 2:] = True
    memory = Memory.of([torch.zeros(2, 3, 2, 4)], [mask])
    assert memory.valid_ratios.tolist() == [[[1, 1]], [[0.5, 1]]]
    assert memory.centres[0, :5].tolist() == [
        [0.125, 0.25], [0.375, 0.25], [0.625, 0.25], [0.875, 0.25], [0.125, 0.75],
    ]  # fmt: skip
    assert memory.centres[1, :2].tolist() == [[0.25, 0.25], [0.75, 0.25]]
    box = torch.tensor([[[0.5, 0.5, 0.2, 0.4]]]).expand(2, -1, -1)
    on_levels = memory.on_levels(box)
    torch.testing.assert_close(on_levels[1, 0, 0], torch.tensor([0.25, 0.5, 0.1, 0.4]))


def test_padding_makes_no_difference() -> None:
    """Whatever stands in the padding, the head predicts what it does without.

    Not so in DINO, whose positions of boxes are in the padded image, as in the authors' code.
    """
    head = build(DEFORMABLE).bbox_head.eval()
    sizes = [(8, 6), (4, 3), (2, 2)]
    maps = [torch.randn(1, 128, *size) for size in sizes]
    padded = [
        F.pad(each, (0, size[1], 0, size[0]), value=9.0)
        for each, size in zip(maps, sizes, strict=True)
    ]
    mask = torch.ones(1, 16, 12, dtype=torch.bool)
    mask[:, :8, :6] = False
    with torch.no_grad():
        expected, output = head(maps), head(padded, mask)
    torch.testing.assert_close(output.logits, expected.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(output.bboxes, expected.bboxes, atol=1e-5, rtol=1e-4)


def test_fewer_pixels_than_queries() -> None:
    proposals = EncoderProposals(30, 64, 3, SigmoidClasses())
    memory = Memory.of([torch.randn(2, 64, 3, 4)], [None])
    assert proposals(memory).bboxes.shape == (2, 12, 4)
    model = build(**{'bbox_head.num_queries': 900}).eval()
    with torch.no_grad():
        prediction = model(torch.randn(1, 3, 64, 64))
    assert prediction.bboxes.shape == (1, 1, 84, 4)


def test_proposals_by_hand() -> None:
    """Squares of 0.05, 0.1, ... around the pixels; those at the border of a wide map are out."""
    memory = Memory.of([torch.randn(1, 8, 4, 100), torch.randn(1, 8, 2, 2)], [None, None])
    anchors, valid = EncoderProposals._anchors(memory)
    bboxes = anchors.sigmoid()
    assert not valid[0, 0]
    assert valid[0, 1]
    torch.testing.assert_close(bboxes[0, 1], torch.tensor([0.015, 0.125, 0.05, 0.05]))
    torch.testing.assert_close(bboxes[0, -1], torch.tensor([0.75, 0.75, 0.1, 0.1]))


def test_activation_checkpointing_changes_no_number() -> None:
    inputs = torch.randn(2, 3, 64, 64)
    found = []
    for with_cp in (False, True):
        model = build(**{'bbox_head.transformer.with_cp': with_cp})
        total = loss(model, inputs)
        total.backward()
        grads = {n: p.grad for n, p in model.named_parameters()}
        found.append((total.item(), grads))
    assert found[0][0] == found[1][0]
    for key, value in found[0][1].items():
        torch.testing.assert_close(found[1][1][key], value, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize('counts', [(2, 1), (0, 0)])
def test_every_parameter_gets_a_gradient(counts: tuple[int, ...]) -> None:
    model = build()
    loss(model, torch.randn(2, 3, 64, 64), counts).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_denoising_does_not_leak_and_follows_the_seed() -> None:
    model = build()
    inputs = torch.randn(2, 3, 64, 64)
    targets = [SetTarget(torch.arange(n), torch.tensor([[0.5, 0.5, 0.2, 0.3]] * n)) for n in (1, 3)]
    with torch.no_grad():
        plain = model.network(inputs)
        torch.manual_seed(3)
        seeing = model.network(inputs, None, targets)
        torch.manual_seed(3)
        again = model.network(inputs, None, targets)
    assert seeing.denoising.logits.shape == (3, 2, 36, 3)  # 6 groups of 3, twice
    torch.testing.assert_close(seeing.logits, plain.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(seeing.bboxes, plain.bboxes, atol=1e-5, rtol=1e-4)
    assert seeing.denoising.bboxes.equal(again.denoising.bboxes)


def test_crowded_images_get_one_group() -> None:
    targets = [SetTarget(torch.zeros(60, dtype=torch.long), torch.rand(60, 4))]
    assert len(build().bbox_head.denoising(targets)) == 120


def test_look_forward_twice_teaches_the_layer_before() -> None:
    """The last layer's box moves the one before it, through the branch of that layer alone."""
    inputs = torch.randn(1, 3, 64, 64)
    for twice in (False, True):
        changes = {'bbox_head.transformer.decoder.look_forward_twice': twice}
        model = build(**changes, **{'bbox_head.share_branches': False})
        model(inputs).bboxes[-1].sum().backward()
        first, before, last = (
            branch.layers[0].weight.grad for branch in model.bbox_head.reg_branches
        )
        assert last.abs().sum() > 0
        assert (before is not None and before.abs().sum() > 0) == twice
        assert first is None or first.abs().sum() == 0


def test_lower_precision() -> None:
    model = build()
    inputs = torch.randn(2, 3, 64, 64)
    with torch.autocast('cpu', torch.bfloat16):
        assert loss(model, inputs).isfinite()
    with torch.no_grad():
        optimised = optimize_for_inference(model.eval(), 'bfloat16')(inputs.bfloat16())
    assert optimised.bboxes.isfinite().all()
    assert optimised.bboxes.shape == (1, 2, 10, 4)


@pytest.mark.slow
@pytest.mark.parametrize('name', [DEFORMABLE, DINO])
def test_network_compiles_whole(name: str) -> None:
    model = build(name).eval()
    inputs = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(inputs)
        output = torch.compile(model.network, backend='eager', fullgraph=True)(inputs)
    torch.testing.assert_close(output.bboxes, expected.bboxes, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'bbox_head.proposals': None}, 'MixedQueries needs proposals: set bbox_head.proposals'),
        ({'bbox_head.query_source.type': 'AnchorQueries'}, 'AnchorQueries needs no proposals'),
    ],
)
def test_parts_that_do_not_fit_are_named(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(**changes)


def test_wrong_number_of_maps_is_named() -> None:
    model = build(**{'bbox_head.transformer.num_levels': 4})
    with pytest.raises(ValueError, match=re.escape('num_levels=4, the neck gives 3 maps')):
        model(torch.randn(1, 3, 64, 64))


def test_denoising_needs_queries_that_are_boxes() -> None:
    model = build(DEFORMABLE, **{'bbox_head.denoising': dict(type='GroupDenoising')})
    with pytest.raises(ValueError, match='query_source to AnchorQueries'):
        loss(model, torch.randn(2, 3, 64, 64))


def test_decoder_without_positions_is_named() -> None:
    model = build(
        **{'bbox_head.transformer.decoder': dict(_delete_=True, type='DeformableDecoder')}
    )
    with pytest.raises(ValueError, match='decoder to AnchorDeformableDecoder'):
        model(torch.randn(1, 3, 64, 64))
