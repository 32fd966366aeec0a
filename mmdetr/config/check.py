"""Finds values of the wrong type in a config before anything is built from it."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Union

from mmengine.config import Config
from mmengine.registry import FUNCTIONS, MODEL_WRAPPERS, Registry
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from mmdetr import registry

from .schema import DEFAULT_TYPES, MORE_BY_CLASS, MORE_BY_PLACE, RunConfig
from .type_hints import Misfit, argument_hints, join, misfits

_REGISTRIES = [
    *(
        each
        for name, each in vars(registry).items()
        if isinstance(each, Registry) and not name.startswith('MMENGINE_')
    ),
    FUNCTIONS,
    MODEL_WRAPPERS,
]


def check_config_types(config: Config | Mapping) -> None:
    """Compares the values of a config with what is going to take them.

    A dict with a ``type`` is compared with the type hints of that class, whichever registry it is
    in; the rest with what a runner takes. What has no hint is left to whoever takes it, and so are
    variables of the config file, which nobody takes.

    Raises:
        TypeError: There are values of a wrong type; a line for each, with its key.
    """
    content = config.to_dict() if isinstance(config, Config) else config
    taken = {key: value for key, value in content.items() if key in RunConfig.__annotations__}
    found = misfits(taken, RunConfig)
    for key, value in taken.items():
        found += _misfits_of_components(value, key)
    if found:
        raise TypeError('\n'.join(dict.fromkeys(map(str, found))))


def _misfits_of_components(node: Any, path: str) -> Iterator[Misfit]:
    """Arguments of a dict, and of all dicts in it, that do not fit what is built from them."""
    if isinstance(node, list | tuple):
        for index, item in enumerate(node):
            yield from _misfits_of_components(item, join(path, index))
    if not isinstance(node, Mapping):
        return
    name = node.get('type', '')
    if not (isinstance(name, str) or callable(name)):
        yield Misfit(join(path, 'type'), name, str)
    hints = _hints(node, path)
    for key, value in node.items():
        found = misfits(value, hints.get(key, Any), join(path, key))
        yield from found or _misfits_of_components(value, join(path, key))


def _hints(node: Mapping, path: str) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    for function in _builders(node, path):
        for name, hint in _argument_hints(function).items():
            # Where two registries have the name, either may be meant.
            hints[name] = Union[hints[name], hint] if name in hints else hint  # noqa: UP007
    # Hooks and schedules stand one below the place that names them.
    place = re.sub(r'^(default_hooks|custom_hooks|param_scheduler)\.\w+$', r'\1', path)
    hints |= MORE_BY_PLACE.get(place, {})
    if 'constructor' in node:  # it knows other keys
        hints.pop('paramwise_cfg', None)
    return hints


def _argument_hints(function: Callable) -> dict[str, Any]:
    hints = argument_hints(function)
    for base in reversed(inspect.getmro(function) if inspect.isclass(function) else ()):
        hints |= MORE_BY_CLASS.get(base.__name__, {})
    return hints


def _builders(node: Mapping, path: str) -> list[Callable]:
    """The classes or functions that a dict may be arguments of."""
    name = node.get('type')
    if isinstance(name, str):
        return list(dict.fromkeys(filter(None, (_get(each, name) for each in _REGISTRIES))))
    if callable(name):
        return [name]
    if path == 'train_cfg':
        return [EpochBasedTrainLoop if node.get('by_epoch', True) else IterBasedTrainLoop]
    return [DEFAULT_TYPES[path]] if path in DEFAULT_TYPES else []


def _get(place: Registry, name: str) -> Callable | None:
    if '.' in name:  # a scope, or the path of a module
        try:
            return place.get(name)
        except RuntimeError:
            return None
    # Registry.get would look for modules of that name as well.
    place.import_from_location()
    while name not in place.module_dict and place.parent is not None:
        place = place.parent
    return place.module_dict.get(name)
