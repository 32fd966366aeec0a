"""What backbones of a stem and four stages share.

Legend: B images, H W input size.
"""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdetr.models.layers.checkpointing import call_checkpointed

STRIDES = (4, 8, 16, 32)


class StagedBackbone(BaseModule):
    """A stem to stride 4 and stages at strides 4, 8, 16 and 32, of which some are returned.

    Args:
        stem: From the image to the input of the first stage.
        stages: The four stages; what comes after the last one returned is left out.
        widths: Channels of each stage's output.
        frozen_stages: -1 trains everything; 0 freezes the stem, i the stem and stages 1..i.
        out_indices: Stages to return, counted from 0.
        with_cp: Activation checkpointing of each trained stage; for batch norm that is fixed.
        init_cfg: mmengine's initialisation config.

    Attributes:
        out_channels: Channels of each returned feature map.
        strides: Input pixels per pixel of each returned feature map.

    Raises:
        ValueError: ``frozen_stages`` or ``out_indices`` name no stage.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: Sequence[nn.Module],
        widths: Sequence[int],
        frozen_stages: int,
        out_indices: Sequence[int],
        with_cp: bool,
        init_cfg: dict | None,
    ) -> None:
        # mmdetr's initializers, also where no default scope is set.
        super().__init__(init_cfg=init_cfg and {'_scope_': 'mmdetr', **init_cfg})
        if not -1 <= frozen_stages <= 4:
            raise ValueError(f'frozen_stages must be in -1..4, not {frozen_stages}')
        if not out_indices or not all(0 <= i <= 3 for i in out_indices):
            raise ValueError(f'out_indices must name stages 0..3, not {out_indices}')
        self.stem = stem
        self.stages = nn.ModuleList(stages[: max(out_indices) + 1])
        self.frozen_stages = frozen_stages
        self.out_indices = tuple(out_indices)
        self.with_cp = with_cp
        self.out_channels = tuple(widths[i] for i in out_indices)
        self.strides = tuple(STRIDES[i] for i in out_indices)
        for module in self._frozen_modules():
            module.requires_grad_(False)

    def _frozen_modules(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        return [self.stem, *self.stages[: self.frozen_stages]]

    def train(self, mode: bool = True) -> 'StagedBackbone':
        """Frozen stages stay in eval mode, so that a trainable batch norm keeps its statistics."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """[B, 3, H, W] -> feature maps of ``out_indices``, stage i at stride 4 * 2**i."""
        dtype = next(self.stem.parameters()).dtype
        x = self.stem(inputs.to(dtype))
        outputs = []
        for i, stage in enumerate(self.stages):
            x = call_checkpointed(stage, x, enabled=self.with_cp and i >= self.frozen_stages)
            if i in self.out_indices:
                outputs.append(x)
        return tuple(outputs)
