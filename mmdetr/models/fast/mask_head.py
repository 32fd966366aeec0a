"""The mask head with what all queries share computed once, and enlarging as part of a convolution.

Legend: B images, Q queries of any of them, D channels, A attention heads, C input and O output
channels, h w size of a map, H W size of the next finer one.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from mmdetr.models.heads.mask_head import MaskHead, SharedMaps


class FastMaskHead(MaskHead):
    """MaskHead with less arithmetic, on any device.

    A convolution is linear: of a sum or concatenation, the part that is the same for all queries is
    convolved once for the image.
    """

    def prepare(self, shared: SharedMaps) -> SharedMaps:
        """Convolve the projected map and the finer maps of the backbone, with the biases."""
        first = self.conv(0)
        weight = first.weight[:, : shared.features.shape[1]]
        pairs = zip(self.convs[2:], shared.laterals, strict=True)
        return SharedMaps(
            F.conv2d(shared.features, weight, first.bias, padding=1),
            [conv(lateral) for conv, lateral in pairs],
        )

    def mix(self, features: Tensor, attention: Tensor) -> Tensor:
        """Convolved features [1 or Q, D + A, h, w], attention [Q, A, h, w] -> [Q, D + A, h, w].

        In place, for what a convolution returns needs no gradient of its own.
        """
        weight = self.conv(0).weight[:, -attention.shape[1] :]
        attention = attention.contiguous(memory_format=torch.channels_last)
        return F.conv2d(attention, weight, padding=1).add_(features)

    def refine(self, index: int, x: Tensor, lateral: Tensor) -> Tensor:
        """Enlarge [Q, C, h, w], convolve, add the convolved finer map [1 or Q, O, H, W]."""
        weight = self.conv(index).weight
        size = lateral.shape[-2:]
        pairs = zip(size, x.shape[-2:], strict=True)
        if all(fine in (2 * coarse, 2 * coarse - 1) for fine, coarse in pairs):
            return conv_of_enlarged(x, weight, lateral)
        return F.conv2d(F.interpolate(x, size=size), weight, padding=1).add_(lateral)


def conv_of_enlarged(x: Tensor, weight: Tensor, addend: Tensor) -> Tensor:
    """3x3 convolution of a map enlarged twofold by nearest neighbour, plus ``addend``.

    Of the nine pixels under the kernel at most four differ. So every second row and column of the
    result is a 2x2 convolution of the map as it was, with sums of the kernel's weights: 16 instead
    of 36 products.

    Args:
        x: [Q, C, h, w].
        weight: [O, C, 3, 3].
        addend: [1 or Q, O, H, W]; H is 2 * h or, where the last row is cut off, one less; so is W.

    Returns:
        [Q, O, H, W]
    """
    channels, (height, width) = len(weight), addend.shape[-2:]
    parts = F.conv2d(x, _quarter_kernels(weight), padding=1)  # [Q, 4 * O, h + 1, w + 1]
    out = torch.empty(
        (len(x), channels, height, width),
        dtype=parts.dtype,
        device=x.device,
        memory_format=torch.channels_last,
    )
    for part, row, column in ((0, 0, 0), (1, 0, 1), (2, 1, 0), (3, 1, 1)):
        mine = addend[:, :, row::2, column::2]
        rows, columns = mine.shape[-2:]
        quarter = parts[:, part * channels : (part + 1) * channels]
        out[:, :, row::2, column::2] = (
            quarter[:, :, row : row + rows, column : column + columns] + mine
        )
    # Behind a row or column that is cut off there is nothing, where the sums above see it twice.
    if height % 2:
        last = x[:, :, -1:].repeat_interleave(2, dim=3)
        out[:, :, -1:] -= F.conv2d(last, weight[:, :, 2:], padding=(0, 1))[..., :width]
    if width % 2:
        last = x[..., -1:].repeat_interleave(2, dim=2)[:, :, :height]
        out[..., -1:] -= F.conv2d(last, weight[..., 2:], padding=(1, 0))
    return out


def _quarter_kernels(weight: Tensor) -> Tensor:
    """[O, C, 3, 3] -> [4 * O, C, 2, 2], for the even and odd rows and columns of the result."""
    before, here, after = weight.unbind(2)
    rows = (torch.stack((before, here + after), 2), torch.stack((before + here, after), 2))
    kernels = []
    for row in rows:
        left, middle, right = row.unbind(3)
        kernels.append(torch.stack((left, middle + right), 3))
        kernels.append(torch.stack((left + middle, right), 3))
    return torch.cat(kernels)
