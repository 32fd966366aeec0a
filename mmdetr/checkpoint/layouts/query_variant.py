"""What a checkpoint tells about the Conditional, DAB- or DN-DETR it belongs to."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from .detr_variant import Variant, check_dilation, dilation, guess_variant, huggingface_config

if TYPE_CHECKING:
    from ..file import CheckpointFile
    from ..report import LoadReport

# What the authors' code trains with, for files that do not say.
_TEMPERATURE = 20
_NOT_OF_DAB = ('d_model', 'position_embedding_type')


@dataclass(frozen=True)
class AnchorVariant(Variant):
    """With the patterns of the anchors; 0 where there are none.

    Not visible, beside what :class:`Variant` names: the temperature of the sine encoding.
    """

    patterns: int = 0

    def __str__(self) -> str:
        return f'{super().__str__()}, {self.patterns or "no"} patterns'


def guess_conditional_variant(state_dict: Mapping[str, Tensor]) -> Variant:
    """Read the variant off a state dict under our names."""
    return guess_variant(state_dict)


def guess_anchor_variant(state_dict: Mapping[str, Tensor]) -> AnchorVariant:
    """Read the variant off a state dict under our names; the queries are the anchors."""
    plain = guess_variant(state_dict)
    values = {field.name: getattr(plain, field.name) for field in fields(plain)}
    anchors = state_dict.get('bbox_head.anchors.weight')
    patterns = state_dict.get('bbox_head.patterns.weight')
    values['num_queries'] = None if anchors is None else len(anchors)
    return AnchorVariant(**values, patterns=0 if patterns is None else len(patterns))


def traits(file: 'CheckpointFile') -> dict[str, str]:
    """What a file tells beside names and shapes: heading -> text."""
    dc5 = {True: 'yes', False: 'no', None: 'unknown: names and shapes are those of a plain model'}
    found = {'DC5': dc5[dilation(file)]}
    if 'bbox_head.anchors.weight' in file.state_dict:
        stated = temperature(file)
        unknown = f'unknown; the authors train with {_TEMPERATURE}'
        found['temperature'] = unknown if stated is None else f'{stated:g}'
    return found


def temperature(file: 'CheckpointFile') -> float | None:
    """Temperature of the sine encoding, if the file's configuration states it."""
    for config in (file.config, file.meta.get('source_config')):
        for name in ('pe_temperatureH', 'temperature_height'):
            if isinstance(config, Mapping) and isinstance(config.get(name), int | float):
                return float(config[name])
    return None


def check_anchors(file: 'CheckpointFile', model: nn.Module, report: 'LoadReport') -> None:
    """Report another dilation or temperature; both change no name and no shape."""
    check_dilation(file, model, report)
    encoding = getattr(getattr(model, 'bbox_head', None), 'positional_encoding', None)
    own, stated = getattr(encoding, 'temperature', None), temperature(file)
    if own is not None and stated is not None and own != stated:
        report.warnings.append(
            f'the file is of a model with positional_encoding.temperature={stated:g}, this one has '
            f'{own:g}'
        )


def conditional_config(file: 'CheckpointFile', names: tuple | None) -> dict[str, Any]:
    """What transformers' ConditionalDetrConfig needs beside its defaults.

    Raises:
        ValueError: The format has no place for this model.
    """
    variant = guess_variant(file.state_dict)
    labels = names or (None,) * (variant.class_rows or 0)
    return huggingface_config(file, labels) | {
        'architectures': ['ConditionalDetrForObjectDetection'],
        'model_type': 'conditional_detr',
    }


def anchor_config(file: 'CheckpointFile', names: tuple | None) -> dict[str, Any]:
    """What transformers' DabDetrConfig needs beside its defaults.

    transformers clamps the inverse sigmoid at 1e-5, the authors' code and ours at 1e-3: boxes at
    the borders of an image may differ.

    Raises:
        ValueError: The format has no place for this model.
    """
    variant = guess_anchor_variant(file.state_dict)
    config = conditional_config(file, names) | {
        'architectures': ['DabDetrForObjectDetection'],
        'model_type': 'dab-detr',
        'hidden_size': variant.embed_dims,
        'num_queries': variant.num_queries,
        'num_patterns': variant.patterns,
    }
    return {name: value for name, value in config.items() if name not in _NOT_OF_DAB} | {
        f'temperature_{side}': temperature(file) or _TEMPERATURE for side in ('height', 'width')
    }
