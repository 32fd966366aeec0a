"""What a state dict tells about the DETR it belongs to."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

from torch import Tensor

_RESNETS: dict[tuple[tuple[int, ...], int], str] = {
    ((2, 2, 2, 2), 2): 'ResNet-18',
    ((3, 4, 6, 3), 2): 'ResNet-34',
    ((3, 4, 6, 3), 3): 'ResNet-50',
    ((3, 4, 23, 3), 3): 'ResNet-101',
}
_TRANSFORMER = 'bbox_head.transformer'


@dataclass(frozen=True)
class Variant:
    """Sizes and choices that show in names and shapes; None where they do not.

    Not visible: dilation (DC5), the number of attention heads, and whether positions are sine
    or absent, and where they are added.
    """

    backbone: str | None
    encoder_layers: int
    decoder_layers: int
    embed_dims: int | None
    feedforward_channels: int | None
    num_queries: int | None
    class_rows: int | None
    norm: str | None
    positional_encoding: str

    def __str__(self) -> str:
        return (
            f'{self.backbone or "unknown backbone"}, {self.encoder_layers} encoder and '
            f'{self.decoder_layers} decoder layers, width {self.embed_dims}, feed-forward '
            f'{self.feedforward_channels}, {self.norm or "unknown norm"}, '
            f'{self.positional_encoding} positions, {self.num_queries} queries, '
            f'{self.class_rows} class rows'
        )

    def differences(self, other: 'Variant') -> list[str]:
        """``'norm: pre-norm / post-norm'`` for each trait that differs, queries and classes apart.

        Those two are fitted row by row and have their own place in the report.
        """
        traits = [f.name for f in fields(self) if f.name not in ('num_queries', 'class_rows')]
        return [
            f'{trait.replace("_", " ")}: {getattr(self, trait)} / {getattr(other, trait)}'
            for trait in traits
            if getattr(self, trait) != getattr(other, trait)
        ]


def guess_variant(state_dict: Mapping[str, Tensor]) -> Variant:
    """Read the variant off a state dict under our names."""
    sizes = {name: tuple(value.shape) for name, value in state_dict.items()}

    def rows(name: str) -> int | None:
        return sizes[name][0] if name in sizes else None

    layers = f'{_TRANSFORMER}.decoder.layers.0'
    # Only pre-norm needs a normalisation behind the encoder. A model without encoder layers has
    # none either way.
    encoder_layers = _count(sizes, rf'{_TRANSFORMER}\.encoder\.layers\.(\d+)\.')
    norm = 'pre-norm' if f'{_TRANSFORMER}.encoder.norm.weight' in sizes else 'post-norm'
    return Variant(
        backbone=_backbone(sizes),
        encoder_layers=encoder_layers,
        decoder_layers=_count(sizes, rf'{_TRANSFORMER}\.decoder\.layers\.(\d+)\.'),
        embed_dims=rows('neck.projection.weight'),
        feedforward_channels=rows(f'{layers}.linear1.weight'),
        num_queries=rows('bbox_head.query_embedding.weight'),
        class_rows=rows('bbox_head.cls_branch.weight'),
        norm=norm if encoder_layers else None,
        positional_encoding='learned'
        if 'bbox_head.positional_encoding.row_embed.weight' in sizes
        else 'sine or no',
    )


def _count(names: Mapping[str, tuple], pattern: str) -> int:
    """How many different numbers the group of ``pattern`` takes over all names."""
    return len({match[1] for match in map(re.compile(pattern).match, names) if match})


def _backbone(names: Mapping[str, tuple]) -> str | None:
    blocks = tuple(_count(names, rf'backbone\.layer{stage}\.(\d+)\.') for stage in (1, 2, 3, 4))
    convs = _count(names, r'backbone\.layer1\.0\.conv(\d)\.')
    return _RESNETS.get((blocks, convs))
