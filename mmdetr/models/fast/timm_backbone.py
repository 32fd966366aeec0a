"""Backbones of timm with each fixed batch norm as part of the convolution before it.

Legend: B images, C input and O output channels, H W input and h w output size.
"""

import functools
import importlib
from typing import Any

import torch
from torch import Tensor, fx, nn

from mmdetr.models.backbones.timm_backbone import TimmBackbone

from .conv_norm import fold_weights, has_fixed_statistics

_TIMM_NORM = ('timm.layers.norm_act', 'BatchNormAct2d')


class FastTimmBackbone(TimmBackbone):
    """TimmBackbone whose body has gone through :func:`join_norms`."""


class JoinedConv2d(nn.Conv2d):
    """A convolution that does the work of the batch norm behind it while that is fixed."""

    # In a tuple, or the norm would be a part of the convolution and have a second name.
    norm: tuple[nn.Module, ...]

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, O, h, w]."""
        if not (self.norm and takes_norm(self.norm[0], x)):
            return super().forward(x)
        return self._conv_forward(x, *fold_weights(self, self.norm[0]))


class _JoinedNorm(nn.BatchNorm2d):
    """A batch norm whose work the convolution before it does while it is fixed."""

    # Of timm's alone.
    drop: nn.Module
    act: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """[B, O, h, w] -> [B, O, h, w]."""
        if not takes_norm(self, x):
            return super().forward(x)
        return self.act(self.drop(x)) if hasattr(self, 'act') else x


def takes_norm(norm: nn.Module, x: Tensor) -> bool:
    """Whether the convolution of a pair, and not the norm, computes the norm at the moment."""
    return x.device.type == 'cpu' and has_fixed_statistics(norm)


@functools.cache
def _joined(norm: Any) -> Any:
    return type(f'Joined{norm.__name__}', (_JoinedNorm, norm), {'__module__': __name__})


def __getattr__(name: str) -> Any:
    """Find the class of a joined norm, for pickle; those of timm exist where timm does."""
    norms = {'JoinedBatchNorm2d': (nn, 'BatchNorm2d'), 'JoinedBatchNormAct2d': _TIMM_NORM}
    if name not in norms:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    module, norm = norms[name]
    found = importlib.import_module(module) if isinstance(module, str) else module
    return _joined(getattr(found, norm))


def join_norms(body: nn.Module) -> None:
    """Let convolutions do the work of the batch norms behind them, in place.

    The model is traced symbolically for its pairs: a batch norm that gets the output of a
    convolution that nothing else reads. One that cannot be traced stays as it is.
    """
    for conv, norm in _pairs(body):
        conv.__class__, conv.norm = JoinedConv2d, (norm,)
        kind: Any = norm.__class__
        norm.__class__ = _joined(kind)


def part_norms(body: nn.Module) -> None:
    """Undo :func:`join_norms`."""
    for module in body.modules():
        if isinstance(module, JoinedConv2d):
            del module.norm
            module.__class__ = nn.Conv2d  # type: ignore[assignment]
        elif isinstance(module, _JoinedNorm):
            module.__class__ = type(module).__mro__[2]


@torch.no_grad()
def fold_joined_norms(body: nn.Module) -> None:
    """Fold the norms of all pairs for good, for inference; only their activations are left."""
    for module in body.modules():
        if isinstance(module, JoinedConv2d) and module.norm:
            weight, bias = fold_weights(module, module.norm[0])
            module.weight = nn.Parameter(
                weight.contiguous(memory_format=torch.channels_last), requires_grad=False
            )
            module.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
            module.norm = ()
    for module in list(body.modules()):
        for name, child in module.named_children():
            if isinstance(child, _JoinedNorm):
                module.add_module(name, getattr(child, 'act', nn.Identity()))


class _Tracer(fx.Tracer):
    """Looks into everything but convolutions, norms and what torch calls a leaf."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        is_norm = isinstance(m, nn.modules.batchnorm._BatchNorm)
        return is_norm or super().is_leaf_module(m, module_qualified_name)


def _pairs(body: nn.Module) -> list[tuple[Any, Any]]:
    modules = dict(body.named_modules())
    if not any(map(_is_known_norm, modules.values())):
        return []
    try:
        graph = _Tracer().trace(body)
    # Whatever the code of some model leads a tracer into.
    except Exception:
        return []
    calls: dict[str, int] = {}
    for node in graph.nodes:
        if node.op == 'call_module':
            calls[node.target] = calls.get(node.target, 0) + 1
    pairs: list[tuple[Any, Any]] = []
    for node in graph.nodes:
        if node.op != 'call_module' or not _is_known_norm(modules[node.target]):
            continue
        before = node.args[0]
        if before.op != 'call_module' or len(before.users) != 1:
            continue
        conv = modules[before.target]
        once = calls[node.target] == calls[before.target] == 1
        if once and type(conv) is nn.Conv2d and conv.bias is None:
            pairs.append((conv, modules[node.target]))
    return pairs


def _is_known_norm(module: nn.Module) -> bool:
    """torch's batch norm, or timm's, which is that, dropout and an activation."""
    kind = type(module)
    return kind is nn.BatchNorm2d or (kind.__module__, kind.__name__) == _TIMM_NORM
