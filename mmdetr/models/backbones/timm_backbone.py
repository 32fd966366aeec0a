"""Any backbone that timm can take feature maps from.

Legend: B images, H W input size, C channels and h w size of a feature map.
"""

import difflib
import importlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdetr.registry import MODELS

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


@MODELS.register_module()
class TimmBackbone(BaseModule):
    """A model of timm without its classifier.

    Args:
        model_name: Name in timm, as ``mobilenetv2_100``; ``timm.list_models()`` lists them.
        out_indices: Feature maps to return, in timm's count: 0 is the first that the model offers,
            at stride 2 or 4. Later stages are not built, or never trained.
        pretrained: True downloads timm's weights; a path, URL or published name takes them from a
            file that has timm's names. Read when training starts.
        frozen_stages: -1 trains everything; i freezes what computes the feature maps 0 to i.
        norm_frozen: Norms keep scale and shift, batch norms their statistics, too. False trains
            them, which a backbone without pretrained weights needs.
        with_cp: timm's activation checkpointing. Needs ``norm_frozen``: statistics would count
            twice.
        model_args: More arguments of the model, as ``dict(dynamic_img_size=True)`` of a vision
            transformer.
        init_cfg: mmengine's initialisation config, in place of ``pretrained``.

    Attributes:
        out_channels: Channels of each returned feature map.
        strides: Input pixels per pixel of each returned feature map.

    Raises:
        ImportError: timm is not installed.
        ValueError: timm has no such model, or no such feature maps of it.
    """

    def __init__(
        self,
        model_name: str,
        out_indices: Sequence[int] = (1, 2, 3),
        pretrained: bool | str = False,
        frozen_stages: int = -1,
        norm_frozen: bool = True,
        with_cp: bool = False,
        model_args: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        if with_cp and not norm_frozen:
            raise ValueError('TimmBackbone: with_cp=True needs norm_frozen=True')
        if pretrained and init_cfg is None:
            init_cfg = dict(type='TimmWeights', checkpoint=pretrained)
        # mmdetr's initializers, also where no default scope is set.
        super().__init__(init_cfg=init_cfg and {'_scope_': 'mmdetr', **init_cfg})
        self.model_name = model_name
        self.frozen_stages, self.norm_frozen = frozen_stages, norm_frozen
        self._arguments = dict(model_args or {}, features_only=True, out_indices=tuple(out_indices))
        self.body = self._create()
        self.out_channels = tuple(self.body.feature_info.channels())
        self.strides = tuple(self.body.feature_info.reduction())
        self._channels_last = str(getattr(self.body, 'output_fmt', '')).endswith('NHWC')
        if with_cp:
            self.body.set_grad_checkpointing(True)
        for module in self._frozen_modules():
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
        # The layout that convolutions are fastest in; shapes and saved files are the same.
        self.to(memory_format=torch.channels_last)

    def published_state_dict(self) -> dict[str, Tensor]:
        """Download timm's weights; under the names of ``body``."""
        return self._create(pretrained=True).state_dict()

    def _create(self, pretrained: bool = False) -> Any:
        timm = _import_timm()
        name = self.model_name
        if ':' not in name and not timm.is_model(name):
            nearest = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.5)
            advice = ', '.join(nearest) or 'timm.list_models() lists them'
            raise ValueError(
                f'timm {timm.__version__} has no model {name!r}; the nearest: {advice}'
            )
        try:
            return timm.create_model(name, pretrained=pretrained, **self._arguments)
        except (AssertionError, AttributeError, IndexError, RuntimeError) as error:
            raise ValueError(
                f'timm gives no feature maps {self._arguments["out_indices"]} of {name!r} '
                f'({error}): check out_indices, or take a model that it can take features from'
            ) from error

    def _frozen_modules(self) -> Iterator[nn.Module]:
        """Every module whose own parameters and statistics stay as they are."""
        modules = list(self.body.modules())
        first = self._end_of(self.frozen_stages) if self.frozen_stages >= 0 else 0
        # timm may build stages that nobody asked for.
        last = self._end_of(max(self._arguments['out_indices']))
        for i, module in enumerate(modules):
            is_fixed = self.norm_frozen and isinstance(module, _NORMS)
            if not first <= i < last or is_fixed:
                yield module

    def _end_of(self, index: int) -> int:
        """Number of modules, in their order, that compute the feature maps up to ``index``."""
        info = self.body.feature_info.info
        if index >= len(info):
            raise ValueError(
                f'frozen_stages of {self.model_name!r} must be in -1..{len(info) - 1}, not {index}'
            )
        # timm may flatten the names of a model that it takes features from.
        end = info[index]['module'].replace('.', '_')
        last = 0
        for i, (name, _) in enumerate(self.body.named_modules()):
            flat = name.replace('.', '_').removeprefix('model_')
            if flat == end or flat.startswith(f'{end}_'):
                last = i
        return last + 1

    def train(self, mode: bool = True) -> 'TimmBackbone':
        """Frozen parts stay in eval mode: batch norm keeps its statistics, nothing is dropped."""
        super().train(mode)
        for module in self._frozen_modules():
            module.training = False
        return self

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """[B, 3, H, W] -> maps [B, C, h, w] of ``out_indices``."""
        dtype = next(self.body.parameters()).dtype
        maps = self.body(inputs.to(dtype).contiguous(memory_format=torch.channels_last))
        return (
            tuple(each.permute(0, 3, 1, 2) for each in maps) if self._channels_last else tuple(maps)
        )


def _import_timm() -> Any:
    try:
        return importlib.import_module('timm')
    except ImportError as error:
        raise ImportError(
            'TimmBackbone needs timm, which is not installed: pip install "mmdetr[timm]"'
        ) from error
