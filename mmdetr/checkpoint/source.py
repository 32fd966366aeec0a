"""A checkpoint file of any published format, read and brought to our names."""

import argparse
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from .class_head import Names, clean_names
from .io import CheckpointError, MapLocation, load_file
from .key_maps import StateDict, recognise, to_mmdetr
from .variant import Variant, guess_variant


@dataclass
class Source:
    """What a checkpoint file holds.

    Attributes:
        filename: Where it came from.
        format: ``'mmdetr'``, ``'facebook'``, ``'mmdetection'`` or ``'huggingface'``.
        state_dict: The weights under our names.
        unknown: The file's names of weights that a DETR of ours has no place for.
        content: The whole file; the flat state dict for a file that is nothing else.
        config: The training arguments in it (facebook) or ``config.json`` beside it (Hugging Face).
    """

    filename: str
    format: str
    state_dict: StateDict
    unknown: list[str]
    content: Mapping[str, Any]
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def meta(self) -> dict[str, Any]:
        """The ``meta`` entry of the file; empty when it has none."""
        meta = self.content.get('meta')
        return dict(meta) if isinstance(meta, Mapping) else {}

    @property
    def variant(self) -> Variant:
        return guess_variant(self.state_dict)

    @property
    def classes(self) -> Names | None:
        """Class names by row as far as the file declares them; None where a row has no class."""
        if 'id2label' in self.config:
            labels = {int(i): name for i, name in self.config['id2label'].items()}
            return clean_names([labels.get(i) for i in range(max(labels, default=-1) + 1)])
        for meta in (self.meta.get('dataset_meta'), self.meta):
            if isinstance(meta, Mapping):
                names = meta.get('classes', meta.get('CLASSES'))
                if names is not None:
                    return clean_names([names] if isinstance(names, str) else names)
        return None

    @property
    def dilation(self) -> bool | None:
        """Whether the file is of a DC5 model, by its configuration or name; None if unknown."""
        for config in (self.config, self.meta.get('source_config')):
            if isinstance(config, Mapping) and 'dilation' in config:
                return bool(config['dilation'])
        text = self.meta.get('cfg')
        if self.format == 'mmdetr' and isinstance(text, str):
            return re.search(r'\bdilation\W{1,3}True\b', text) is not None
        return True if 'dc5' in os.path.basename(self.filename).lower() else None


def read_source(filename: str | os.PathLike, map_location: MapLocation = 'cpu') -> Source:
    """Read a checkpoint and recognise its format by its names.

    Args:
        filename: As in :func:`load_file`. Beside a local Hugging Face file, ``config.json`` is read
            for class names.
        map_location: As in :func:`torch.load`.

    Raises:
        FileNotFoundError: No such file.
        CheckpointError: The file cannot be read safely or is no DETR checkpoint.
    """
    filename = os.fspath(filename)
    content = load_file(filename, map_location)
    weights = _weights_in(content, filename)
    try:
        fmt = recognise(weights)
        state_dict, unknown = to_mmdetr(weights, fmt)
    except ValueError as error:
        raise CheckpointError(f'{filename}: {error}') from error
    config = _huggingface_config(filename) if fmt == 'huggingface' else {}
    if isinstance(content.get('args'), argparse.Namespace):
        config = vars(content['args'])
    return Source(filename, fmt, state_dict, unknown, content, config)


def _weights_in(content: Any, filename: str) -> StateDict:
    """The state dict of a file: under ``state_dict``, under ``model``, or the whole file."""
    if isinstance(content, Mapping):
        for candidate in (content.get('state_dict'), content.get('model'), content):
            if isinstance(candidate, Mapping):
                weights = {
                    str(name).removeprefix('module.'): value
                    for name, value in candidate.items()
                    if isinstance(value, Tensor)
                }
                if weights:
                    return weights
    raise CheckpointError(
        f'{filename}: no weights in it: neither under state_dict nor under model nor at the top'
    )


def _huggingface_config(filename: str) -> dict[str, Any]:
    path = Path(filename).with_name('config.json')
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise CheckpointError(f'{path}: not valid JSON: {error}') from error
    return config if config.get('model_type') == 'detr' else {}
