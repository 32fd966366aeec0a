"""torchvision's ResNet with frozen batch norm.

Legend: B images, H W input size.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torchvision.models import resnet as torchvision_resnet
from torchvision.ops import FrozenBatchNorm2d

from mmdetr.models.layers.checkpointing import run
from mmdetr.models.layers.conv_norm import conv_norm, fold
from mmdetr.registry import MODELS


def project(downsample: Any, x: Tensor) -> Tensor:
    """The shortcut of a block: identity (None), or a 1x1 convolution with its batch norm."""
    return x if downsample is None else conv_norm(downsample[0], downsample[1], x, relu=False)


class BasicBlock(torchvision_resnet.BasicBlock):
    """torchvision's block of two 3x3 convolutions, with ``conv_norm``."""

    def forward(self, x: Tensor, overwrite: bool = False, inner: bool = False) -> Tensor:
        """[B, C, H, W] -> [B, O, h, w].

        ``overwrite`` allows in the memory of ``x``, as no hook looks; ``inner`` says that the next
        block alone takes the result.
        """
        shortcut = project(self.downsample, x)
        x = conv_norm(self.conv1, self.bn1, x, inner=overwrite)
        owned = overwrite or self.downsample is not None
        return conv_norm(self.conv2, self.bn2, x, shortcut, overwrite=owned, inner=inner)


class Bottleneck(torchvision_resnet.Bottleneck):
    """torchvision's block of 1x1, 3x3 and 1x1 convolutions, with ``conv_norm``."""

    def forward(self, x: Tensor, overwrite: bool = False, inner: bool = False) -> Tensor:
        """[B, C, H, W] -> [B, O, h, w].

        ``overwrite`` allows in the memory of ``x``, as no hook looks; ``inner`` says that the next
        block alone takes the result.
        """
        shortcut = project(self.downsample, x)
        x = conv_norm(self.conv1, self.bn1, x, inner=overwrite)
        x = conv_norm(self.conv2, self.bn2, x, inner=overwrite)
        owned = overwrite or self.downsample is not None
        return conv_norm(self.conv3, self.bn3, x, shortcut, overwrite=owned, inner=inner)


_WINOGRAD_CHANNELS = 128

BLOCKS = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}


@MODELS.register_module()
class ResNet(BaseModule):
    """ResNet feature extractor.

    Its gradients cannot be differentiated again, as their memory is used for other gradients;
    unless a hook on a module looks, which costs some time and memory.

    Args:
        depth: 18, 34, 50 or 101.
        dilation: DC5: the last stage keeps its input's resolution (stride 16) and dilates its
            convolutions instead. By torchvision's rule, as in the authors' code, the first block
            of the stage keeps dilation 1; not defined for depth 18 and 34.
        frozen_stages: -1 trains everything; 0 freezes the stem, i the stem and stages 1..i.
        norm_frozen: Batch norm with fixed statistics and scale. False trains it, which a backbone
            without pretrained weights needs.
        out_indices: Stages to return, counted from 0; later stages are not built.
        with_cp: Activation checkpointing: keep only the inputs of a trained stage's first block and
            of each three after it, and compute the rest again in the backward pass. Needs
            ``norm_frozen``: statistics would count twice.
        init_cfg: ``dict(type='Pretrained', checkpoint=...)`` with a path, a URL or
            ``torchvision://resnet50``. The file may hold a bare ResNet or any checkpoint whose
            ``backbone.`` part is one.

    Attributes:
        out_channels: Channels of each returned feature map.
        strides: Input pixels per pixel of each returned feature map.

    Source: paper section 4 "technical details" and table 1 (DC5); He et al., Deep Residual
        Learning.
    """

    def __init__(
        self,
        depth: int = 50,
        dilation: bool = False,
        frozen_stages: int = 1,
        norm_frozen: bool = True,
        out_indices: Sequence[int] = (3,),
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        # mmdetr's initializers, also where no default scope is set.
        super().__init__(init_cfg=init_cfg and {'_scope_': 'mmdetr', **init_cfg})
        self._check(depth, dilation, frozen_stages, out_indices)
        if with_cp and not norm_frozen:
            raise ValueError('ResNet: with_cp=True needs norm_frozen=True')
        self.with_cp = with_cp
        self.frozen_stages = frozen_stages
        self.out_indices = tuple(out_indices)
        block, layers = BLOCKS[depth]
        resnet = torchvision_resnet.ResNet(
            block,
            list(layers),
            norm_layer=FrozenBatchNorm2d if norm_frozen else nn.BatchNorm2d,
            replace_stride_with_dilation=[False, False, dilation],
        )
        self.conv1, self.bn1 = resnet.conv1, resnet.bn1
        self.maxpool = resnet.maxpool
        self.stage_names = [f'layer{i + 1}' for i in range(max(out_indices) + 1)]
        for name in self.stage_names:
            self.add_module(name, getattr(resnet, name))
        first_width = resnet.layer1[-1].conv1.in_channels
        self.out_channels = tuple(first_width * 2**i for i in self.out_indices)
        self.strides = tuple(16 if dilation and i == 3 else 4 * 2**i for i in self.out_indices)
        for module in self._frozen_modules():
            module.requires_grad_(False)
        # The layout that convolutions are fastest in; shapes and saved files are the same.
        self.to(memory_format=torch.channels_last)

    @staticmethod
    def _check(depth: int, dilation: bool, frozen_stages: int, out_indices: Sequence[int]) -> None:
        if depth not in BLOCKS:
            raise ValueError(f'ResNet depth must be 18, 34, 50 or 101, not {depth}')
        if dilation and depth < 50:
            raise ValueError(f'ResNet-{depth} has no dilated form: set dilation=False or depth=50')
        if not -1 <= frozen_stages <= 4:
            raise ValueError(f'frozen_stages must be in -1..4, not {frozen_stages}')
        if not out_indices or not all(0 <= i <= 3 for i in out_indices):
            raise ValueError(f'out_indices must name stages 0..3, not {out_indices}')

    def _frozen_modules(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        stages = [getattr(self, name) for name in self.stage_names[: self.frozen_stages]]
        return [self.conv1, self.bn1, *stages]

    def train(self, mode: bool = True) -> 'ResNet':
        """Frozen stages stay in eval mode, so that a trainable batch norm keeps its statistics."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def optimize(self, winograd: bool = False) -> None:
        """Fold the batch norms into the convolutions for good; the backbone then only infers.

        Args:
            winograd: Compute 3x3 convolutions of 128 channels and more in Winograd's form, which
                pays on a CPU in float32. With fewer channels the transforms cost more.
        """
        self.eval()
        fold(self, 'conv1', 'bn1')
        for stage in self.stage_names:
            for block in getattr(self, stage):
                for i in (1, 2, 3) if isinstance(block, Bottleneck) else (1, 2):
                    wide = getattr(block, f'conv{i}').in_channels >= _WINOGRAD_CHANNELS
                    fold(block, f'conv{i}', f'bn{i}', winograd and wide)
                if block.downsample is not None:
                    fold(block.downsample, '0', '1')

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """[B, 3, H, W] -> feature maps of ``out_indices``, stage i at stride 4 * 2**i."""
        x = inputs.to(self.conv1.weight.dtype).contiguous(memory_format=torch.channels_last)
        # Frozen stages record nothing, unless gradients of the image are wanted.
        records = torch.is_grad_enabled()
        frozen = self.frozen_stages if records and not x.requires_grad else -1
        # Blocks may write over the output of the block before, unless a hook may have kept it.
        overwrite = not any(_has_hooks(module) for module in self.modules())
        outputs = []
        with torch.set_grad_enabled(records and frozen < 0):
            x = self.maxpool(conv_norm(self.conv1, self.bn1, x))
        for i, name in enumerate(self.stage_names):
            with torch.set_grad_enabled(records and i >= frozen):
                shown = getattr(self, name)[-1] if i in self.out_indices else None
                for blocks in _segments(getattr(self, name)):
                    x = run(_in_turn, blocks, x, overwrite, shown, checkpointing=self.with_cp)
            if i in self.out_indices:
                outputs.append(x)
        return tuple(outputs)


def _segments(stage: nn.Sequential) -> list[list[nn.Module]]:
    """Blocks whose activations come back together when checkpointing.

    The first block works on the larger input and needs as much memory as three of the others.
    """
    first, *others = stage
    return [[first], *(others[i : i + 3] for i in range(0, len(others), 3))]


def _in_turn(
    blocks: Sequence[nn.Module], x: Tensor, overwrite: bool, shown: nn.Module | None
) -> Tensor:
    """The blocks one after the other; the result of ``shown`` leaves the backbone."""
    for block in blocks:
        x = block(x, overwrite, inner=overwrite and block is not shown)
    return x


def _has_hooks(module: nn.Module) -> bool:
    return any(
        (
            module._forward_hooks,
            module._forward_pre_hooks,
            module._backward_hooks,
            module._backward_pre_hooks,
        )
    )
