"""The decoder's attention of one query, against torch's module and against sums by hand."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mmdetr.registry import MODELS
from mmdetr.serving.attention import attention_kind, decoder_attention
from mmdetr.serving.predictor import NoAttentionError
from tests.helpers.serving import HEAD, noise, small_config

TINY = Path(__file__).parents[2] / 'configs'


def build(**head: Any) -> Any:
    torch.manual_seed(0)
    return MODELS.build(small_config(**head).model).eval()


def batch(model: Any) -> dict[str, Any]:
    """An image of 96 x 128 pixels, padded to 128 x 128."""
    pixels = torch.from_numpy(noise(96, 128)).permute(2, 0, 1)
    return model.data_preprocessor(dict(inputs=[pixels], data_samples=None), False)


def watch(module: nn.Module) -> list[tuple]:
    calls: list[tuple] = []
    module.register_forward_pre_hook(
        lambda _, args, kwargs: calls.append((*args, kwargs)), with_kwargs=True
    )
    return calls


def normalised(weights: torch.Tensor) -> torch.Tensor:
    """[1, N, S] over 4 x 4 pixels, of which 3 x 4 are of the image -> query 2's map."""
    shown = weights[0, 2].view(4, 4)[:3]
    return shown / shown.max()


def test_detr_is_torchs_attention() -> None:
    model = build()
    data = batch(model)
    attention = model.bbox_head.transformer.decoder.layers[-1].cross_attn
    calls = watch(attention)
    found = decoder_attention(model, data['inputs'], data['padding_mask'], 2)
    query, key, value, mask, _ = calls[0]
    oracle = nn.MultiheadAttention(32, 2, batch_first=True)
    oracle.load_state_dict(attention.state_dict())
    _, weights = oracle(query, key, value, key_padding_mask=~mask[:, 0, 0])
    assert attention_kind(model) == found['kind'] == 'map'
    assert (found['height'], found['width']) == (3, 4)
    torch.testing.assert_close(
        torch.tensor(found['values']), normalised(weights), atol=1e-4, rtol=0
    )
    assert not attention._forward_hooks


def test_short_form() -> None:
    sizes = dict(num_heads=2, num_encoder_layers=1, num_decoder_layers=2)
    model = build(transformer=dict(type='TorchTransformer', **sizes))
    data = batch(model)
    attention = model.bbox_head.transformer.decoder.layers[-1].multihead_attn
    calls = watch(attention)
    found = decoder_attention(model, data['inputs'], data['padding_mask'], 2)
    query, key, value, options = calls[0]
    _, weights = attention(query, key, value, key_padding_mask=options['key_padding_mask'])
    torch.testing.assert_close(
        torch.tensor(found['values']), normalised(weights), atol=1e-4, rtol=0
    )


def test_conditional() -> None:
    transformer = dict(HEAD['transformer'], decoder=dict(type='ConditionalDecoder'))
    model = build(type='ConditionalHead', transformer=transformer)
    data = batch(model)
    attention = model.bbox_head.transformer.decoder.layers[-1].cross_attn
    calls = watch(attention)
    found = decoder_attention(model, data['inputs'], data['padding_mask'], 2)
    x, _, spatial, memory, position, mask = calls[0][:6]
    scores = []
    for head in (slice(0, 16), slice(16, 32)):
        content = attention.query_content(x)[..., head] @ attention.key_content(memory)[
            ..., head
        ].transpose(1, 2)
        place = attention.query_spatial(spatial)[..., head] @ attention.key_position(position)[
            ..., head
        ].transpose(1, 2)
        scores.append(((content + place) / 32**0.5).masked_fill(~mask[:, 0], -torch.inf))
    weights = torch.stack(scores).softmax(-1).mean(0)
    torch.testing.assert_close(
        torch.tensor(found['values']), normalised(weights), atol=1e-4, rtol=0
    )


def test_deformable_gives_points() -> None:
    from mmengine.config import Config

    config = Config.fromfile(TINY / 'deformable_detr_tiny_1xb32-12e_shapes.py')
    torch.manual_seed(0)
    model = MODELS.build(config.model).eval()
    attention = model.bbox_head.transformer.decoder.layers[-1].cross_attn
    for parameter in attention.attention_weights.parameters():
        nn.init.normal_(parameter)
    calls = watch(attention)
    pixels = torch.from_numpy(noise(64, 64)).permute(2, 0, 1)
    data = model.data_preprocessor(dict(inputs=[pixels], data_samples=None), False)
    # As if the image were padded to twice its height.
    inputs = torch.cat((data['inputs'], torch.zeros_like(data['inputs'])), dim=2)
    mask = torch.zeros(1, 128, 64, dtype=torch.bool)
    mask[:, 64:] = True
    found = decoder_attention(model, inputs, mask, 1)
    query, references, _, shapes = calls[0][:4]
    places = attention.locations(query, references, shapes)[0, 1].flatten(0, 1)
    weights = attention.attention_weights(query)[0, 1].unflatten(0, (attention.num_heads, -1))
    weights = weights.softmax(-1).flatten()
    points = torch.tensor(found['points'])
    assert attention_kind(model) == found['kind'] == 'points'
    torch.testing.assert_close(points[:, 0], places[:, 0], atol=1e-4, rtol=0)
    torch.testing.assert_close(points[:, 1], 2 * places[:, 1], atol=1e-4, rtol=0)
    torch.testing.assert_close(points[:, 2], weights / weights.max(), atol=1e-4, rtol=0)


@pytest.mark.parametrize('query', [-1, 6])
def test_no_such_query(query: int) -> None:
    model = build()
    data = batch(model)
    with pytest.raises(NoAttentionError, match='0 to 5'):
        decoder_attention(model, data['inputs'], data['padding_mask'], query)


def test_model_without_attention() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    assert attention_kind(model) is None
    with pytest.raises(NoAttentionError, match='no attention'):
        decoder_attention(model, torch.zeros(1, 3, 8, 8), None, 0)
