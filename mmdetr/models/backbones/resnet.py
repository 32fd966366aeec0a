"""torchvision's ResNet with frozen batch norm.

Legend: B images, H W input size.
"""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torchvision.models import resnet as torchvision_resnet
from torchvision.ops import FrozenBatchNorm2d

from mmdetr.models.layers.checkpointing import call_checkpointed
from mmdetr.registry import MODELS

BLOCKS = {
    18: (torchvision_resnet.BasicBlock, (2, 2, 2, 2)),
    34: (torchvision_resnet.BasicBlock, (3, 4, 6, 3)),
    50: (torchvision_resnet.Bottleneck, (3, 4, 6, 3)),
    101: (torchvision_resnet.Bottleneck, (3, 4, 23, 3)),
}


@MODELS.register_module()
class ResNet(BaseModule):
    """ResNet feature extractor.

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

    Example:
        >>> maps = ResNet(18, out_indices=(2, 3))(torch.zeros(1, 3, 64, 96))
        >>> [tuple(each.shape) for each in maps]
        [(1, 256, 4, 6), (1, 512, 2, 3)]

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

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """[B, 3, H, W] -> feature maps of ``out_indices``, stage i at stride 4 * 2**i."""
        x = inputs.to(self.conv1.weight.dtype).contiguous(memory_format=torch.channels_last)
        x = self.stem(x)
        outputs = []
        for i, name in enumerate(self.stage_names):
            stage = getattr(self, name)
            if self.with_cp and i >= self.frozen_stages:
                for blocks in _checkpointed_groups(stage):
                    x = call_checkpointed(blocks, x, enabled=True)
            else:
                x = stage(x)
            if i in self.out_indices:
                outputs.append(x)
        return tuple(outputs)

    def stem(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, 64, H / 4, W / 4]."""
        return self.maxpool(self.bn1(self.conv1(x)).relu_())


def _checkpointed_groups(stage: nn.Sequential) -> list[nn.Sequential]:
    """Split a stage into the groups of blocks that are recomputed together.

    The first block works on the larger input and needs as much memory as three of the others.
    """
    return [stage[:1], *(stage[i : i + 3] for i in range(1, len(stage), 3))]
