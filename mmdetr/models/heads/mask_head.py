"""The paper's mask head: attention maps of the queries, refined by a convolutional network.

Legend: B images, P queries of one image, Q queries of any images, D channels, A attention heads,
h w size of the last feature map, C channels of a step, H W size of the padded input.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from mmdetr.models.layers.checkpointing import call_checkpointed
from mmdetr.registry import MODELS
from mmdetr.structures import MaskInputs
from mmdetr.utils.arguments import check_at_least

_GROUPS = 8
_KEPT_CHUNKS = 2


class SharedMaps(NamedTuple):
    """What all queries of an image share.

    Attributes:
        features: [B, D, h, w] the projected last map of the backbone.
        laterals: [B, C, ...] maps of the backbone in the width of their step, coarsest first.
    """

    features: Tensor
    laterals: Sequence[Tensor]

    def of(self, owners: Sequence[int]) -> 'SharedMaps':
        """Return the maps of the images ``owners`` [Q]; a single one where all are the same."""
        if len(set(owners)) == 1:
            image = slice(owners[0], owners[0] + 1)
            return SharedMaps(self.features[image], [each[image] for each in self.laterals])
        index = torch.tensor(owners, dtype=torch.long, device=self.features.device)
        return SharedMaps(
            self.features.index_select(0, index),
            [each.index_select(0, index) for each in self.laterals],
        )


class AttentionMaps(nn.Module):
    """Multi-head attention that ends with its weights: where a query looks in the image.

    Args:
        embed_dims: D.
        num_heads: A; divides D.
        scale: Sum of a query's numbers.

    Source: paper section 4.4 and figure 8. The softmax is over heads and positions together, as in
        the authors' code, whose scale is 1.
    """

    def __init__(self, embed_dims: int, num_heads: int, scale: float = 1.0) -> None:
        super().__init__()
        check_at_least(1, 'MaskHead', num_heads=num_heads)
        if embed_dims % num_heads:
            raise ValueError(f'embed_dims {embed_dims} is not a multiple of num_heads {num_heads}')
        self.num_heads = num_heads
        self.scale = scale
        self.query_proj = nn.Linear(embed_dims, embed_dims)
        self.key_proj = nn.Linear(embed_dims, embed_dims)
        for projection in (self.query_proj, self.key_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(self, queries: Tensor, memory: Tensor, padding_mask: Tensor | None) -> Tensor:
        """Attend.

        Args:
            queries: [B, P, D].
            memory: [B, D, h, w].
            padding_mask: bool [B, h, w], True on padding, or None.

        Returns:
            [B, P, A, h, w]; the numbers of a query sum to ``scale``.
        """
        heads = self.query_proj(queries).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        keys = self.key_proj(memory.flatten(2).transpose(1, 2)).transpose(1, 2)
        keys = keys.unflatten(1, (self.num_heads, -1))  # [B, A, D / A, h w]
        scores = (heads * heads.shape[-1] ** -0.5) @ keys  # [B, A, P, h w]
        if padding_mask is not None:
            scores = scores.masked_fill(padding_mask.flatten(1)[:, None, None], float('-inf'))
        scores = scores.transpose(1, 2).unflatten(-1, memory.shape[-2:])
        weights = scores.flatten(2).softmax(-1).view(scores.shape)
        return weights if self.scale == 1 else weights * self.scale


@MODELS.register_module()
class MaskHead(BaseModule):
    """Predict the masks of any queries of a batch.

    Two convolutions on the last feature map see the image and a query's attention maps. One more
    for each finer map of the backbone follows, after the result was enlarged and the map added. All
    but the last are followed by group normalisation and ReLU.

    Args:
        embed_dims: D; the detector's head passes it.
        backbone_channels: Widths of the backbone's maps, finest first; the detector's head passes
            them. The last map reaches the masks through the neck.
        num_heads: A.
        attention_scale: Sum of a query's attention weights. With the authors' 1 each is tiny beside
            the features, and training from scratch needs long to notice them; a model that has
            little time takes the number of positions, h w.
        chunk_size: Queries that are computed at once, of one image or several: the bound of the
            memory. In training the activations of twice as many are kept; those of the others are
            computed again in the backward pass.

    Raises:
        ValueError: The widths do not divide: D + A and D / 2 to the power of the number of steps
            must be multiples of 8, which for the paper's four maps makes D a multiple of 128.

    Source: paper section 4.4, figure 8; widths, normalisation and initialisation as in the authors'
        code. Any number of maps of any width instead of ResNet-50's four.
    """

    def __init__(
        self,
        embed_dims: int,
        backbone_channels: Sequence[int],
        num_heads: int = 8,
        attention_scale: float = 1.0,
        chunk_size: int = 8,
    ) -> None:
        super().__init__()
        check_at_least(1, 'MaskHead', chunk_size=chunk_size)
        self.chunk_size = chunk_size
        lateral_channels = tuple(backbone_channels)[-2::-1]
        widths = [embed_dims + num_heads]
        widths += [embed_dims // 2**i for i in range(1, len(lateral_channels) + 2)]
        self._check_widths(embed_dims, num_heads, widths)
        self.attention = AttentionMaps(embed_dims, num_heads, attention_scale)
        in_channels = [widths[0], *widths[:-1]]
        self.convs = nn.ModuleList(
            nn.Conv2d(*pair, 3, padding=1) for pair in zip(in_channels, widths, strict=True)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(_GROUPS, width) for width in widths)
        self.laterals = nn.ModuleList(
            nn.Conv2d(*pair, 1) for pair in zip(lateral_channels, widths[1:-1], strict=True)
        )
        self.out_conv = nn.Conv2d(widths[-1], 1, 3, padding=1)
        for conv in (*self.convs, *self.laterals, self.out_conv):
            nn.init.kaiming_uniform_(conv.weight, a=1)
            nn.init.zeros_(conv.bias)

    @staticmethod
    def _check_widths(embed_dims: int, num_heads: int, widths: Sequence[int]) -> None:
        num_steps = len(widths) - 1
        if widths[0] % _GROUPS or embed_dims % (_GROUPS * 2**num_steps):
            raise ValueError(
                f'MaskHead on {num_steps} maps of the backbone needs a width of the neck that is a '
                f'multiple of {_GROUPS * 2**num_steps} and, with the num_heads, of {_GROUPS}, not '
                f'{embed_dims} and {num_heads} heads: change neck.out_channels, num_heads or '
                'backbone.out_indices'
            )

    def forward(self, inputs: MaskInputs, queries: Sequence[Tensor]) -> list[Tensor]:
        """Predict masks.

        Args:
            inputs: What masks are computed from.
            queries: [P, D] of each image, rows of ``inputs.hidden``.

        Returns:
            Logits [P, H / 4, W / 4] of each image: the size of the backbone's finest map.
        """
        counts = [len(each) for each in queries]
        padded = pad_sequence(list(queries), batch_first=True)
        attention = self.attention(padded, inputs.memory, inputs.padding_mask)
        pairs = zip(attention, counts, strict=True)
        attention = torch.cat([image[:count] for image, count in pairs])
        shared = self.prepare(SharedMaps(inputs.features, self.lateral_maps(inputs.maps)))
        owners = [i for i, count in enumerate(counts) for _ in range(count)]
        masks = []
        for i, chunk in enumerate(attention.split(self.chunk_size)):
            mine = owners[i * self.chunk_size : (i + 1) * self.chunk_size]
            surplus = i >= _KEPT_CHUNKS
            masks.append(call_checkpointed(self.decode, chunk, shared, mine, enabled=surplus))
        return list(torch.cat(masks).split(counts))

    def conv(self, index: int) -> nn.Conv2d:
        """The 3x3 convolution of a step, counted from 0."""
        conv = self.convs[index]
        assert isinstance(conv, nn.Conv2d)
        return conv

    def lateral_maps(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps of the backbone, finest first -> in the width of their step, coarsest first."""
        pairs = zip(self.laterals, reversed(maps), strict=True)
        return [lateral(each) for lateral, each in pairs]

    def prepare(self, shared: SharedMaps) -> SharedMaps:
        """Compute what all queries of an image share; a faster form does more here."""
        return shared

    def decode(self, attention: Tensor, shared: SharedMaps, owners: Sequence[int]) -> Tensor:
        """Attention maps [Q, A, h, w] of queries of the images ``owners`` -> logits [Q, ...]."""
        return self.refine_all(attention, shared.of(owners))

    def refine_all(self, attention: Tensor, shared: SharedMaps) -> Tensor:
        """Attention maps [Q, A, h, w] and the maps of their images [1 or Q, ...] -> logits."""
        features, laterals = shared
        x = self.normalize(0, self.mix(features, attention))
        x = self.normalize(1, self.convs[1](x))
        for i, lateral in enumerate(laterals, start=2):
            x = self.normalize(i, self.refine(i, x, lateral))
        return self.out_conv(x)[:, 0]

    def mix(self, features: Tensor, attention: Tensor) -> Tensor:
        """Features [1 or Q, D, h, w], attention maps [Q, A, h, w] -> [Q, D + A, h, w]."""
        features = features.expand(attention.shape[0], -1, -1, -1)
        return self.convs[0](torch.cat((features, attention), dim=1))

    def refine(self, index: int, x: Tensor, lateral: Tensor) -> Tensor:
        """Enlarge [Q, C, ...] to the size of a finer map [1 or Q, C, H, W], add it, convolve."""
        return self.convs[index](lateral + F.interpolate(x, size=lateral.shape[-2:]))

    def normalize(self, index: int, x: Tensor) -> Tensor:
        """Group normalisation and ReLU behind a convolution."""
        return F.relu(self.norms[index](x), inplace=True)
