"""Spatial positional encodings.

Legend: B images, D channels (twice ``num_feats``), h w feature size.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmdetr.registry import MODELS
from mmdetr.utils.arguments import check_at_least


@MODELS.register_module()
class SinePositionalEncoding(nn.Module):
    """Sines and cosines of the row in the first half of the channels, of the column in the other.

    Args:
        num_feats: Channels per axis, D / 2; even.
        normalize: Scale positions to 0..2 pi over the unpadded image; else count pixels from 1.
        temperature: Longest wavelength, in units of 2 pi.
        offset: Added to the number of a row or column before it is scaled; -0.5 encodes the centres
            of the pixels, as Deformable DETR does.

    Example:
        >>> encoding = SinePositionalEncoding(num_feats=128)
        >>> encoding(torch.zeros(2, 256, 25, 34)).shape  # one for both images: nothing is padded
        torch.Size([1, 256, 25, 34])

    Source: paper appendix A.4; the order of channels and the offset 1e-6 in the normalisation are
        the authors' code's.
    """

    def __init__(
        self,
        num_feats: int,
        normalize: bool = True,
        temperature: float = 10000.0,
        offset: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise ValueError(
                f'temperature of SinePositionalEncoding must be above 0, not {temperature}'
            )
        if num_feats % 2:
            raise ValueError(f'num_feats must be even to hold sines and cosines, not {num_feats}')
        self.num_feats = num_feats
        self.normalize = normalize
        self.temperature = temperature
        self.offset = offset

    def forward(self, features: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Encode the positions of a feature map.

        Args:
            features: [B, D, h, w]; only size and device are read.
            padding_mask: bool [B, h, w], True on padding; None when nothing is padded.

        Returns:
            float32 [B, D, h, w], with B = 1 when ``padding_mask`` is None.
        """
        if padding_mask is None:
            padding_mask = features.new_zeros((1, *features.shape[-2:]), dtype=torch.bool)
        valid = ~padding_mask
        rows = valid.cumsum(1, dtype=torch.float32)
        columns = valid.cumsum(2, dtype=torch.float32)
        last_row, last_column = rows[:, -1:], columns[:, :, -1:]
        rows, columns = rows + self.offset, columns + self.offset
        if self.normalize:
            rows = rows / (last_row + 1e-6) * (2 * math.pi)
            columns = columns / (last_column + 1e-6) * (2 * math.pi)
        encoding = torch.cat((self._waves(rows), self._waves(columns)), dim=-1)
        return encoding.permute(0, 3, 1, 2)

    def _waves(self, positions: Tensor) -> Tensor:
        """[B, h, w] -> [B, h, w, num_feats], sine and cosine alternating."""
        pair = torch.arange(0, self.num_feats, 2, dtype=torch.float32, device=positions.device)
        angles = positions[..., None] / self.temperature ** (pair / self.num_feats)
        return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)


@MODELS.register_module()
class LearnedPositionalEncoding(nn.Module):
    """One learned vector per column in the first half of the channels, per row in the other.

    Args:
        num_feats: Channels per axis, D / 2.
        num_rows: Largest feature height.
        num_cols: Largest feature width.
        interpolate: Stretch the tables bilinearly over larger feature maps instead of refusing
            them.

    Source: paper table 3 ("learned"); table size and uniform initialisation as in the authors'
        code. The padding mask has no influence.
    """

    # For reading checkpoints, see mmdetr.checkpoint.model_rows.
    resizable_rows = ('row_embed.weight', 'col_embed.weight')

    def __init__(
        self, num_feats: int, num_rows: int = 50, num_cols: int = 50, interpolate: bool = False
    ) -> None:
        super().__init__()
        check_at_least(1, 'LearnedPositionalEncoding', num_rows=num_rows, num_cols=num_cols)
        self.interpolate = interpolate
        self.row_embed = nn.Embedding(num_rows, num_feats)
        self.col_embed = nn.Embedding(num_cols, num_feats)
        nn.init.uniform_(self.row_embed.weight)
        nn.init.uniform_(self.col_embed.weight)

    def forward(self, features: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Encode the positions of a feature map.

        Args:
            features: [B, D, h, w]; only its size is read.
            padding_mask: Not used; part of the interface of positional encodings.

        Returns:
            [1, D, h, w]

        Raises:
            ValueError: The feature map is larger than the table and ``interpolate`` is False.
        """
        height, width = features.shape[-2:]
        self.check_size(height, width)
        x = self._table(self.col_embed.weight, width).expand(height, -1, -1)
        y = self._table(self.row_embed.weight, height)[:, None].expand(-1, width, -1)
        return torch.cat((x, y), dim=-1).permute(2, 0, 1)[None]

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError if a feature map of ``height`` x ``width`` does not fit."""
        num_rows, num_cols = self.row_embed.num_embeddings, self.col_embed.num_embeddings
        if not self.interpolate and (height > num_rows or width > num_cols):
            raise ValueError(
                f'the feature map of {height} x {width} is larger than the learned positional '
                f'encoding of {num_rows} x {num_cols}: raise num_rows and num_cols, set '
                'interpolate=True, or make the images smaller'
            )

    @staticmethod
    def _table(table: Tensor, length: int) -> Tensor:
        """The first ``length`` entries, or all of them stretched to ``length``."""
        if length <= len(table):
            return table[:length]
        return F.interpolate(table.T[None], size=length, mode='linear')[0].T


@MODELS.register_module()
class FlatPositionalEncoding(nn.Module):
    """One learned vector per pixel of a feature map of fixed size, in reading order.

    Args:
        num_feats: Half of the channels D.
        num_tokens: Pixels of the feature map; 225 for images of 480 x 480 at stride 32.

    Source: the short form of DETR, which learns one table for all tokens; uniform initialisation.
    """

    def __init__(self, num_feats: int, num_tokens: int = 225) -> None:
        super().__init__()
        check_at_least(1, 'FlatPositionalEncoding', num_tokens=num_tokens)
        self.embedding = nn.Parameter(torch.rand(num_tokens, 2 * num_feats))

    def forward(self, features: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Encode the positions of a feature map.

        Args:
            features: [B, D, h, w]; only its size is read.
            padding_mask: Not used; part of the interface of positional encodings.

        Returns:
            [1, D, h, w]

        Raises:
            ValueError: h * w is not ``num_tokens``.
        """
        height, width = features.shape[-2:]
        self.check_size(height, width)
        return self.embedding.T.reshape(1, -1, height, width)

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError if a feature map of ``height`` x ``width`` does not fit."""
        if height * width != len(self.embedding):
            raise ValueError(
                f'the feature map of {height} x {width} has {height * width} pixels, the flat '
                f'positional encoding {len(self.embedding)}: resize all images to one fixed size '
                '(480 x 480 for 225 pixels) or set num_tokens'
            )
