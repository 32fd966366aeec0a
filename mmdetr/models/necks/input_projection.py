"""The 1x1 convolution between backbone and transformer.

Legend: B images, C backbone channels, D embedding width, h w feature size.
"""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdetr.registry import MODELS
from mmdetr.utils.arguments import check_at_least


@MODELS.register_module()
class InputProjection(BaseModule):
    """Reduce the last feature map to the width of the transformer.

    Args:
        in_channels: Widths of the backbone's maps, the last one C; the detector passes them.
        out_channels: D.
        strides: Input pixels per pixel of the backbone's maps; the detector passes them.

    Source: paper section 3.2. PyTorch's default initialisation, as in the authors' code.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int = 256,
        strides: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_at_least(1, 'InputProjection', out_channels=out_channels)
        self.out_channels = out_channels
        self.strides = None if strides is None else tuple(strides[-1:])
        self.projection = nn.Conv2d(in_channels[-1], out_channels, kernel_size=1)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps of the backbone, the last one [B, C, h, w] -> one map ([B, D, h, w],)."""
        return (self.projection(features[-1]),)
