"""Building components that are told about each other."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from mmengine.registry import Registry

from .arguments import initialisers


def build_component(
    registry: Registry, cfg: dict, told: Mapping[str, Any], offered: Mapping[str, Any]
) -> Any:
    """Build a component from its config.

    Args:
        registry: Where ``cfg['type']`` is registered.
        cfg: Config of the component.
        told: Default arguments that every component of the kind takes.
        offered: Default arguments for components that have an argument of that name.
    """
    kind = cfg.get('type')
    builder = registry.get(kind) if isinstance(kind, str) else kind
    names = _argument_names(builder) if builder is not None else set()
    more = {name: value for name, value in offered.items() if name in names}
    return registry.build(cfg, default_args={**told, **more})


def _argument_names(builder: Callable) -> set[str]:
    """Names of a builder's arguments, those that it hands on to a base class included."""
    names: set[str] = set()
    for init in initialisers(builder):
        parameters = inspect.signature(init).parameters.values()
        names |= {parameter.name for parameter in parameters}
        if all(parameter.kind != parameter.VAR_KEYWORD for parameter in parameters):
            break
    return names
