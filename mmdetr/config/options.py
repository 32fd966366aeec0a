"""Config files and overrides from the command line, checked for keys that lead nowhere."""

import difflib
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from mmengine.config import Config

from .check import check_config_types
from .package_configs import find_config
from .reading import ConfigError, load_config
from .schema import RunConfig
from .type_hints import join

_SETTINGS = set(RunConfig.__annotations__)


def read_config(
    path: str, options: dict[str, Any] | None, required: Collection[str] = ()
) -> Config:
    """Read the config file of a command line tool and apply ``--cfg-options``.

    Args:
        path: The config file, or the name of one of the package's.
        options: Overrides by dotted key.
        required: Top-level keys that the tool cannot do without.

    Raises:
        SystemExit: The file is no config, a setting is misspelt or missing, an override leads
            nowhere, or a value has the wrong type, in the file or by an override; the message
            names the file or the key.
    """
    try:
        path = find_config(path)
        cfg = load_config(path)
    except (ConfigError, OSError) as error:
        sys.exit(f'error: {error}')
    return prepare_config(cfg, path, options, required)


def prepare_config(
    cfg: Config, path: str, options: dict[str, Any] | None, required: Collection[str] = ()
) -> Config:
    """Check a config that was read, and apply ``--cfg-options``.

    Args:
        cfg: The config; changed and returned.
        path: Where it comes from, for messages.
        options: As of :func:`read_config`.
        required: Likewise.

    Raises:
        SystemExit: As there.
    """
    try:
        check_settings(cfg, path)
        apply_cfg_options(cfg, options)
        check_config_types(cfg)
    except (KeyError, TypeError) as error:
        sys.exit(f'error: {error.args[0]}')
    if missing := [key for key in required if cfg.get(key) is None]:
        sys.exit(f'error: {path} has no {" and no ".join(missing)}')
    return cfg


def check_settings(cfg: Config, path: str) -> None:
    """Look for misspelt settings at the top level of a config, which nobody would ever read.

    A config may have variables of its own there, so a name is wrong only if it is very like one
    that the runner knows.

    Raises:
        KeyError: A setting is misspelt; the message has the closest ones.
    """
    for key in set(cfg) - _SETTINGS:
        if similar := difflib.get_close_matches(key, _SETTINGS, cutoff=0.85):
            raise KeyError(
                f'{path}: {key!r} is no setting; did you mean {" or ".join(similar)}? (Give a '
                'variable of your own a name less like it.)'
            )


def apply_cfg_options(cfg: Config, options: dict[str, Any] | None) -> None:
    """Merge ``key.of.an.entry=value`` overrides into a config.

    mmengine creates whatever key it is given, so that a misspelt one is without effect. Here a new
    key at the top level has to be one that the runner knows, and elsewhere must not look like one
    that is there already. In a dict with a ``type`` any key will do: what takes it will complain.

    Raises:
        KeyError: A key is misspelt, the message has the closest ones; or it is a variable of the
            config file without effect on what was made from it.
        TypeError: A key leads into something that is no dict.
    """
    for key in options or {}:
        _check_key(cfg, key)
    if options:
        cfg.merge_from_dict(options)


def _check_key(cfg: Config, key: str) -> None:
    _check_variable(cfg, key)
    place: Any = cfg
    *parents, last = key.split('.')
    for depth, part in enumerate([*parents, last]):
        where = '.'.join(parents[:depth])
        if isinstance(place, list | tuple):
            if not part.isdigit() or int(part) >= len(place):
                raise KeyError(f'--cfg-options {key}: {where} has entries 0 to {len(place) - 1}')
            place = place[int(part)]
        elif not isinstance(place, Mapping | Config):
            raise TypeError(f'--cfg-options {key}: {where} is {place!r}, nothing can be set in it')
        elif part not in place:
            if 'type' not in place:
                _check_new_entry(list(place), part, key, top=depth == 0)
            return
        else:
            child = place[part]
            if child is None and depth < len(parents):
                child = {}  # mmengine merges into a dict, not into None
                setattr(place, part, child)
            place = child


def _check_variable(cfg: Config, key: str) -> None:
    """Refuse to change a variable of the config file that other keys got their value from."""
    name = key.partition('.')[0]
    if name not in cfg or name in _SETTINGS:
        return
    copies = [
        path
        for path, value in _entries({key: cfg[key] for key in cfg if key in _SETTINGS})
        if value == cfg[name]
        and (isinstance(value, str | list | tuple | dict) or path.endswith(f'.{name}'))
    ]
    if copies and cfg[name]:
        raise KeyError(
            f'--cfg-options {key}: {name} is a variable of the config file, whose value others got '
            f'when the file was read. Set {" and ".join(copies[:3])} instead'
        )


def _entries(value: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """Dotted paths and values of everything in a config."""
    pairs: Iterable = ()
    if isinstance(value, Mapping):
        pairs = value.items()
    elif isinstance(value, list | tuple):
        pairs = enumerate(value)
    for key, child in pairs:
        yield join(path, key), child
        yield from _entries(child, join(path, key))


def _check_new_entry(present: list[str], part: str, key: str, top: bool) -> None:
    known = set(present)
    if top:
        known |= _SETTINGS
        if part in known:
            return
    similar = difflib.get_close_matches(part, known, cutoff=0.6 if top else 0.85)
    if similar or top:
        hint = f'; did you mean {" or ".join(similar)}?' if similar else ''
        raise KeyError(f'--cfg-options {key}: the config has no {part!r} there{hint}')
