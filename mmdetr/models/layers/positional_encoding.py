"""Spatial positional encodings.

Legend: B images, D channels (twice ``num_feats``), h w feature size.
"""

import math

import torch
from torch import Tensor, nn

from mmdetr.registry import MODELS


@MODELS.register_module()
class SinePositionalEncoding(nn.Module):
    """Sines and cosines of the row in the first half of the channels, of the column in the other.

    Args:
        num_feats: Channels per axis, D / 2; even.
        normalize: Scale positions to 0..2 pi over the unpadded image; else count pixels from 1.
        temperature: Longest wavelength, in units of 2 pi.

    Source: paper appendix A.4; the order of channels and the offset 1e-6 in the normalisation are
        the authors' code's.
    """

    def __init__(
        self, num_feats: int, normalize: bool = True, temperature: float = 10000.0
    ) -> None:
        super().__init__()
        if num_feats % 2:
            raise ValueError(f'num_feats must be even to hold sines and cosines, not {num_feats}')
        self.num_feats = num_feats
        self.normalize = normalize
        self.temperature = temperature

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
        if self.normalize:
            rows = rows / (rows[:, -1:] + 1e-6) * (2 * math.pi)
            columns = columns / (columns[:, :, -1:] + 1e-6) * (2 * math.pi)
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

    Source: paper table 3 ("learned"); table size and uniform initialisation as in the authors'
        code. The padding mask has no influence.
    """

    def __init__(self, num_feats: int, num_rows: int = 50, num_cols: int = 50) -> None:
        super().__init__()
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
            ValueError: The feature map is larger than the table.
        """
        height, width = features.shape[-2:]
        rows, columns = self.row_embed.weight, self.col_embed.weight
        if height > len(rows) or width > len(columns):
            raise ValueError(
                f'the feature map of {height} x {width} is larger than the learned positional '
                f'encoding of {len(rows)} x {len(columns)}: raise num_rows and num_cols, or '
                'make the images smaller'
            )
        x = columns[:width].expand(height, -1, -1)
        y = rows[:height, None].expand(-1, width, -1)
        return torch.cat((x, y), dim=-1).permute(2, 0, 1)[None]
