"""Where positions enter, which layers are returned, and masks."""

import pytest
import torch

from mmdetr.models import DETRTransformer, TorchTransformer

B, D, H, W, N = 2, 16, 3, 4, 5


def build(**kwargs) -> DETRTransformer:
    torch.manual_seed(0)
    sizes = dict(num_heads=4, num_encoder_layers=2, num_decoder_layers=3, feedforward_channels=8)
    return DETRTransformer(D, dropout=0.0, **{**sizes, **kwargs})


@pytest.fixture
def inputs() -> dict:
    generator = torch.Generator().manual_seed(1)
    return dict(
        features=torch.randn(B, D, H, W, generator=generator),
        padding_mask=None,
        pos=torch.randn(1, D, H, W, generator=generator),
        queries=torch.randn(N, D, generator=generator),
    )


def test_all_layers_end_with_the_last(inputs):
    transformer = build()
    every = transformer(**inputs, all_layers=True)
    assert every.shape == (3, B, N, D)
    torch.testing.assert_close(transformer(**inputs), every[-1:])


def test_padding_has_no_influence(inputs):
    """Features under the mask may be anything."""
    transformer = build()
    mask = torch.zeros(B, H, W, dtype=torch.bool)
    mask[0, 2:] = True
    inputs['padding_mask'] = mask
    expected = transformer(**inputs)
    inputs['features'] = inputs['features'].masked_fill(mask[:, None], 1e3)
    torch.testing.assert_close(transformer(**inputs), expected)


def test_cropping_equals_padding(inputs):
    transformer = build()
    mask = torch.zeros(B, H, W, dtype=torch.bool)
    mask[:, :, 3:] = True
    padded = transformer(**{**inputs, 'padding_mask': mask})
    cropped = {**inputs, 'features': inputs['features'][..., :3], 'pos': inputs['pos'][..., :3]}
    torch.testing.assert_close(padded, transformer(**cropped))


def test_encoder_pos_at_input_is_the_sum(inputs):
    summed = {**inputs, 'features': inputs['features'] + inputs['pos']}
    at_input = build(encoder_pos='input', decoder_pos='none')(**inputs)
    torch.testing.assert_close(at_input, build(encoder_pos='none', decoder_pos='none')(**summed))


def test_none_ignores_positions(inputs):
    transformer = build(encoder_pos='none', decoder_pos='none')
    expected = transformer(**inputs)
    inputs['pos'] = 2 * inputs['pos']
    assert torch.equal(transformer(**inputs), expected)


def test_decoder_pos_differs_by_place(inputs):
    """Without an encoder the memory is the features, so the places can be emulated."""
    kwargs = dict(num_encoder_layers=0, encoder_pos='none')
    summed = {**inputs, 'features': inputs['features'] + inputs['pos']}
    at_input = build(decoder_pos='input', **kwargs)(**inputs)
    torch.testing.assert_close(at_input, build(decoder_pos='none', **kwargs)(**summed))
    at_attention = build(decoder_pos='attention', **kwargs)(**inputs)
    assert not torch.allclose(at_attention, at_input, atol=1e-3)


def test_query_places(inputs):
    places = {place: build(query_pos=place)(**inputs) for place in ('attention', 'input', 'none')}
    assert not torch.allclose(places['attention'], places['input'], atol=1e-3)
    # Without queries nothing tells the slots apart.
    torch.testing.assert_close(places['none'][:, :, :1].expand_as(places['none']), places['none'])


def test_self_attention_mask_separates_queries(inputs):
    """With a diagonal mask a query does not depend on the others."""
    transformer = build()
    mask = torch.eye(N, dtype=torch.bool)
    together = transformer(**inputs, self_attn_mask=mask)
    alone = transformer(**{**inputs, 'queries': inputs['queries'][2:3]})
    torch.testing.assert_close(together[:, :, 2:3], alone)


def test_cross_attention_mask_is_joined_with_padding(inputs):
    transformer = build(num_encoder_layers=0)
    mask = torch.zeros(B, H, W, dtype=torch.bool)
    mask[:, 2] = True
    allowed = torch.ones(H, W, dtype=torch.bool)
    allowed[1] = False
    joined = transformer(
        **{**inputs, 'padding_mask': mask}, cross_attn_mask=allowed.flatten()[None, None, None]
    )
    first_row = {**inputs, 'features': inputs['features'][:, :, :1], 'pos': inputs['pos'][:, :, :1]}
    torch.testing.assert_close(joined, transformer(**first_row))


def test_pre_norm_normalises_the_memory():
    assert {name for name, _ in build(norm_first=True).encoder.norm.named_parameters()} == {
        'weight',
        'bias',
    }
    assert not list(build().encoder.norm.parameters())


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(encoder_pos='attn'), 'encoder_pos'),
        (dict(query_pos='sum'), 'query_pos'),
        (dict(num_decoder_layers=0), 'num_decoder_layers'),
    ],
)
def test_wrong_options_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(**kwargs)


def test_torch_transformer_equals_the_stacks_it_is_made_of(inputs):
    torch.manual_seed(0)
    transformer = TorchTransformer(
        D, num_heads=4, num_encoder_layers=2, num_decoder_layers=2
    ).eval()
    mask = torch.zeros(B, H, W, dtype=torch.bool)
    mask[1, :, 2:] = True
    tokens = (inputs['features'] + inputs['pos']).flatten(2).transpose(1, 2)
    memory = transformer.encoder(tokens, src_key_padding_mask=mask.flatten(1))
    queries = inputs['queries'].expand(B, -1, -1)
    expected = transformer.decoder(queries, memory, memory_key_padding_mask=mask.flatten(1))
    every = transformer(**{**inputs, 'padding_mask': mask}, all_layers=True)
    assert every.shape == (2, B, N, D)
    torch.testing.assert_close(every[-1], expected)
    torch.testing.assert_close(transformer(**{**inputs, 'padding_mask': mask})[0], expected)
    first, second = (layer.linear1.weight for layer in transformer.encoder.layers)
    assert first.shape == (4 * D, D)
    assert not torch.equal(first, second)
