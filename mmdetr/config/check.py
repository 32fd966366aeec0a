"""Finds values of the wrong type in a config before anything is built from it."""

import inspect
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Union

from mmengine.config import Config
from mmengine.registry import FUNCTIONS, MODEL_WRAPPERS, Registry

from mmdetr import registry
from mmdetr.registry import (
    DATA_SAMPLERS,
    DATASETS,
    MODELS,
    TASK_UTILS,
    TRANSFORMS,
    WEIGHT_INITIALIZERS,
)

from .argument_hints import argument_hints, takes_any_argument
from .schema import DEFAULT_TYPES, HINTS_BY_CLASS, HINTS_BY_PLACE, RunConfig
from .type_hints import (
    Finite,
    Mismatch,
    UnknownKey,
    Unregistered,
    WithoutWorkers,
    find_mismatches,
    join,
    nearest_key,
)

# The top-level keys of a config that inference needs.
INFERENCE_KEYS = ('model', 'test_dataloader')
_DATA_REGISTRIES = [DATASETS, TRANSFORMS, DATA_SAMPLERS, FUNCTIONS]
# Where names below a key are looked up first: a registry that is asked imports its components, and
# inference needs neither runner nor hooks.
_FIRST_REGISTRIES = {
    'model': [MODELS, TASK_UTILS, WEIGHT_INITIALIZERS],
    'train_dataloader': _DATA_REGISTRIES,
    'val_dataloader': _DATA_REGISTRIES,
    'test_dataloader': _DATA_REGISTRIES,
}
_REGISTRIES = [
    *(
        each
        for name, each in vars(registry).items()
        if isinstance(each, Registry) and not name.startswith('MMENGINE_')
    ),
    FUNCTIONS,
    MODEL_WRAPPERS,
]


def check_config_types(
    config: Config | Mapping, keys: Collection[str] = tuple(RunConfig.__annotations__)
) -> None:
    """Check config values against the type hints of the classes they are passed to.

    A dict with a ``type`` is compared with the type hints of that class, whichever registry it is
    in; the rest with what a runner reads. What has no hint is left to whoever takes it, and so are
    variables of the config file, which nobody takes.

    Args:
        config: The whole config.
        keys: Its top-level keys to look at, :data:`INFERENCE_KEYS` for inference.

    Raises:
        TypeError: There are values of a wrong type; a line for each, with its key.
    """
    content = config.to_dict() if isinstance(config, Config) else config
    taken = {key: value for key, value in content.items() if key in keys}
    found = find_mismatches(taken, RunConfig)
    found += _worker_mismatches(taken)
    for key, value in taken.items():
        found += _component_mismatches(value, key)
    if found:
        raise TypeError('\n'.join(dict.fromkeys(map(str, found))))


def _component_mismatches(node: Any, path: str) -> Iterator[Mismatch]:
    """Mismatches of a component's arguments, and of all components below it."""
    if isinstance(node, list | tuple):
        for index, item in enumerate(node):
            yield from _component_mismatches(item, join(path, index))
    if not isinstance(node, Mapping):
        return
    name = node.get('type', '')
    if not (isinstance(name, str) or callable(name)):
        yield Mismatch(join(path, 'type'), name, str)
    elif isinstance(name, str) and (unknown := _unregistered(name, node, path)):
        yield Mismatch(join(path, 'type'), name, unknown)
        return
    hints = _hints(node, path)
    known, closed = _known_arguments(node, path, hints)
    for key, value in node.items():
        if key not in known and (closed or nearest_key(key, known, 0.85)):
            yield Mismatch(join(path, key), value, UnknownKey(tuple(sorted(known))))
            continue
        found = find_mismatches(value, hints.get(key, Any), join(path, key))
        if not found and isinstance(value, float) and not math.isfinite(value):
            found = [Mismatch(join(path, key), value, Finite)]
        yield from found or _component_mismatches(value, join(path, key))


def _hints(node: Mapping, path: str) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    for function in _builders(node, path):
        for name, hint in _argument_hints(function).items():
            # Where two registries have the name, either may be meant.
            hints[name] = Union[hints[name], hint] if name in hints else hint  # noqa: UP007
    # Hooks and schedules stand one below the place that names them.
    place = re.sub(r'^(default_hooks|custom_hooks|param_scheduler)\.\w+$', r'\1', path)
    hints |= HINTS_BY_PLACE.get(place, {})
    if 'constructor' in node:  # it knows other keys
        hints.pop('paramwise_cfg', None)
    return hints


# Keys that the registries and mmengine's builders take out, or fill in.
_ALWAYS_KNOWN = {'type', '_scope_', '_delete_'}
_KNOWN_BY_PLACE = {
    'train_cfg': {'by_epoch'},
    'optim_wrapper': {'optimizer', 'paramwise_cfg', 'constructor'},
}


def _known_arguments(node: Mapping, path: str, hints: Mapping) -> tuple[set[str], bool]:
    """Names of a component's arguments, and whether it can have no others."""
    builders = _builders(node, path)
    if not builders or 'constructor' in node:
        return set(node), False
    known = set(hints) | _ALWAYS_KNOWN | _KNOWN_BY_PLACE.get(path, set())
    return known, not any(map(takes_any_argument, builders))


def _worker_mismatches(config: Mapping) -> Iterator[Mismatch]:
    """Settings of worker processes where a loader has none, which torch refuses."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = config.get(name)
        if not isinstance(loader, Mapping) or loader.get('num_workers', 0) != 0:
            continue
        for key, default in (('prefetch_factor', None), ('persistent_workers', False)):
            if loader.get(key, default) != default:
                yield Mismatch(join(name, key), loader[key], WithoutWorkers(default))


# Where nothing but a registered component can stand; elsewhere whoever takes a dict may have names
# of its own for ``type``.
_COMPONENTS = re.compile(
    r'(.*\.)?(dataset|datasets|pipeline|transforms|sampler|batch_sampler|default_hooks|custom_hooks'
    r'|param_scheduler|optimizer|val_evaluator|test_evaluator|vis_backends)'
    r'|model|model\.(backbone|neck|bbox_head|data_preprocessor)|optim_wrapper|visualizer|'
    r'log_processor|train_cfg|val_cfg|test_cfg'
)


def _unregistered(name: str, node: Mapping, path: str) -> Unregistered | None:
    """What is wrong with a type that no registry has."""
    if 'type' not in node or _builders(node, path):
        return None
    first = _FIRST_REGISTRIES.get(path.partition('.')[0], [])
    near = nearest_key(name, _names(first), 0.7) or nearest_key(name, _names(_REGISTRIES), 0.7)
    place = re.sub(r'(^default_hooks)\.\w+$|(\.\d+)+$', r'\1', path)
    if _COMPONENTS.fullmatch(place) or (near and nearest_key(name, [near], 0.85)):
        return Unregistered(near)
    return None


def _names(registries: list[Registry]) -> set[str]:
    names: set[str] = set()
    for registry_ in registries:
        place: Registry | None = registry_
        while place is not None:
            names |= place.module_dict.keys()
            place = place.parent
    return names


def _argument_hints(function: Callable) -> dict[str, Any]:
    hints = argument_hints(function)
    for base in reversed(inspect.getmro(function) if inspect.isclass(function) else ()):
        hints |= HINTS_BY_CLASS.get(base.__name__, {})
    return hints


def _builders(node: Mapping, path: str) -> list[Callable]:
    """The classes or functions that a dict may be arguments of."""
    name = node.get('type', DEFAULT_TYPES.get(path))
    if path == 'train_cfg' and name is None:
        name = 'EpochBasedTrainLoop' if node.get('by_epoch', True) else 'IterBasedTrainLoop'
    if not isinstance(name, str):
        return [name] if callable(name) else []
    first = _FIRST_REGISTRIES.get(path.partition('.')[0], [])
    for registries in (first, _REGISTRIES):
        if found := dict.fromkeys(filter(None, (_get(each, name) for each in registries))):
            return list(found)
    return []


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
