"""What a checkpoint tells about the RT-DETR or D-FINE it belongs to."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from torch import Tensor

from .detr_variant import _count

_RESNETS: dict[tuple[tuple[int, ...], int], str] = {
    ((2, 2, 2, 2), 2): 'ResNet-18-vd',
    ((3, 4, 6, 3), 2): 'ResNet-34-vd',
    ((3, 4, 6, 3), 3): 'ResNet-50-vd',
    ((3, 4, 23, 3), 3): 'ResNet-101-vd',
}
_HGNETS = {(16, 16): 'B0', (24, 32): 'B2', (32, 48): 'B4', (32, 64): 'B5'}


@dataclass(frozen=True)
class RealTimeVariant:
    """Sizes that show in names and shapes; None where they do not.

    Not visible: the number of attention heads, how the points are shared among the maps, which
    decoder layer is the last in evaluation, discrete sampling, and the scale of the bins.
    """

    backbone: str | None
    num_maps: int
    encoder_dims: int | None
    fusion_width: int | None
    decoder_dims: int | None
    decoder_layers: int
    feedforward_channels: int | None
    class_rows: int | None

    def __str__(self) -> str:
        return (
            f'{self.backbone or "another backbone"}, {self.num_maps} maps of {self.encoder_dims} '
            f'channels, {self.decoder_layers} decoder layers of {self.decoder_dims}, feed-forward '
            f'{self.feedforward_channels}, {self.class_rows} class rows'
        )

    def differences(self, other: 'RealTimeVariant') -> list[str]:
        """``'decoder layers: 3 / 6'`` for each trait that differs, classes apart."""
        return [
            f'{field.name.replace("_", " ")}: {getattr(self, field.name)} / '
            f'{getattr(other, field.name)}'
            for field in fields(self)
            if field.name != 'class_rows'
            and getattr(self, field.name) != getattr(other, field.name)
        ]


def guess_variant(state_dict: Mapping[str, Tensor]) -> RealTimeVariant:
    """Read the variant off a state dict under our names."""
    sizes = {name: tuple(value.shape) for name, value in state_dict.items()}

    def rows(name: str) -> int | None:
        return sizes[name][0] if name in sizes else None

    decoder = 'bbox_head.transformer.decoder.layers'
    return RealTimeVariant(
        backbone=_backbone(sizes),
        num_maps=_count(sizes, r'neck\.projections\.(\d+)\.'),
        encoder_dims=rows('neck.laterals.0.conv.weight'),
        fusion_width=rows('neck.fpn_blocks.0.bottlenecks.0.conv1.conv.weight')
        or rows('neck.fpn_blocks.0.stages.0.1.conv.weight'),
        decoder_dims=rows('bbox_head.enc_output.0.weight'),
        decoder_layers=_count(sizes, rf'{decoder}\.(\d+)\.'),
        feedforward_channels=rows(f'{decoder}.0.linear1.weight'),
        class_rows=rows('bbox_head.enc_cls_branch.weight'),
    )


def _backbone(sizes: Mapping[str, tuple]) -> str | None:
    first, last = (sizes.get(f'backbone.stem.conv{i}.conv.weight') for i in (1, 4))
    if first and last:
        size = _HGNETS.get((first[0], last[0]))
        affine = 'backbone.stem.conv1.activation.1.scale' in sizes
        return f'HGNetV2-{size}{" with affine blocks" if affine else ""}' if size else None
    blocks = tuple(_count(sizes, rf'backbone\.stages\.{i}\.(\d+)\.convs') for i in range(4))
    convs = _count(sizes, r'backbone\.stages\.0\.0\.convs\.(\d)\.')
    return _RESNETS.get((blocks, convs))
