"""What a published format calls the weights of an architecture, and the register of all of them.

An architecture comes in one module that calls :func:`register_layout` once per format. It may live
outside of mmdetr, where ``custom_imports`` of a config imports it.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from torch import Tensor, nn

if TYPE_CHECKING:
    from ..file import CheckpointFile
    from ..report import LoadReport

StateDict = dict[str, Tensor]
Rows = Sequence[tuple[str, str]]
OWN_FORMAT = 'mmdetr'


class Variant(Protocol):
    """Sizes and choices of a model that its state dict shows; ``str`` describes them."""

    def differences(self, other: Any) -> list[str]:
        """``'norm: pre-norm / post-norm'`` for each trait that differs."""


def _nothing(*_: Any) -> None:
    pass


@dataclass(frozen=True, eq=False)
class Architecture:
    """A kind of model.

    Attributes:
        name: What people call it.
        class_rows: Our names of weights with one row per class.
        has_no_object_row: Whether a row for no-object follows the classes.
        label_rows: Our names of tables with one row per class and one more for "no label".
        variant: Read the variant off a state dict under our names.
        traits: What a file tells beside names and shapes: heading -> text.
        check: Add to the report what names and shapes do not show of a file and a model.
        check_written: Refuse, by ValueError, weights to be written that belong to another model
            than the file says.
    """

    name: str
    class_rows: tuple[str, ...] = ()
    has_no_object_row: bool = True
    label_rows: tuple[str, ...] = ()
    variant: Callable[[Mapping[str, Tensor]], Variant | None] = _nothing
    traits: Callable[['CheckpointFile'], dict[str, str]] = lambda file: {}
    check: Callable[['CheckpointFile', nn.Module, 'LoadReport'], None] = _nothing
    check_written: Callable[['CheckpointFile', StateDict], None] = _nothing


class Converted(NamedTuple):
    """Weights under our names, and the names in the file that have no place in the model."""

    state_dict: StateDict
    unknown: list[str]


@dataclass(frozen=True, eq=False)
class Layout:
    """One format of an architecture's checkpoints.

    Attributes:
        architecture: The architecture; None for files of ours whose architecture is not registered.
        format: ``'facebook'``, ``'mmdetection'``, ``'huggingface'``; ``'mmdetr'`` is ours.
        anchors: Names that every such file has. Where several layouts fit, the one with the most
            anchors is taken.
        rows: Pairs (our name, its name). ``#`` stands for a number and ``*`` for the rest of a
            name, alike on both sides; the first pair that fits decides. Not used for our format.
        optional_prefix: What all names of the model may begin with; the others are unknown then,
            but for those of ``beside_prefix``.
        beside_prefix: Beginnings of names that stand beside the prefix; a file that has them is
            written with the prefix before the others.
        spell: Map other spellings of a name to the one in ``rows``.
        from_file: Change the weights of a file, under its names, before they are renamed to ours.
        to_file: The inverse, after they were renamed.
        model_types: Values of ``model_type`` in the ``config.json`` that lies beside such a file.
        rows_by_category_id: Whether heads for COCO have a row per category id, gaps included.
        suffixes: Endings of the names of files that ``convert`` writes; empty if it writes none.
        config: Content of the ``config.json`` that ``convert`` writes, given the file and the
            names of its class rows.
    """

    architecture: Architecture | None
    format: str
    anchors: tuple[str, ...]
    rows: Rows = ()
    optional_prefix: str = ''
    beside_prefix: tuple[str, ...] = ()
    spell: Callable[[str], str] = str
    from_file: Callable[[StateDict], StateDict] = dict
    to_file: Callable[[StateDict], StateDict] = dict
    model_types: tuple[str, ...] = ()
    rows_by_category_id: bool = False
    suffixes: tuple[str, ...] = ()
    config: Callable[['CheckpointFile', tuple | None], dict[str, Any]] | None = None

    def fits(self, names: Iterable[str]) -> bool:
        """Whether a file with these names has the anchors."""
        spelt = {self.spell(name.removeprefix(self.optional_prefix)) for name in names}
        return spelt.issuperset(self.anchors)

    def to_ours(self, weights: Mapping[str, Tensor]) -> Converted:
        """Rename the weights of a file to ours.

        ``num_batches_tracked`` of other codebases is left out: batch norm is frozen there.

        Raises:
            ValueError: A weight that is stored in parts lacks one of them.
        """
        if self.format == OWN_FORMAT:
            return Converted(dict(weights), [])
        has_prefix = any(name.startswith(self.optional_prefix) for name in weights)
        prefix = self.optional_prefix if has_prefix else ''
        known, unknown = {}, []
        for name, value in weights.items():
            if name.endswith('.num_batches_tracked'):
                continue
            if name.startswith((prefix, *self.beside_prefix)):
                known[self.spell(name.removeprefix(prefix))] = value
            else:
                unknown.append(name)
        patterns = _compile(self.rows, 1)
        ours: StateDict = {}
        for name, value in self.from_file(known).items():
            renamed = _rename(name, patterns)
            if renamed is None:
                unknown.append(name)
            else:
                ours[renamed] = value
        return Converted(ours, unknown)

    def from_ours(self, state_dict: Mapping[str, Tensor]) -> StateDict:
        """Rename our weights to those of this format; ``num_batches_tracked`` is left out.

        Raises:
            ValueError: A weight has no place in this format.
        """
        if self.format == OWN_FORMAT:
            return dict(state_dict)
        patterns = _compile(self.rows, 0)
        theirs: StateDict = {}
        for name, value in state_dict.items():
            if name.endswith('.num_batches_tracked'):
                continue
            renamed = _rename(name, patterns)
            if renamed is None:
                raise ValueError(f'the {self.format} format has no place for {name}')
            theirs[renamed] = value
        return self._with_prefix(self.to_file(theirs))

    def _with_prefix(self, weights: StateDict) -> StateDict:
        if not any(name.startswith(self.beside_prefix) for name in weights):
            return weights
        return {
            name if name.startswith(self.beside_prefix) else f'{self.optional_prefix}{name}': value
            for name, value in weights.items()
        }


OTHER = Layout(None, OWN_FORMAT, anchors=())
_LAYOUTS: list[Layout] = []


def register_layout(layout: Layout) -> Layout:
    """Make a layout known to everything that reads or writes checkpoints.

    Raises:
        ValueError: It has no anchors or no architecture, or the architecture has such a format.
    """
    if layout.architecture is None or not layout.anchors:
        raise ValueError(f'layout {layout.format}: architecture and anchors are needed')
    name = layout.architecture.name
    if any(known.format == layout.format for known in layouts(name)):
        raise ValueError(f'the layout {layout.format} of {name} is already registered')
    _LAYOUTS.append(layout)
    return layout


def layouts(architecture: str | None = None) -> list[Layout]:
    """Registered layouts, of one architecture or of all."""
    return [
        layout
        for layout in _LAYOUTS
        if layout.architecture and architecture in (None, layout.architecture.name)
    ]


def get_layout(architecture: str, fmt: str) -> Layout:
    """The layout of a format of an architecture.

    Raises:
        ValueError: None is registered; the message lists those that are.
    """
    for layout in layouts(architecture):
        if layout.format == fmt:
            return layout
    known = ', '.join(layout.format for layout in layouts(architecture)) or 'none'
    raise ValueError(f'no layout {fmt} of {architecture} is registered; there are: {known}')


def find_layout(names: Iterable[str]) -> Layout | None:
    """The registered layout whose anchors are among the names of a file; None if none fits."""
    names = list(names)
    fitting = [layout for layout in _LAYOUTS if layout.fits(names)]
    return max(fitting, key=lambda layout: len(layout.anchors), default=None)


def own_layout(names: Iterable[str]) -> Layout:
    """Our layout of the architecture whose names these are; ``OTHER`` if it is not registered."""
    names = list(names)
    fitting = [x for x in _LAYOUTS if x.format == OWN_FORMAT and x.fits(names)]
    return max(fitting, key=lambda layout: len(layout.anchors), default=OTHER)


def from_mmdetr(state_dict: Mapping[str, Tensor], fmt: str) -> StateDict:
    """Rename our weights to those of a format.

    Args:
        state_dict: All weights of a model, whose names tell the architecture.
        fmt: A format of that architecture.

    Raises:
        ValueError: The architecture or its format is not registered, or has no place for a weight.
    """
    architecture = own_layout(state_dict).architecture
    if fmt == OWN_FORMAT:
        return dict(state_dict)
    if architecture is None:
        raise ValueError(f'the architecture is not registered, so it has no {fmt} format')
    return get_layout(architecture.name, fmt).from_ours(state_dict)


Patterns = list[tuple[re.Pattern[str], str]]


def _compile(rows: Rows, column: int) -> Patterns:
    """Pattern of the names in ``column`` and the template of the other column's."""
    compiled = []
    for row in rows:
        pattern = re.escape(row[column]).replace(r'\#', r'(\d+)').replace(r'\*', '(.+)')
        template = row[1 - column].replace('#', '{}').replace('*', '{}')
        compiled.append((re.compile(pattern), template))
    return compiled


def _rename(name: str, patterns: Patterns) -> str | None:
    for pattern, template in patterns:
        if match := pattern.fullmatch(name):
            return template.format(*match.groups())
    return None
