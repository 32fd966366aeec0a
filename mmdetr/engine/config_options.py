"""Overrides from the command line, checked for keys that lead nowhere."""

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

# What mmengine's Runner reads from the config besides its own arguments.
_READ_FROM_CONFIG = (
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'sync_bn',
)


def apply_cfg_options(cfg: Config, options: dict[str, Any] | None) -> None:
    """Merge ``key.of.an.entry=value`` overrides into a config.

    mmengine creates whatever key it is given, so that a misspelt one is without effect. A new entry
    is accepted where nothing in its place has a similar name; at the top level, only what the
    runner knows.

    Raises:
        KeyError: A key is in neither place; the message has the closest ones.
    """
    for key in options or {}:
        _check_key(cfg, key)
    if options:
        cfg.merge_from_dict(options)


def _check_key(cfg: Config, key: str) -> None:
    place: Any = cfg
    parts = key.split('.')
    for depth, part in enumerate(parts):
        if isinstance(place, list | tuple) and part.isdigit():
            if int(part) >= len(place):
                where = '.'.join(parts[:depth])
                raise KeyError(f'--cfg-options {key}: {where} has {len(place)} entries')
            place = place[int(part)]
            continue
        if not isinstance(place, Mapping | Config):
            return
        if part not in place:
            _check_new_entry(list(place), part, key, top=depth == 0)
            return
        place = place[part]


def _check_new_entry(present: list[str], part: str, key: str, top: bool) -> None:
    known = set(present)
    if top:
        known |= set(inspect.signature(Runner).parameters) | set(_READ_FROM_CONFIG)
        if part in known:
            return
    similar = difflib.get_close_matches(part, known, cutoff=0.6 if top else 0.85)
    if similar or top:
        hint = f'; did you mean {" or ".join(similar)}?' if similar else ''
        raise KeyError(f'--cfg-options {key}: the config has no {part!r} there{hint}')
