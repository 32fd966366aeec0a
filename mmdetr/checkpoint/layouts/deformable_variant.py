"""What a checkpoint tells about the Deformable DETR, or successor of it, that it belongs to."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from .detr_variant import Variant, check_dilation, guess_variant, huggingface_config

if TYPE_CHECKING:
    from ..file import CheckpointFile
    from ..report import LoadReport

_HEAD = 'bbox_head'
_TABLES = ('embedding', 'anchors', 'content')


@dataclass(frozen=True)
class DeformableVariant(Variant):
    """With the feature maps, the heads, and whether the encoder proposes boxes.

    Not visible, beside what :class:`Variant` names: the temperature and the offset of the sine
    encoding; with one head for all layers, whether boxes are refined.
    """

    levels: int = 0
    two_stage: bool = False
    heads: str = 'one for all layers'

    def __str__(self) -> str:
        stages = 'two-stage' if self.two_stage else 'one stage'
        scales = 'single-scale' if self.levels == 1 else f'{self.levels} scales'
        return f'{super().__str__()}, {scales}, {stages}, heads: {self.heads}'


def guess_deformable_variant(state_dict: Mapping[str, Tensor]) -> DeformableVariant:
    """Read the variant off a state dict under our names."""
    plain = guess_variant(state_dict)
    values = {field.name: getattr(plain, field.name) for field in fields(plain)}
    sizes = {name: tuple(value.shape) for name, value in state_dict.items()}

    def rows(name: str) -> int | None:
        return sizes[name][0] if name in sizes else None

    queries = [rows(f'{_HEAD}.query_source.{name}.weight') for name in _TABLES]
    refine = f'{_HEAD}.cls_branches.1.weight' in sizes
    return DeformableVariant(
        **values
        | dict(
            embed_dims=rows('neck.convs.0.conv.weight'),
            num_queries=next((number for number in queries if number is not None), None),
            class_rows=rows(f'{_HEAD}.cls_branches.0.weight'),
        ),
        levels=rows(f'{_HEAD}.transformer.level_embed') or 0,
        two_stage=f'{_HEAD}.proposals.projection.weight' in sizes,
        heads='of each layer (refined boxes)' if refine else 'one for all layers',
    )


def check_encoding(file: 'CheckpointFile', model: nn.Module, report: 'LoadReport') -> None:
    """Report another dilation, and a DINO that encodes pixels otherwise than detrex's.

    No name or shape tells either.
    """
    check_dilation(file, model, report)
    encoding = getattr(getattr(model, 'bbox_head', None), 'positional_encoding', None)
    own = getattr(encoding, 'temperature', 10000), getattr(encoding, 'offset', -0.5)
    if file.format == 'detrex' and own != (10000, -0.5):
        report.warnings.append(
            'detrex trains DINO with positional_encoding.temperature=10000 and offset=-0.5, this '
            f'model has {own[0]:g} and {own[1]:g}: set them as the file needs them'
        )


def deformable_config(file: 'CheckpointFile', names: tuple | None) -> dict[str, Any]:
    """What transformers' DeformableDetrConfig needs beside its defaults.

    Raises:
        ValueError: The format has no place for this model.
    """
    variant = guess_deformable_variant(file.state_dict)
    labels = names or (None,) * (variant.class_rows or 0)
    config = huggingface_config(file, labels) | {
        'architectures': ['DeformableDetrForObjectDetection'],
        'model_type': 'deformable_detr',
        'num_feature_levels': variant.levels,
        'with_box_refine': 'each' in variant.heads,
        'two_stage': variant.two_stage,
    }
    if variant.two_stage:
        # No weight tells how many boxes it takes; the authors take 300.
        config |= dict(num_queries=300, two_stage_num_proposals=300)
    return config
