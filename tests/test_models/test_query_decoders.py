"""Parts of Conditional, DAB- and DN-DETR by hand, and what they refuse."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmdetr.models import AnchorDecoder, ConditionalDecoder, ScaledPositionEncoder
from mmdetr.models.layers import ConditionalDecoderLayer
from mmdetr.models.layers.conditional_layers import ConditionalCrossAttention
from mmdetr.registry import MODELS

ROOT = Path(__file__).parents[2] / 'configs'
D, HEADS = 16, 4
SIZES = dict(embed_dims=D, num_heads=HEADS, feedforward_channels=8, dropout=0.0)


def test_scores_are_the_sum_of_content_and_spatial_products() -> None:
    torch.manual_seed(0)
    attention = ConditionalCrossAttention(D, HEADS)
    x, spatial, memory, pos = (torch.randn(2, n, D) for n in (3, 3, 5, 5))
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])[:, None, None]
    ours = attention(x, x, spatial, memory, pos, mask)

    def heads(t: torch.Tensor) -> torch.Tensor:
        return t.reshape(2, -1, HEADS, D // HEADS).transpose(1, 2)

    scores = heads(attention.query_content(x)) @ heads(attention.key_content(memory)).mT
    scores += heads(attention.query_spatial(spatial)) @ heads(attention.key_position(pos)).mT
    weights = (scores / (2 * D / HEADS) ** 0.5).masked_fill(~mask, -torch.inf).softmax(-1)
    expected = (weights @ heads(attention.value(memory))).transpose(1, 2).flatten(2)
    torch.testing.assert_close(ours, attention.out_proj(expected))


def test_only_the_first_layer_adds_positions_to_contents() -> None:
    decoder = ConditionalDecoder(num_layers=3, **SIZES)
    has = [layer.cross_attn.query_position is not None for layer in decoder.layers]
    assert has == [True, False, False]


def test_a_large_anchor_looks_less_sharply() -> None:
    """The spatial query's x half is divided by the width, its y half by the height."""
    torch.manual_seed(0)
    decoder = AnchorDecoder(num_layers=1, **SIZES)
    x, box = torch.randn(1, 1, D), torch.randn(1, 1, 2 * D)
    small = decoder._spatial_query(0, x, box, torch.tensor([[[0.5, 0.5, 0.1, 0.2]]]))
    wide = decoder._spatial_query(0, x, box, torch.tensor([[[0.5, 0.5, 0.4, 0.2]]]))
    y, x_half = slice(None, D // 2), slice(D // 2, None)
    torch.testing.assert_close(wide[..., y], small[..., y])
    torch.testing.assert_close(wide[..., x_half], small[..., x_half] / 4)


def test_anchors_are_moved_before_the_norm_and_carry_no_gradient_between_layers() -> None:
    torch.manual_seed(0)
    decoder = AnchorDecoder(num_layers=3, **SIZES)
    anchors = torch.full((1, 2, 4), 0.5, requires_grad=True)
    seen = []

    def refine(layer: int, hidden: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        seen.append((layer, hidden, points))
        return points * 0.9

    memory = torch.randn(1, 5, D)
    hidden, points = decoder(
        torch.zeros(1, 2, D),
        memory,
        memory,
        memory_pos=torch.randn(1, 5, D),
        reference_points=anchors,
        refine=refine,
        all_layers=True,
    )
    assert [layer for layer, *_ in seen] == [0, 1]
    torch.testing.assert_close(decoder.norm(seen[1][1]), hidden[1])
    torch.testing.assert_close(points[2], anchors.detach() * 0.81)
    assert seen[0][2].requires_grad
    assert not seen[1][2].requires_grad


def test_positions_of_the_encoder_are_scaled_by_the_pixels() -> None:
    torch.manual_seed(0)
    encoder = ScaledPositionEncoder(num_layers=1, norm_first=False, activation='prelu', **SIZES)
    x, pos = torch.randn(1, 5, D), torch.randn(1, 5, D)
    expected = encoder.layers[0](x, pos * encoder.position_scale(x))
    torch.testing.assert_close(encoder(x, pos), expected)
    assert isinstance(encoder.layers[0].activation, nn.PReLU)


@pytest.mark.parametrize('decoder', [ConditionalDecoder, AnchorDecoder])
def test_pre_norm_is_refused(decoder: type) -> None:
    with pytest.raises(ValueError, match='post-norm'):
        decoder(num_layers=1, norm_first=True, **SIZES)


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"activation must be one of .*'swish'"):
        ConditionalDecoderLayer(D, HEADS, activation='swish')


@pytest.mark.parametrize(
    ('name', 'decoder', 'message'),
    [
        ('conditional', 'TransformerDecoder', 'the head needs reference points'),
        ('conditional', 'AnchorDecoder', 'take AnchorHead'),
        ('dab', 'ConditionalDecoder', 'take ConditionalHead'),
        ('dab', 'TransformerDecoder', 'refines no reference points'),
    ],
)
def test_parts_that_do_not_fit_say_so(name: str, decoder: str, message: str) -> None:
    cfg = Config.fromfile(ROOT / f'{name}_detr_tiny_1xb32-12e_shapes.py')
    cfg.model.bbox_head.transformer.decoder = dict(type=decoder)
    model = MODELS.build(cfg.model).eval()
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(1, 3, 64, 64))


def test_centres_are_spread_evenly_and_learn() -> None:
    cfg = Config.fromfile(ROOT / 'dab_detr_tiny_1xb32-12e_shapes.py')
    cfg.model.bbox_head.update(num_queries=2000, random_centres=True)
    torch.manual_seed(0)
    anchors = MODELS.build(cfg.model).bbox_head.anchors.weight
    centres = anchors.detach()[:, :2].sigmoid()
    histogram = torch.histc(centres, bins=4, min=0, max=1) / centres.numel()
    torch.testing.assert_close(histogram, torch.full((4,), 0.25), atol=0.03, rtol=0)
    assert anchors.requires_grad
