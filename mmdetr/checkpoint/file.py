"""A checkpoint file of any known layout, read and brought to our names."""

import argparse
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmdetr.utils.operating_point import META_KEY
from mmdetr.utils.text import shorten

from .class_rows import Names, clean_names
from .hub_folder import load_any, read_json
from .io import CheckpointError, MapLocation
from .layouts import OTHER, OWN_FORMAT, Layout, StateDict, Variant, find_layout, layouts, own_layout

_OWN_SCOPE = re.compile(r'\bdefault_scope\W+mmdetr\b')
_PREFIXES_OF_TORCH = re.compile(r'^(module\.|_orig_mod\.)+')
POINT_IN_CONFIG = f'mmdetr_{META_KEY}'
_AVERAGES = ('model_ema', 'ema_model', 'ema', 'ema_state_dict')


@dataclass
class CheckpointFile:
    """What a checkpoint file holds.

    Attributes:
        filename: Where it came from.
        layout: Its format and the architecture that it is of.
        state_dict: The weights under our names.
        unknown: The file's names of weights that a model of ours has no place for.
        content: The whole file; the flat state dict for a file that is nothing else.
        config: The training arguments in it (facebook) or ``config.json`` beside it (Hugging Face).
        stated_classes: Names of its first class rows by someone who knows better than the file.
    """

    filename: str
    layout: Layout
    state_dict: StateDict
    unknown: list[str]
    content: Mapping[str, Any]
    config: dict[str, Any] = field(default_factory=dict)
    stated_classes: Names | None = None

    @property
    def format(self) -> str:
        """``'mmdetr'`` for a file of ours, else the name of a published format."""
        return self.layout.format

    @property
    def meta(self) -> dict[str, Any]:
        """The ``meta`` entry of the file; empty when it has none.

        A file of Hugging Face that we converted states its operating point in ``config.json``.
        """
        meta = self.content.get('meta')
        meta = dict(meta) if isinstance(meta, Mapping) else {}
        if POINT_IN_CONFIG in self.config:
            meta.setdefault(META_KEY, self.config[POINT_IN_CONFIG])
        return meta

    @property
    def variant(self) -> Variant | None:
        """What the weights tell about the model; None where its architecture is not registered."""
        return variant_of(self.layout, self.state_dict)

    @property
    def classes(self) -> Names | None:
        """Class names by row as far as the file declares them; None where a row has no class."""
        if self.stated_classes is not None:
            return self.stated_classes
        if 'id2label' in self.config:
            return _names_by_number(self.config['id2label'], self.filename)
        for meta in (self.meta.get('dataset_meta'), self.meta):
            if isinstance(meta, Mapping):
                names = meta.get('classes', meta.get('CLASSES'))
                if names is not None:
                    return _stated_names(names, self.filename)
        return None

    def with_classes(self, names: Sequence[str] | None) -> 'CheckpointFile':
        """The file with other names for its class rows, ``'N/A'`` for a row without a class.

        Rows after the last name have no class; None changes nothing.
        """
        return self if names is None else replace(self, stated_classes=clean_names(names))

    @property
    def averages(self) -> list[str]:
        """Entries with averaged weights, which are taken only where there are no others."""
        return [name for name in _AVERAGES if isinstance(self.content.get(name), Mapping)]

    def has_no_object_row(self, rows: int, name: str = '') -> bool | None:
        """Whether the last row of a class head, or of a table of labels, is no class.

        The number of classes that the file declares tells it, or else the published layout.

        Args:
            rows: Rows of the weight in the file.
            name: Our name of it.

        Returns:
            None where the file does not tell.
        """
        if self.classes is not None and rows - len(self.classes) in (0, 1):
            return rows > len(self.classes)
        if self.format == OWN_FORMAT or self.layout.architecture is None:
            return None
        architecture = self.layout.architecture
        return name in architecture.label_rows or architecture.has_no_object_row


def read_checkpoint(
    filename: str | os.PathLike, map_location: MapLocation = 'cpu', model: nn.Module | None = None
) -> CheckpointFile:
    """Read a checkpoint and recognise whose it is.

    A file of ours says so in its ``meta``, whatever the architecture of its model. Other files are
    recognised by the names of their weights.

    Args:
        filename: As in :func:`load_file`. Also a folder of a hub or an index of shards. Beside a
            local Hugging Face file, ``config.json`` is read for class names.
        map_location: As in :func:`torch.load`.
        model: The model that the file is for. Bare weights under its names are ours.

    Raises:
        FileNotFoundError: No such file.
        CheckpointError: The file cannot be read safely or is of no known layout.
    """
    filename = os.fspath(filename)
    path, content = load_any(filename, map_location)
    weights = weights_in(content, filename)
    layout = _recognise(content.get('meta'), weights, model)
    if layout is None and (unwrapped := _without_wrapper(weights, model)):
        weights = unwrapped
        layout = _recognise(content.get('meta'), weights, model)
    if layout is None:
        raise CheckpointError(f'{filename}: {_unknown_layout(weights)}')
    try:
        state_dict, unknown = layout.to_ours(weights)
        variant_of(layout, state_dict)
    except ValueError as error:
        raise CheckpointError(f'{filename}: {error}') from error
    except (IndexError, RuntimeError) as error:
        kind = layout.architecture.name if layout.architecture else layout.format
        raise CheckpointError(
            f'{filename}: its weights have shapes that those of no {kind} have: {error}'
        ) from error
    config = _config_beside(path, layout.model_types) if layout.model_types else {}
    if isinstance(content.get('args'), argparse.Namespace):
        config = vars(content['args'])
    return CheckpointFile(filename, layout, state_dict, unknown, content, config)


def variant_of(layout: Layout, state_dict: StateDict) -> Variant | None:
    """What weights tell about their model; None where its architecture is not registered."""
    return layout.architecture.variant(state_dict) if layout.architecture else None


def weights_in(content: Any, filename: str) -> StateDict:
    """The state dict of a file: in one of the usual places, or the whole file.

    Prefixes that wrappers of torch put before all names are taken off.

    Raises:
        CheckpointError: There are no weights in it.
    """
    if isinstance(content, Mapping):
        for candidate in (*_candidates(content), content):
            weights = {
                _PREFIXES_OF_TORCH.sub('', name): value
                for name, value in candidate.items()
                if isinstance(value, Tensor) and isinstance(name, str)
            }
            if weights:
                for name, value in weights.items():
                    _check_plain(name, value, filename)
                return weights
    raise CheckpointError(
        f'{filename}: no weights in it: neither under state_dict nor under model nor at the top'
    )


def _check_plain(name: str, value: Tensor, filename: str) -> None:
    """Refuse tensors that no weight of a model can be copied from."""
    kind = None
    if value.is_nested or value.layout != torch.strided:
        kind = 'a nested or sparse tensor'
    elif value.is_meta:
        kind = 'a tensor without content (of the meta device)'
    elif value.is_quantized:
        kind = 'quantised'
    if kind is not None:
        raise CheckpointError(f'{filename}: {name} is {kind}; save a plain state dict instead')


def _candidates(content: Mapping) -> Iterator[Mapping]:
    """Where weights may be; averages come last, for files that have nothing else.

    RT-DETR and D-FINE are evaluated with their average, which stands with its number of updates.
    """
    average = content.get('ema')
    if isinstance(average, Mapping) and average.keys() >= {'module', 'updates'}:
        yield average['module']
    for name in ('state_dict', 'model', *_AVERAGES):
        value = content.get(name)
        for inner in (value, value.get('module') if isinstance(value, Mapping) else None):
            if isinstance(inner, Mapping):
                yield inner


def _without_wrapper(weights: StateDict, model: nn.Module | None) -> StateDict:
    """Take off the name of an attribute that a training framework held the model in.

    Lightning writes ``model.`` or ``net.`` before the names of the model, and beside them those of
    a criterion, perhaps.
    """
    for _ in range(2):
        heads = Counter(name.partition('.')[0] for name in weights)
        head, count = max(heads.items(), key=lambda item: item[1])
        if count < 0.9 * len(weights):
            break
        weights = {name.removeprefix(f'{head}.'): value for name, value in weights.items()}
        if _recognise(None, weights, model) is not None:
            return weights
    return {}


def _recognise(meta: Any, weights: StateDict, model: nn.Module | None) -> Layout | None:
    meta = meta if isinstance(meta, Mapping) else {}
    if 'mmdetr_version' in meta:
        return own_layout(weights)
    if layout := find_layout(weights):
        return layout
    # mmdetr 0.1.0 did not write its version.
    if 'mmengine_version' in meta and _OWN_SCOPE.search(str(meta.get('cfg'))):
        return OTHER
    if model is not None:
        own = model.state_dict().keys()
        if own <= weights.keys() or weights.keys() <= own:
            return OTHER
    return None


def _unknown_layout(weights: StateDict) -> str:
    known = ', '.join(
        f'{layout.format} of {layout.architecture.name} ({layout.anchors[0]}, ...)'
        for layout in layouts()
        if layout.architecture
    )
    return (
        'of no known layout: its meta has no mmdetr_version, and its '
        f'{len(weights)} names ({shorten(sorted(weights), 3)}) fit none of {known}; '
        'mmdetr.checkpoint.register_layout adds one'
    )


def _config_beside(filename: str, model_types: tuple[str, ...]) -> dict[str, Any]:
    path = Path(filename).with_name('config.json')
    if not path.is_file():
        return {}
    config = read_json(path)
    return config if config.get('model_type') in model_types else {}


def _stated_names(names: Any, filename: str) -> Names | None:
    """Class names of a ``meta``, one name or several.

    Raises:
        CheckpointError: They are no names.
    """
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list | tuple) or not all(isinstance(n, str | None) for n in names):
        raise CheckpointError(f'{filename}: the classes in its meta are no names: {names!r:.60}')
    return clean_names(names)


def _names_by_number(labels: Any, filename: str) -> Names | None:
    """Class names of ``id2label``.

    Raises:
        CheckpointError: A key is no number of a class.
    """
    numbered: dict[int, str] = {}
    for key, name in labels.items() if isinstance(labels, Mapping) else ():
        if not str(key).isdecimal() or len(str(key)) > 6 or not isinstance(name, str):
            raise CheckpointError(
                f'config.json beside {filename}: id2label has {str(key)[:20]!r}, which numbers no '
                'class'
            )
        numbered[int(key)] = name
    return clean_names([numbered.get(i) for i in range(max(numbered, default=-1) + 1)])
