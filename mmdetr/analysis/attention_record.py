"""Listen to the attention layers of one forward pass, without a change in the model.

Legend: B images, M heads, Q queries, S keys, P sampling points of all levels, d channels of a head.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from mmdetr.models.layers.attention import MultiheadAttention
from mmdetr.models.layers.conditional_layers import ConditionalCrossAttention
from mmdetr.models.layers.deformable_attention import DeformableSampling
from mmdetr.models.layers.deformable_attention_v2 import DiscreteSampling

_DENSE = (MultiheadAttention, ConditionalCrossAttention, nn.MultiheadAttention)
_SAMPLING = (DeformableSampling, DiscreteSampling)


class DenseCall(NamedTuple):
    """Attention of every query to every key.

    Attributes:
        name: Of the module in the detector.
        rows: Takes the numbers of queries and gives their weights [rows, S], the mean over the
            heads, of the first image.
    """

    name: str
    rows: Callable[[Tensor], Tensor]


class SampledCall(NamedTuple):
    """Attention of every query to a few points.

    Attributes:
        name: Of the module in the detector.
        shapes: (h, w) of the levels.
        locations: [Q, M, P, 2] of the first image, x, y in 0..1 of the padded level.
        weights: [Q, M, P].
    """

    name: str
    shapes: Sequence[tuple[int, int]]
    locations: Tensor
    weights: Tensor


class _Listener(TorchFunctionMode):
    """Note what the attention functions of torch are called with; of this thread alone."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()
        self.current: str | None = None
        self.calls: list[DenseCall | SampledCall] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.current is not None and func is F.scaled_dot_product_attention:
            mask = kwargs.get('attn_mask', args[3] if len(args) > 3 else None)
            self._note(_rows_of_product(args[0], args[1], mask))
        elif self.current is not None and func is F.multi_head_attention_forward:
            result: Any = func(*args, **{**kwargs, 'need_weights': True})
            output, weights = result
            self._note(lambda rows: weights[0].float()[rows])
            return output, None
        return func(*args, **kwargs)

    def _note(self, rows: Callable[[Tensor], Tensor]) -> None:
        assert self.current is not None
        self.calls.append(DenseCall(self.current, rows))
        self.current = None

    def dense_hook(self, name: str) -> Callable:
        """What a module of dense attention runs before its forward."""

        def hook(module: nn.Module, args: Any) -> None:
            if threading.get_ident() == self.thread:
                self.current = name

        return hook

    def sampling_hook(self, name: str) -> Callable:
        """What a module that samples points runs before its forward."""

        def hook(module: nn.Module, args: Any) -> None:
            if threading.get_ident() == self.thread:
                _, shapes, locations, weights = args
                call = SampledCall(name, shapes, locations[0].float(), weights[0].float())
                self.calls.append(call)

        return hook


@contextmanager
def recorded_attention(model: nn.Module) -> Iterator[list[DenseCall | SampledCall]]:
    """Collect the attention of what runs in the block, in this thread, in the order of the layers.

    Args:
        model: The detector. Other threads may use it meanwhile.
    """
    listener = _Listener()
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, _DENSE):
            handles.append(module.register_forward_pre_hook(listener.dense_hook(name)))
        elif isinstance(module, _SAMPLING):
            layer = name.removesuffix('.sampling')
            handles.append(module.register_forward_pre_hook(listener.sampling_hook(layer)))
    try:
        with listener:
            yield listener.calls
    finally:
        for handle in handles:
            handle.remove()


def _rows_of_product(q: Tensor, k: Tensor, mask: Tensor | None) -> Callable[[Tensor], Tensor]:
    """[B, M, Q, d], [B, M, S, d] -> what gives rows of the mean over heads of softmax(q k / d)."""

    def rows(numbers: Tensor) -> Tensor:
        queries, keys = q[0, :, numbers].float(), k[0].float()
        scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
        if mask is not None:
            own = mask.expand(q.shape[0], q.shape[1], q.shape[2], k.shape[2])[0][:, numbers]
            if own.dtype == torch.bool:
                scores = scores.masked_fill(~own, float('-inf'))
            else:
                scores = scores + own.float()
        return scores.softmax(-1).mean(0)

    return rows
