"""Layers against torch.nn."""

import math

import pytest
import torch
from torch import nn

from mmdetr.models.layers import (
    MLP,
    FlatPositionalEncoding,
    LearnedPositionalEncoding,
    MultiheadAttention,
    SinePositionalEncoding,
    TransformerDecoderLayer,
    TransformerEncoderLayer,
)

B, S, N, D, HEADS, FFN = 2, 11, 5, 16, 4, 24


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def padding(length: int) -> torch.Tensor:
    mask = torch.zeros(B, length, dtype=torch.bool)
    mask[1, -4:] = True
    return mask


def copy_into(theirs: nn.Module, ours: nn.Module) -> None:
    """Load our weights into the torch layer, whose cross-attention has another name."""
    state = {
        name.replace('cross_attn', 'multihead_attn'): value
        for name, value in ours.state_dict().items()
    }
    theirs.load_state_dict(state)


@pytest.mark.parametrize('masked', [False, True])
def test_attention_equals_torch(masked):
    ours = MultiheadAttention(D, HEADS)
    nn.init.normal_(ours.in_proj_bias)
    theirs = nn.MultiheadAttention(D, HEADS, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    query, key, value = torch.randn(B, N, D), torch.randn(B, S, D), torch.randn(B, S, D)
    mask = padding(S) if masked else None
    expected = theirs(query, key, value, key_padding_mask=mask)[0]
    allowed = None if mask is None else ~mask[:, None, None]
    torch.testing.assert_close(ours(query, key, value, allowed), expected, atol=1e-5, rtol=1e-5)


def test_attention_self_path_equals_separate_path():
    ours = MultiheadAttention(D, HEADS)
    x, value = torch.randn(B, S, D), torch.randn(B, S, D)
    torch.testing.assert_close(ours(x, x, value), ours(x, x.clone(), value))


def test_attention_initialisation_is_the_fused_one():
    weight = MultiheadAttention(256, 8).in_proj_weight
    bound = math.sqrt(6 / (256 + 768))
    assert bound * 0.99 < weight.abs().max().item() <= bound


def test_attention_rejects_indivisible_width():
    with pytest.raises(ValueError, match=r'16.*3'):
        MultiheadAttention(16, 3)


@pytest.mark.parametrize('norm_first', [False, True])
def test_encoder_layer_equals_torch(norm_first):
    ours = TransformerEncoderLayer(D, HEADS, FFN, dropout=0.0, norm_first=norm_first)
    theirs = nn.TransformerEncoderLayer(
        D, HEADS, FFN, dropout=0.0, norm_first=norm_first, batch_first=True
    )
    copy_into(theirs, ours)
    x, mask = torch.randn(B, S, D), padding(S)
    expected = theirs(x, src_key_padding_mask=mask)
    actual = ours(x, attn_mask=~mask[:, None, None])
    torch.testing.assert_close(actual[~mask], expected[~mask], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('norm_first', [False, True])
def test_decoder_layer_equals_torch(norm_first):
    ours = TransformerDecoderLayer(D, HEADS, FFN, dropout=0.0, norm_first=norm_first)
    theirs = nn.TransformerDecoderLayer(
        D, HEADS, FFN, dropout=0.0, norm_first=norm_first, batch_first=True
    )
    copy_into(theirs, ours)
    x, memory, mask = torch.randn(B, N, D), torch.randn(B, S, D), padding(S)
    expected = theirs(x, memory, memory_key_padding_mask=mask)
    actual = ours(x, memory, memory, cross_attn_mask=~mask[:, None, None])
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_decoder_layer_positions_reach_queries_and_keys_but_not_values():
    layer = TransformerDecoderLayer(D, HEADS, FFN, dropout=0.0)
    x, memory, pos, query_pos = (torch.randn(B, n, D) for n in (N, S, S, N))
    y = x + query_pos
    attended = layer.norm1(x + layer.self_attn(y, y, x))
    crossed = layer.cross_attn(attended + query_pos, memory + pos, memory)
    attended = layer.norm2(attended + crossed)
    expected = layer.norm3(attended + layer.linear2(layer.linear1(attended).relu()))
    torch.testing.assert_close(layer(x, memory + pos, memory, query_pos), expected)


def test_dropout_acts_in_training_only():
    layer = TransformerEncoderLayer(D, HEADS, FFN, dropout=0.5)
    x = torch.randn(B, S, D)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))


def test_layer_without_feedforward_has_no_such_parameters():
    names = {
        name.split('.')[0] for name, _ in TransformerDecoderLayer(D, HEADS, 0).named_parameters()
    }
    assert names == {'self_attn', 'cross_attn', 'norm1', 'norm2'}


def test_mlp():
    mlp = MLP(3, 7, 4, num_layers=3)
    expected = nn.Sequential(mlp.layers[0], nn.ReLU(), mlp.layers[1], nn.ReLU(), mlp.layers[2])
    x = torch.randn(2, 3)
    assert torch.equal(mlp(x), expected(x))
    assert [layer.out_features for layer in mlp.layers] == [7, 7, 4]


def test_sine_encoding_by_hand():
    encoding = SinePositionalEncoding(num_feats=4)
    mask = torch.zeros(1, 3, 4, dtype=torch.bool)
    mask[:, 2:] = True
    mask[:, :, 3:] = True  # a 2 x 3 image in a 3 x 4 batch
    value = encoding(torch.zeros(1, 8, 3, 4), mask)
    row = 1 / (2 + 1e-6) * 2 * math.pi  # the first of two rows
    column = 3 / (3 + 1e-6) * 2 * math.pi  # the last of three columns
    expected = [
        math.sin(row),
        math.cos(row),
        math.sin(row / 100),  # 10000 ** (2 / 4)
        math.cos(row / 100),
        math.sin(column),
        math.cos(column),
        math.sin(column / 100),
        math.cos(column / 100),
    ]
    torch.testing.assert_close(value[0, :, 0, 2], torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_sine_encoding_without_mask_equals_empty_mask():
    encoding = SinePositionalEncoding(num_feats=4)
    features = torch.zeros(2, 8, 3, 5)
    masked = encoding(features, torch.zeros(2, 3, 5, dtype=torch.bool))
    torch.testing.assert_close(encoding(features).expand_as(masked), masked)


def test_sine_encoding_counts_pixels_when_not_normalised():
    value = SinePositionalEncoding(num_feats=2, normalize=False)(torch.zeros(1, 4, 2, 3))
    torch.testing.assert_close(value[0, 2, 0], torch.tensor([1.0, 2.0, 3.0]).sin())


def test_learned_encoding_puts_columns_first():
    encoding = LearnedPositionalEncoding(num_feats=3, num_rows=4, num_cols=5)
    value = encoding(torch.zeros(2, 6, 2, 5))
    assert value.shape == (1, 6, 2, 5)
    assert torch.equal(value[0, :3, 1, 4], encoding.col_embed.weight[4])
    assert torch.equal(value[0, 3:, 1, 4], encoding.row_embed.weight[1])


def test_learned_encoding_refuses_larger_maps():
    encoding = LearnedPositionalEncoding(num_feats=3, num_rows=4, num_cols=5)
    with pytest.raises(ValueError, match=r'5 x 5 is larger .* 4 x 5.*num_rows'):
        encoding(torch.zeros(1, 6, 5, 5))


def test_learned_encoding_interpolates_by_option():
    encoding = LearnedPositionalEncoding(num_feats=3, num_rows=4, num_cols=5, interpolate=True)
    value = encoding(torch.zeros(1, 6, 8, 5))
    assert torch.equal(value[0, :3, 0], encoding.col_embed.weight.T)
    # Twice the rows, half a pixel off the samples: a quarter of the way from row 1 to row 2.
    rows = encoding.row_embed.weight
    torch.testing.assert_close(value[0, 3:, 3, 0], 0.75 * rows[1] + 0.25 * rows[2])


def test_flat_encoding_is_in_reading_order():
    encoding = FlatPositionalEncoding(num_feats=3, num_tokens=12)
    value = encoding(torch.zeros(2, 6, 3, 4))
    assert value.shape == (1, 6, 3, 4)
    assert torch.equal(value[0, :, 1, 2], encoding.embedding[1 * 4 + 2])
    with pytest.raises(ValueError, match=r'3 x 5 has 15 pixels.*12'):
        encoding(torch.zeros(1, 6, 3, 5))
