"""Where the last decoder layer looks for one query.

Legend: N queries, S pixels of the feature map, h w its size, M heads, D channels, P points of a
head, H W size of the padded input.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from mmdetr.models.layers import MultiScaleDeformableAttention

from .predictor import NoAttentionError

# What decoder layers call their attention to the image; the second is torch's own layer's word.
_NAMES = ('cross_attn', 'multihead_attn')


def attention_kind(model: nn.Module) -> str | None:
    """``'map'`` for attention over all pixels, ``'points'`` for deformable; None without any."""
    layers = _cross_attentions(model)
    if not layers:
        return None
    return 'points' if isinstance(layers[-1], MultiScaleDeformableAttention) else 'map'


@torch.no_grad()
def decoder_attention(
    model: Any, inputs: Tensor, padding_mask: Tensor | None, query: int
) -> dict[str, Any]:
    """Run the network on one image and look at the attention of a query, averaged over heads.

    Args:
        model: The detector.
        inputs: [1, 3, H, W] as its preprocessor makes them.
        padding_mask: bool [1, H, W] or None, likewise.
        query: In 0..N-1.

    Returns:
        ``kind='map'``: ``height``, ``width`` and ``values``, rows of a map over the whole image, in
        0..1 of its largest value. ``kind='points'``: ``points``, rows of x, y in 0..1 of the image
        and the weight in 0..1 of the largest.

    Raises:
        NoAttentionError: There is no such query, or the model has no such attention.

    Source: paper figure 6 (decoder attention of each predicted object); points: Deformable DETR,
        appendix (visualisation of multi-scale deformable attention), without regard to levels.
    """
    layers = _cross_attentions(model)
    if not layers:
        raise NoAttentionError('the model has no attention from queries to the image')
    if isinstance(layers[-1], MultiScaleDeformableAttention):
        with _sampled(layers) as samples:
            model.network(inputs, padding_mask)
        locations, weights = samples[-1]
        return _points(locations[0], weights[0], query, _unpadded(inputs, padding_mask))
    maps: list[Sequence[Tensor]] = []
    hook = model.neck.register_forward_hook(lambda _, __, output: maps.append(output))
    try:
        with _attended(layers) as attended:
            model.network(inputs, padding_mask)
    finally:
        hook.remove()
    size = maps[-1][-1].shape[-2:]
    return _map(attended[-1], size, query, _unpadded(inputs, padding_mask))


def _unpadded(inputs: Tensor, padding_mask: Tensor | None) -> tuple[float, float]:
    """Shares of H and W that are of the image."""
    if padding_mask is None:
        return 1.0, 1.0
    rows, columns = ~padding_mask[0, :, 0], ~padding_mask[0, 0]
    return float(rows.float().mean()), float(columns.float().mean())


def _cross_attentions(model: nn.Module) -> list[nn.Module]:
    named = model.named_modules()
    return [module for name, module in named if name.rpartition('.')[2] in _NAMES]


@contextmanager
def _attended(layers: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """List the weights of each cross-attention as it runs, [N, S], means over the heads."""
    weights: list[Tensor] = []
    hooks = []
    for layer in layers:
        if isinstance(layer, nn.MultiheadAttention):
            hooks += [
                layer.register_forward_pre_hook(_ask_for_weights, with_kwargs=True),
                layer.register_forward_hook(lambda _, __, output: weights.append(output[1][0])),
            ]
        else:
            watch = _WatchKernel(weights)
            hooks += [
                layer.register_forward_pre_hook(partial(_enter, watch)),
                layer.register_forward_hook(partial(_leave, watch)),
            ]
    try:
        yield weights
    finally:
        for hook in hooks:
            hook.remove()


class _WatchKernel(TorchFunctionMode):
    """While it is entered, compute the weights that torch's fused attention does not return."""

    def __init__(self, weights: list[Tensor]) -> None:
        super().__init__()
        self.weights = weights

    def __torch_function__(
        self, func: Callable, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            names = ('query', 'key', 'value', 'attn_mask')
            self._note(**(dict(zip(names, args, strict=False)) | kwargs))
        return func(*args, **kwargs)

    def _note(
        self, query: Tensor, key: Tensor, attn_mask: Tensor | None = None, **others: Any
    ) -> None:
        """Heads [1, M, N or S, D / M], bool mask that allows or float mask that is added."""
        scores = query.float() @ key.float().transpose(-1, -2) / query.shape[-1] ** 0.5
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -torch.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        self.weights.append(scores.softmax(-1).mean(1)[0])


def _ask_for_weights(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
    return args, kwargs | dict(need_weights=True)


def _enter(mode: TorchFunctionMode, *_: Any) -> None:
    mode.__enter__()


def _leave(mode: TorchFunctionMode, *_: Any) -> None:
    mode.__exit__(None, None, None)


@contextmanager
def _sampled(layers: Sequence[Any]) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """List locations [1, N, M, P, 2] and weights [1, N, M, P] of each cross-attention as it runs.

    The locations are x, y in 0..1 of the padded input.
    """
    calls: list[tuple[Tensor, Tensor]] = []
    hooks = [
        layer.sampling.register_forward_pre_hook(lambda _, args: calls.append((args[2], args[3])))
        for layer in layers
    ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def _map(
    weights: Tensor, size: Sequence[int], query: int, share: tuple[float, float]
) -> dict[str, Any]:
    _check_query(query, len(weights))
    height, width = size
    if weights.shape[1] != height * width:
        raise NoAttentionError('the decoder attends to several feature maps, which is not drawn')
    shown = weights[query].view(height, width)
    shown = shown[: round(share[0] * height) or 1, : round(share[1] * width) or 1]
    values = (shown / shown.max().clamp(min=1e-12)).cpu()
    return dict(kind='map', height=len(values), width=len(values[0]), values=_rounded(values))


def _points(
    locations: Tensor, weights: Tensor, query: int, share: tuple[float, float]
) -> dict[str, Any]:
    _check_query(query, len(locations))
    x, y = (locations[query].float().flatten(0, 1) / locations.new_tensor(share[::-1])).unbind(-1)
    weight = weights[query].float().flatten()
    rows = torch.stack((x, y, weight / weight.max().clamp(min=1e-12)), dim=-1).cpu()
    return dict(kind='points', points=_rounded(rows))


def _rounded(values: Tensor) -> list[list[float]]:
    return [[round(each, 4) for each in row] for row in values.tolist()]


def _check_query(query: int, count: int) -> None:
    if not 0 <= query < count:
        raise NoAttentionError(f'the model has the queries 0 to {count - 1}, not {query}')
