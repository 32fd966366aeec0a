"""3x3 convolution with a quarter of the multiplications.

Legend: B images, C input and O output channels, H W size, T tiles of 4 x 4 results.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# F(4x4, 3x3) of the source, for the interpolation points 0, 1, -1, 2, -2 and infinity.
_KERNEL = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_PATCH, _TILE = 6, 4
# Element of the tile that reaches all 16 results with factor 1: the bias is added there.
_ONE = _PATCH + 1


class WinogradConv2d(nn.Module):
    """A trained 3x3 convolution of stride 1 and padding 1 in Winograd's form, for inference.

    Each patch of 6 x 6 pixels is transformed, multiplied channel by channel with the transformed
    kernel, and transformed back to 4 x 4 results: 36 products instead of 144. Rounding errors in
    float32 are several times those of the plain convolution. The weights take four times the
    memory.

    Args:
        conv: The convolution to take the weights of.

    Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, section 4.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        if not self.fits(conv):
            raise ValueError(f'Winograd needs 3x3, stride 1, padding 1, one group, not {conv}')
        weight = conv.weight.detach()
        kernel = torch.tensor(_KERNEL, dtype=torch.float64, device=weight.device)
        products = torch.einsum('ai,bj,ocij->abco', kernel, kernel, weight.double())
        self.register_buffer('weight', products.flatten(0, 1).to(weight.dtype).contiguous())
        self.register_buffer('bias', None if conv.bias is None else conv.bias.detach())

    @staticmethod
    def fits(conv: nn.Conv2d) -> bool:
        """Whether the convolution has a Winograd form here."""
        return (
            conv.kernel_size == (3, 3)
            and conv.stride == (1, 1)
            and conv.padding == (1, 1)
            and conv.dilation == (1, 1)
            and conv.groups == 1
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, O, H, W], both with channels last in memory."""
        compute = _operator if torch.compiler.is_compiling() else _conv2d
        return compute(x, self.weight, self.bias)


def _conv2d(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    batch, channels, height, width = x.shape
    out_channels = weight.shape[-1]
    rows, columns = -(-height // _TILE), -(-width // _TILE)
    tiled = rows * _TILE, columns * _TILE
    x = F.pad(
        x.permute(0, 2, 3, 1), (0, 0, 1, tiled[1] - width + 1, 1, tiled[0] - height + 1)
    )  # [B, H, W, C]
    # One axis after the other, and whole maps at a time: a product with the matrix of both axes
    # has ten times the arithmetic and wants its patches copied together first.
    lines = x.new_empty(_PATCH, batch, rows, x.shape[2], channels)
    _transform_input([x[:, i : i + tiled[0] - 3 : _TILE] for i in range(_PATCH)], lines.unbind())
    patches = x.new_empty(_PATCH, _PATCH, batch, rows, columns, channels)
    _transform_input(
        [lines[:, :, :, i : i + tiled[1] - 3 : _TILE] for i in range(_PATCH)], patches.unbind(1)
    )
    products = torch.bmm(patches.view(_PATCH**2, -1, channels), weight)  # [36, T, O]
    if bias is not None:
        products[_ONE] += bias
    products = products.view(_PATCH, _PATCH, batch, rows, columns, out_channels)
    lines = x.new_empty(_TILE, _PATCH, batch, rows, columns, out_channels)
    _transform_output(products.unbind(), lines.unbind())
    out = x.new_empty(batch, rows, _TILE, columns, _TILE, out_channels)
    _transform_output(lines.unbind(1), out.permute(2, 4, 0, 1, 3, 5).unbind(1))
    return out.view(batch, *tiled, -1)[:, :height, :width].contiguous().permute(0, 3, 1, 2)


def _transform_input(x: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    """The source's B^T: polynomials with the values x at six places, at the six points.

    Rows (4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0), (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0) and (0, 4, 0, -5, 0, 1), with their common parts computed once.
    """
    odd = out[5]  # free until the end
    torch.sub(x[4], x[2], alpha=4, out=out[1])
    torch.sub(x[3], x[1], alpha=4, out=odd)
    torch.sub(out[1], odd, out=out[2])
    out[1].add_(odd)
    torch.sub(x[4], x[2], out=out[3])
    torch.sub(x[3], x[1], out=odd)
    torch.sub(out[3], odd, alpha=2, out=out[4])
    out[3].add_(odd, alpha=2)
    torch.sub(x[4], x[2], alpha=5, out=out[0]).add_(x[0], alpha=4)
    torch.sub(x[5], x[3], alpha=5, out=out[5]).add_(x[1], alpha=4)


def _transform_output(x: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    """The source's A^T, from six points to four results; overwrites ``x``.

    Rows (1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0) and (0, 1, -1, 8, -8, 1).
    """
    even = x[3].add_(x[4])
    odd = x[4].mul_(-2).add_(even)
    torch.add(x[1], x[2], out=out[0])
    torch.sub(x[1], x[2], out=out[1])
    torch.add(out[0], even, alpha=4, out=out[2])
    out[0].add_(even).add_(x[0])
    torch.add(out[1], odd, alpha=8, out=out[3]).add_(x[5])
    out[1].add_(odd, alpha=2)


# For torch.compile one operation: the parts would be compiled for minutes, and that again for every
# size of image, as their shapes depend on each other.
_operator = torch.library.custom_op(
    'mmdetr::winograd_conv2d',
    _conv2d,
    mutates_args=(),
    schema='(Tensor x, Tensor weight, Tensor? bias) -> Tensor',
)


@_operator.register_fake
def _shape(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    batch, _, height, width = x.shape
    return x.new_empty(batch, height, width, weight.shape[-1]).permute(0, 3, 1, 2)
