"""Convolution, batch norm and activation.

Legend: B images, C input and O output channels, H W input and h w output size.
"""

from torch import Tensor, nn


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, activation; the plain brick of real-time detectors.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: Side of the kernel.
        stride: Stride.
        groups: Groups of the convolution.
        activation: Class of the activation; None for none.
        norm: Class of the batch norm.
        padding: Pixels added on each side; by default what keeps the size of a map at stride 1
            for an odd kernel.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: type[nn.Module] | None = None,
        norm: type[nn.Module] = nn.BatchNorm2d,
        padding: int | None = None,
    ) -> None:
        super().__init__()
        if padding is None:
            padding = (kernel_size - 1) // 2
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False
        )
        self.norm = norm(out_channels)
        self.activation = nn.Identity() if activation is None else activation()

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, O, h, w]."""
        return self.activation(self.norm(self.conv(x)))
