"""3x3 convolution with a quarter of the multiplications.

Legend: B images, C input and O output channels, H W size, T tiles of 4 x 4 results.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# F(4x4, 3x3) of the source, for the interpolation points 0, 1, -1, 2, -2 and infinity.
_INPUT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_KERNEL = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_OUTPUT = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)
_TILE, _PATCH = len(_OUTPUT), len(_INPUT)


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
    to_patch: Tensor
    to_tile: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        if not self.fits(conv):
            raise ValueError(f'Winograd needs 3x3, stride 1, padding 1, one group, not {conv}')
        weight = conv.weight.detach()
        kernel = torch.tensor(_KERNEL, dtype=torch.float64, device=weight.device)
        products = torch.einsum('ai,bj,ocij->abco', kernel, kernel, weight.double())
        self.register_buffer('weight', products.flatten(0, 1).to(weight.dtype).contiguous())
        self.register_buffer('bias', None if conv.bias is None else conv.bias.detach())
        for name, matrix in dict(to_patch=_INPUT, to_tile=_OUTPUT).items():
            both_axes = torch.kron(torch.tensor(matrix), torch.tensor(matrix))
            self.register_buffer(name, both_axes.to(weight), persistent=False)

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
        return compute(x, self.weight, self.bias, self.to_patch, self.to_tile)


def _conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, to_patch: Tensor, to_tile: Tensor
) -> Tensor:
    batch, channels, height, width = x.shape
    rows, columns = -(-height // _TILE), -(-width // _TILE)
    padding = (0, 0, 1, columns * _TILE - width + 1, 1, rows * _TILE - height + 1)
    x = F.pad(x.permute(0, 2, 3, 1), padding)
    patches = x.unfold(1, _PATCH, _TILE).unfold(2, _PATCH, _TILE)  # [B, rows, cols, C, 6, 6]
    patches = patches.permute(4, 5, 0, 1, 2, 3).reshape(_PATCH**2, -1)
    products = torch.bmm((to_patch @ patches).view(_PATCH**2, -1, channels), weight)  # [36, T, O]
    tiles = (to_tile @ products.flatten(1)).view(
        _TILE, _TILE, batch, rows, columns, products.shape[-1]
    )
    out = tiles.permute(2, 3, 0, 4, 1, 5).reshape(batch, rows * _TILE, columns * _TILE, -1)
    out = out[:, :height, :width].contiguous()
    if bias is not None:
        out += bias
    return out.permute(0, 3, 1, 2)


# For torch.compile one operation: the parts gain next to nothing, but take a minute to compile, and
# that again for every size of image, as their shapes depend on each other.
_operator = torch.library.custom_op(
    'mmdetr::winograd_conv2d',
    _conv2d,
    mutates_args=(),
    schema='(Tensor x, Tensor weight, Tensor? bias, Tensor to_patch, Tensor to_tile) -> Tensor',
)


@_operator.register_fake
def _shape(
    x: Tensor, weight: Tensor, bias: Tensor | None, to_patch: Tensor, to_tile: Tensor
) -> Tensor:
    batch, _, height, width = x.shape
    return x.new_empty(batch, height, width, weight.shape[-1]).permute(0, 3, 1, 2)
