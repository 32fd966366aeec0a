"""Where positions enter, which layers are returned, and masks."""

import pytest
import torch

from mmdetr.models import DETRTransformer, TorchTransformer
from mmdetr.models.transformers import Queries

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
        mask=None,
        pos=torch.randn(1, D, H, W, generator=generator),
        queries=Queries(torch.randn(N, D, generator=generator)),
    )


def hidden(transformer, features, mask, pos, queries, **options) -> torch.Tensor:
    """Hidden states of one feature map."""
    return transformer([features], [mask], [pos], queries, **options).hidden


def test_all_layers_end_with_the_last(inputs):
    transformer = build()
    every = hidden(transformer, **inputs, all_layers=True)
    assert every.shape == (3, B, N, D)
    torch.testing.assert_close(hidden(transformer, **inputs), every[-1:])


def test_the_memory_is_the_encoders_output(inputs):
    transformer = build()
    flat = {name: inputs[name].flatten(2).transpose(1, 2) for name in ('features', 'pos')}
    expected = transformer.encoder(flat['features'], flat['pos'])
    output = transformer([inputs['features']], [None], [inputs['pos']], inputs['queries'])
    assert torch.equal(output.memory, expected)
    assert output.reference_points is None


def test_padding_has_no_influence(inputs):
    """Features under the mask may be anything."""
    transformer = build()
    mask = torch.zeros(B, H, W, dtype=torch.bool)
    mask[0, 2:] = True
    inputs['mask'] = mask
    expected = hidden(transformer, **inputs)
    inputs['features'] = inputs['features'].masked_fill(mask[:, None], 1e3)
    torch.testing.assert_close(hidden(transformer, **inputs), expected)


def test_cropping_equals_padding(inputs):
    transformer = build()
    mask = torch.zeros(B, H, W, dtype=torch.bool)
    mask[:, :, 3:] = True
    padded = hidden(transformer, **{**inputs, 'mask': mask})
    cropped = {**inputs, 'features': inputs['features'][..., :3], 'pos': inputs['pos'][..., :3]}
    torch.testing.assert_close(padded, hidden(transformer, **cropped))


def test_encoder_pos_at_input_is_the_sum(inputs):
    summed = {**inputs, 'features': inputs['features'] + inputs['pos']}
    at_input = hidden(build(encoder_pos='input', decoder_pos='none'), **inputs)
    nowhere = build(encoder_pos='none', decoder_pos='none')
    torch.testing.assert_close(at_input, hidden(nowhere, **summed))


def test_none_ignores_positions(inputs):
    transformer = build(encoder_pos='none', decoder_pos='none')
    expected = hidden(transformer, **inputs)
    inputs['pos'] = 2 * inputs['pos']
    assert torch.equal(hidden(transformer, **inputs), expected)


def test_decoder_pos_differs_by_place(inputs):
    """Without an encoder the memory is the features, so the places can be emulated."""
    kwargs = dict(num_encoder_layers=0, encoder_pos='none')
    summed = {**inputs, 'features': inputs['features'] + inputs['pos']}
    at_input = hidden(build(decoder_pos='input', **kwargs), **inputs)
    torch.testing.assert_close(at_input, hidden(build(decoder_pos='none', **kwargs), **summed))
    at_attention = hidden(build(decoder_pos='attention', **kwargs), **inputs)
    assert not torch.allclose(at_attention, at_input, atol=1e-3)


def test_query_places(inputs):
    places = ('attention', 'input', 'none')
    outputs = {place: hidden(build(query_pos=place), **inputs) for place in places}
    assert not torch.allclose(outputs['attention'], outputs['input'], atol=1e-3)
    # Without queries nothing tells the slots apart.
    alike = outputs['none']
    torch.testing.assert_close(alike[:, :, :1].expand_as(alike), alike)


def test_content_starts_the_stream(inputs):
    """A position that starts the stream is a content without a position in the layers."""
    position = inputs['queries'].position
    at_input = hidden(build(query_pos='input'), **inputs)
    inputs['queries'] = Queries(content=position)
    torch.testing.assert_close(hidden(build(), **inputs), at_input)
    inputs['queries'] = Queries(content=position / 3, position=position * 2 / 3)
    torch.testing.assert_close(hidden(build(query_pos='input'), **inputs), at_input)


def test_queries_of_each_image_are_its_own(inputs):
    transformer = build()
    position = torch.randn(B, N, D)
    together = hidden(transformer, **{**inputs, 'queries': Queries(position)})
    for i in range(B):
        alone = hidden(transformer, **{**inputs, 'queries': Queries(position[i])})
        torch.testing.assert_close(together[:, i], alone[:, i])


def test_self_attention_mask_separates_queries(inputs):
    """With a diagonal mask a query does not depend on the others."""
    transformer = build()
    position = inputs['queries'].position
    mask = torch.eye(N, dtype=torch.bool)
    inputs['queries'] = Queries(position, self_attn_mask=mask)
    together = hidden(transformer, **inputs)
    alone = hidden(transformer, **{**inputs, 'queries': Queries(position[2:3])})
    torch.testing.assert_close(together[:, :, 2:3], alone)


def test_what_the_transformer_does_not_know_is_refused(inputs):
    transformer = build()
    refined = Queries(inputs['queries'].position, reference_points=torch.rand(N, 2))
    with pytest.raises(ValueError, match='refines no reference points'):
        hidden(transformer, **{**inputs, 'queries': refined})
    maps = [inputs['features']] * 2
    with pytest.raises(ValueError, match='one feature map, the neck gives 2'):
        transformer(maps, [None] * 2, [inputs['pos']] * 2, inputs['queries'])
    short = TorchTransformer(D, num_heads=4, num_encoder_layers=1, num_decoder_layers=1)
    with pytest.raises(ValueError, match='positions alone'):
        hidden(short, **{**inputs, 'queries': Queries(content=torch.zeros(N, D))})


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
    queries = inputs['queries'].position.expand(B, -1, -1)
    expected = transformer.decoder(queries, memory, memory_key_padding_mask=mask.flatten(1))
    every = hidden(transformer, **{**inputs, 'mask': mask}, all_layers=True)
    assert every.shape == (2, B, N, D)
    torch.testing.assert_close(every[-1], expected)
    torch.testing.assert_close(hidden(transformer, **{**inputs, 'mask': mask})[0], expected)
    first, second = (layer.linear1.weight for layer in transformer.encoder.layers)
    assert first.shape == (4 * D, D)
    assert not torch.equal(first, second)
