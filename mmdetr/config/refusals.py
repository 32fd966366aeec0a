"""Errors that a user can mend, told from those of a program, in one line with the config's key."""

import contextlib
import dis
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner

from mmdetr.utils.text import shorten

from .type_hints import join

_OURS = 'mmdetr'
# What stands between a raise of ours and the tool where no code of the user's takes part.
_KNOWN_PACKAGES = {_OURS, 'mmengine', 'mmcv', 'torch', 'torchvision', '__main__'}
_BUILDS = Registry.build.__code__
_FROM_CFG = Runner.from_cfg.__func__.__code__
_WORKER = 'Original Traceback (most recent call last):'


@contextlib.contextmanager
def refusals_in_one_line(config: Mapping | Config | None = None) -> Iterator[None]:
    """End a tool with one line instead of a traceback where config, files or machine are to blame.

    That is: where a component is built from the config, where mmdetr refuses something, and where a
    file cannot be read or written. Errors in code of the user's own keep their traceback.

    Args:
        config: What the tool builds from; the message has the key of what refuses its arguments.
    """
    try:
        yield
    except Exception as error:
        text = explain_refusal(error, config)
        if text is None:
            raise
        sys.exit(f'error: {text}')


def explain_refusal(error: Exception, config: Mapping | Config | None = None) -> str | None:
    """Say in one line what an error refuses; None for one that needs its traceback."""
    frames = list(traceback.walk_tb(error.__traceback__))
    reason = _reason(error)
    if type(error).__module__.partition('.')[0] == _OURS:
        return reason
    last, line = frames[-1]
    deliberate = _raised_on_purpose(error)
    if _package(last) != _OURS or not deliberate:
        reason = f'{reason} ({type(error).__name__} in {_place(last)}, line {line})'
    builds = [frame for frame, _ in frames if frame.f_code is _BUILDS]
    if builds or any(_is_builder(frame.f_code) for frame, _ in frames):
        if not deliberate and not _is_installed(last):
            return None
        return f'{_component(builds, config)}: {reason}' if builds else reason
    refused = isinstance(error, OSError) or (deliberate and _package(last) in (_OURS, 'mmengine'))
    return reason if refused and all(_is_known(frame) for frame, _ in frames) else None


def _is_builder(code: CodeType) -> bool:
    """Whether a function of mmengine's runner builds a part that no registry does."""
    in_runner = code.co_filename == _FROM_CFG.co_filename
    return code is _FROM_CFG or (in_runner and code.co_name.startswith('build_'))


def _reason(error: Exception) -> str:
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    text = text.partition('Exception raised from ')[0]  # torch's own stack
    if _WORKER in text:  # what torch makes of the error of a worker: its last line says it
        text = text.strip().splitlines()[-1].partition(': ')[2]
    return ' '.join(text.split()) or type(error).__name__


def _raised_on_purpose(error: Exception) -> bool:
    """Whether a raise or assert was met, not an operation that failed."""
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    if tb is None:
        return False
    instructions = tb.tb_frame.f_code.co_code
    return instructions[tb.tb_lasti] == dis.opmap['RAISE_VARARGS']


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get('__name__', '')).partition('.')[0]


def _is_known(frame: FrameType) -> bool:
    name = _package(frame)
    return name in _KNOWN_PACKAGES or name in sys.stdlib_module_names


def _is_installed(frame: FrameType) -> bool:
    return _is_known(frame) or 'site-packages' in Path(frame.f_code.co_filename).parts


def _place(frame: FrameType) -> str:
    module = str(frame.f_globals.get('__name__', ''))
    return module if module != '__main__' else Path(frame.f_code.co_filename).name


def _component(builds: list[FrameType], config: Mapping | Config | None) -> str:
    """Class of what a registry was building, and its keys or those of what it is a part of."""
    name = ''
    for frame in reversed(builds):
        cfg = frame.f_locals['cfg']
        if not isinstance(cfg, Mapping):
            continue
        kind = cfg.get('type')
        name = name or getattr(kind, '__name__', str(kind))
        if keys := find_keys(cfg, config):
            return f'{shorten(keys, 3, " and ")} ({name})'
    return name or 'the config'


def find_keys(component: Mapping, config: Mapping | Config | None) -> list[str]:
    """Keys of a config at which it has a component, as much of it as is still the same."""
    content = config.to_dict() if isinstance(config, Config) else config or {}
    found = [(_likeness(node, component), path) for path, node in _dicts(content)]
    best = max((likeness for likeness, _ in found), default=0)
    return [path for likeness, path in found if likeness == best > 0]


def _dicts(node: Any, path: str = '') -> Iterator[tuple[str, Mapping]]:
    if isinstance(node, Mapping):
        if path:
            yield path, node
        for key, value in node.items():
            yield from _dicts(value, join(path, key))
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _dicts(value, join(path, index))


def _likeness(node: Mapping, component: Mapping) -> int:
    """How many entries two configs have in common; 0 where they are of different classes."""
    equal = {key for key in node if key in component and _equal(node[key], component[key])}
    # Loops get another class, and some places have no type: all of one is in the other then.
    rests = [each.keys() - {'type'} for each in (node, component)]
    alike = 'type' in equal or any(rest and rest <= equal for rest in rests)
    return len(equal) if alike else 0


def _equal(first: Any, second: Any) -> bool:
    try:
        return bool(first == second)
    except (RuntimeError, TypeError, ValueError):  # tensors
        return False
