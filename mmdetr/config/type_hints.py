"""Compares values of a config with the type hints of what takes them."""

import collections.abc
import difflib
import importlib.util
import inspect
import math
import os
import re
import sys
import types
from collections.abc import Iterable, Mapping
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import torch

_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_LISTS = (
    list,
    tuple,
    collections.abc.Sequence,
    collections.abc.Iterable,
    collections.abc.Collection,
)
# What a config may give by its name.
_NAMED: tuple[Any, ...] = (collections.abc.Callable, type, os.PathLike, torch.device, torch.dtype)
_WORDS: dict[Any, tuple[str, str]] = {
    int: ('a whole number', 'whole numbers'),
    float: ('a number', 'numbers'),
    bool: ('True or False', 'True or False'),
    str: ('a string', 'strings'),
    type(None): ('None', 'None'),
}


class Range(NamedTuple):
    """Limits of a number, for ``Annotated[float, Range(...)]``; ``above`` is exclusive."""

    least: float | None = None
    most: float | None = None
    above: float | None = None

    def __contains__(self, value: Any) -> bool:
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
        )

    def __str__(self) -> str:
        parts = dict(above=self.above, of=self.least, to=self.most)
        text = ' '.join(f'{word} {limit:g}' for word, limit in parts.items() if limit is not None)
        return text if self.most is not None or self.above is not None else f'{text} or more'


class Regex:
    """A regular expression, for ``Annotated[str, Regex()]``."""

    def __contains__(self, value: Any) -> bool:
        try:
            re.compile(value)
        except (OverflowError, RecursionError, re.error):
            return False
        return True

    def __str__(self) -> str:
        return 'that is a regular expression'


class Package:
    """The name of a package that can be imported, for ``Annotated[str, Package()]``."""

    def __contains__(self, value: Any) -> bool:
        return value.isidentifier() and importlib.util.find_spec(value) is not None

    def __str__(self) -> str:
        return 'that names an installed package'


class Finite:
    """Stands for the type of a number that a config file cannot state."""


class WithoutWorkers(NamedTuple):
    """Stands for the type of a loader's setting that needs workers, and says what it is without."""

    default: Any


class UnknownKey(NamedTuple):
    """Stands for the type of a key that a dict cannot have."""

    known: tuple[str, ...]


class Unregistered(NamedTuple):
    """Stands for the type of a component whose name no registry has."""

    near: str | None


class Mismatch(NamedTuple):
    """A value that its place cannot take.

    Attributes:
        path: Where it is, as in ``--cfg-options``.
        value: What is there.
        hint: What belongs there.
    """

    path: str
    value: Any
    hint: Any

    def __str__(self) -> str:
        shown = repr(self.value)
        if len(shown) > 60:
            shown = f'{shown[:57]}...'
        if isinstance(self.hint, UnknownKey):
            name = self.path.rpartition('.')[2]
            if near := nearest_key(name, self.hint.known, 0.5):
                return f'{self.path} is read by nobody; did you mean {near}?'
            return f'{self.path} is read by nobody, only {", ".join(self.hint.known)} are'
        if isinstance(self.hint, Unregistered):
            text = f'{self.path}: no component is registered as {shown}'
            if self.hint.near:
                return f'{text}; did you mean {self.hint.near}?'
            return f'{text}; custom_imports=dict(imports=[...]) names the module of one of your own'
        if isinstance(self.hint, WithoutWorkers):
            default = self.hint.default
            return f'{self.path} must be {default} where num_workers is 0, not {shown}'
        if self.hint is Finite:
            return f'{self.path} must be finite, not {shown}: a config file cannot state it'
        kind = type(self.value).__name__
        return f'{self.path} must be {describe_hint(self.hint)}, not {shown} ({kind})'


def nearest_key(name: str, known: Iterable[str], cutoff: float) -> str | None:
    """The known key that a misspelt one is most like, or the short form that it spells out."""
    known = set(known)
    initials = ''.join(word[:1] for word in name.split('_'))
    if '_' in name and initials in known:
        return initials
    near = difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    return near[0] if near else None


def join(path: str, key: Any) -> str:
    """The path of a key below ``path``, for a message: always one line."""
    name = str(key) if str(key).isprintable() else repr(str(key))
    return f'{path}.{name}' if path else name


def find_mismatches(value: Any, hint: Any, path: str = '') -> list[Mismatch]:
    """Where ``value`` is of another type than ``hint`` says, as far inside as can be told.

    Lists and tuples stand for each other: command lines and JSON do not tell them apart. An int is
    a float as well, but a bool is no number, and neither is NaN. An object of any other class may
    be built from a dict. A ``TypedDict`` with ``total=False`` has no other keys than its own, one
    with required keys may.
    """
    if isinstance(hint, UnknownKey):
        return [Mismatch(path, value, hint)]
    if hint is None:
        hint = type(None)
    origin, options = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, types.UnionType):
        return _mismatches_of_union(value, options, path, hint)
    if origin is Annotated:
        ranges = [each for each in hint.__metadata__ if isinstance(each, Range | Regex | Package)]
        matches = not find_mismatches(value, options[0]) and all(value in each for each in ranges)
        return [] if matches else [Mismatch(path, value, hint)]
    if is_typeddict(hint) or origin in _DICTS:
        return _mismatches_of_dict(value, options, path, hint)
    if origin in _LISTS:
        return _mismatches_of_list(value, origin, options, path, hint)
    return [] if _matches(value, origin, options) else [Mismatch(path, value, hint)]


def _matches(value: Any, origin: Any, options: tuple) -> bool:
    """Whether a value that is looked at as a whole is of a type."""
    if origin is Literal:
        return any(type(value) is type(option) and value == option for option in options)
    if origin in _WORDS:
        return _is_plain(value, origin)
    if not inspect.isclass(origin) or origin in (Any, object):
        return True
    if isinstance(value, str):
        return issubclass(origin, _NAMED)
    try:
        return isinstance(value, (Mapping, origin))
    except TypeError:  # a protocol that cannot be looked at
        return True


def _is_plain(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    if kind is float:
        # One of hundreds of digits is no float.
        is_number = isinstance(value, int | float)
        return is_number and (abs(value) <= sys.float_info.max or abs(value) == math.inf)
    return isinstance(value, kind)


def _mismatches_of_union(value: Any, options: tuple, path: str, hint: Any) -> list[Mismatch]:
    found = [find_mismatches(value, option, path) for option in options]
    if not all(found):
        return []
    inner = [each for each in found if all(mismatch.path != path for mismatch in each)]
    return min(inner, key=len) if inner else [Mismatch(path, value, hint)]


def _mismatches_of_dict(value: Any, options: tuple, path: str, hint: Any) -> list[Mismatch]:
    required = getattr(hint, '__required_keys__', ())
    if not isinstance(value, Mapping) or not all(key in value for key in required):
        return [Mismatch(path, value, hint)]
    hints: Mapping = get_type_hints(hint, include_extras=True) if is_typeddict(hint) else {}
    other = options[1] if len(options) == 2 else Any
    if hints and not required:
        other = UnknownKey(tuple(hints))
    return [
        mismatch
        for key, item in value.items()
        for mismatch in find_mismatches(item, hints.get(key, other), join(path, key))
    ]


def _mismatches_of_list(
    value: Any, origin: Any, options: tuple, path: str, hint: Any
) -> list[Mismatch]:
    if not isinstance(value, list | tuple):
        is_other_list = hasattr(value, '__iter__') and not isinstance(value, str | bytes | Mapping)
        return [] if is_other_list else [Mismatch(path, value, hint)]
    wanted = [options[0] if options else Any] * len(value)
    if origin is tuple and options and options[-1] is not Ellipsis:
        wanted = list(options)
        if len(value) != len(wanted):
            return [Mismatch(path, value, hint)]
    return [
        mismatch
        for index, (item, each) in enumerate(zip(value, wanted, strict=True))
        for mismatch in find_mismatches(item, each, join(path, index))
    ]


def describe_hint(hint: Any, plural: bool = False) -> str:
    """A hint in words."""
    origin, options = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, types.UnionType):
        return ' or '.join(dict.fromkeys(describe_hint(option, plural) for option in options))
    if origin is Annotated:
        return ' '.join([describe_hint(options[0], plural), *map(str, hint.__metadata__)])
    if origin is Literal:
        return ' or '.join(map(repr, options))
    if origin in _WORDS:
        return _WORDS[origin][plural]
    if is_typeddict(hint) or origin in _DICTS:
        name = 'dicts' if plural else 'a dict'
        required = sorted(getattr(hint, '__required_keys__', ()))
        return f'{name} with {", ".join(required)}' if required else name
    if origin in _LISTS:
        return ('lists' if plural else 'a list') + _describe_items(origin, options)
    return getattr(origin, '__name__', str(origin))


def _describe_items(origin: Any, options: tuple) -> str:
    if origin is tuple and options and options[-1] is not Ellipsis:
        return f' of {len(options)} ({", ".join(map(describe_hint, options))})'
    return f' of {describe_hint(options[0], plural=True)}' if options else ''
