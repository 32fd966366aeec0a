"""What a checkpoint tells about the DETR it belongs to."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from .layout import OWN_FORMAT

if TYPE_CHECKING:
    from ..file import CheckpointFile
    from ..report import LoadReport

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


def dilation(file: 'CheckpointFile') -> bool | None:
    """Whether the file is of a DC5 model, by its configuration or name; None if unknown."""
    for config in (file.config, file.meta.get('source_config')):
        if isinstance(config, Mapping) and 'dilation' in config:
            return bool(config['dilation'])
    text = file.meta.get('cfg')
    if file.format == OWN_FORMAT and isinstance(text, str):
        return re.search(r'\bdilation\W{1,3}True\b', text) is not None
    return True if 'dc5' in os.path.basename(file.filename).lower() else None


def traits(file: 'CheckpointFile') -> dict[str, str]:
    """What a file tells beside names and shapes: heading -> text."""
    dc5 = {True: 'yes', False: 'no', None: 'unknown: names and shapes are those of a plain model'}
    return {
        'DC5': dc5[dilation(file)],
        'mask head': 'yes' if has_mask_head(file.state_dict) else 'no',
    }


def has_mask_head(names: Iterable[str]) -> bool:
    """Whether there are weights of a mask head among our names."""
    return any(name.startswith('bbox_head.mask_head.') for name in names)


def check_variant(file: 'CheckpointFile', model: nn.Module, report: 'LoadReport') -> None:
    """Report what names and shapes of a file and a model do not show or lack."""
    own, found = has_mask_head(model.state_dict()), has_mask_head(file.state_dict)
    if found and not own:
        report.notes.append('the file has a mask head, the model none: only its boxes are loaded')
    elif own and not found:
        report.notes.append('the file has no mask head: its box model is the start of training one')
    check_dilation(file, model, report)


def check_dilation(file: 'CheckpointFile', model: nn.Module, report: 'LoadReport') -> None:
    """Report DC5 weights in a plain model or the other way round.

    They have the same names and shapes and work badly in each other's model.
    """
    stage = getattr(getattr(model, 'backbone', None), 'layer4', None)
    variant = guess_variant(file.state_dict)
    if stage is None or variant.backbone not in ('ResNet-50', 'ResNet-101'):
        return
    dilated = any(isinstance(m, nn.Conv2d) and m.dilation[0] > 1 for m in stage.modules())
    model_is, other_is = ('DC5', 'plain') if dilated else ('plain', 'DC5')
    if (found := dilation(file)) is None:
        if dilated or file.format != OWN_FORMAT:
            report.notes.append(
                f'names and shapes do not tell DC5 from plain weights: this model is {model_is} '
                f'(backbone.dilation={dilated}), see that the file is too'
            )
    elif found != dilated:
        report.warnings.append(
            f'the file is {other_is} by its configuration or name, the model {model_is}: set '
            f'backbone.dilation={not dilated} or take another file'
        )


def huggingface_config(file: 'CheckpointFile', names: tuple | None) -> dict[str, Any]:
    """What transformers' DetrConfig needs beside its defaults.

    Raises:
        ValueError: The format has no place for this model.
    """
    variant = guess_variant(file.state_dict)
    if variant.backbone is None or variant.feedforward_channels is None:
        raise ValueError(f'the huggingface format has no place for this model: {variant}')
    if variant.norm == 'pre-norm':
        raise ValueError('the huggingface format has no place for a pre-norm model')
    labels = names or (None,) * ((variant.class_rows or 1) - 1)
    id2label = {str(i): name or 'N/A' for i, name in enumerate(labels)}
    config: dict[str, Any] = {
        'architectures': [
            'DetrForSegmentation' if has_mask_head(file.state_dict) else 'DetrForObjectDetection'
        ],
        'model_type': 'detr',
        'use_timm_backbone': True,
        'use_pretrained_backbone': False,
        'backbone': variant.backbone.lower().replace('-', ''),
        'd_model': variant.embed_dims,
        'encoder_layers': variant.encoder_layers,
        'decoder_layers': variant.decoder_layers,
        'encoder_ffn_dim': variant.feedforward_channels,
        'decoder_ffn_dim': variant.feedforward_channels,
        'encoder_attention_heads': 8,
        'decoder_attention_heads': 8,
        'num_queries': variant.num_queries,
        'position_embedding_type': 'learned'
        if variant.positional_encoding == 'learned'
        else 'sine',
        'id2label': id2label,
        'label2id': {name: int(i) for i, name in id2label.items()},
    }
    if (dilated := dilation(file)) is not None:
        config['dilation'] = dilated
    return config
