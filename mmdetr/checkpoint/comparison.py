"""What makes a model compute something else than the one that a checkpoint was trained as."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.registry import DefaultScope, Registry

from mmdetr.registry import MODELS, TASK_UTILS, TRANSFORMS
from mmdetr.utils.arguments import initialisers

# What changes training, speed or memory alone, and what the rows of the weights settle.
_HARMLESS = {
    '_scope_',
    'backend_args',
    'checkpoint',
    'criterion',
    'fast_forms',
    'frozen_stages',
    'init_cfg',
    'interpolate',
    'max_per_img',
    'meta_keys',
    'norm_frozen',
    'num_classes',
    'num_cols',
    'num_rows',
    'pretrained',
    'train_cfg',
    'with_cp',
}
# What a part is built from where its config says None.
_IMPLIED = {
    'class_activation': 'SoftmaxClasses',
    'encoder': 'TransformerEncoder',
    'decoder': 'TransformerDecoder',
}
_LOADERS = ('test_dataloader', 'val_dataloader')
_ABSENT = object()


def config_differences(
    theirs: Mapping[str, Any], ours: Mapping[str, Any], loader: str = 'test_dataloader'
) -> list[str]:
    """Compare the configs of a checkpoint and of a run, with the defaults of both filled in.

    Args:
        theirs: Config of the checkpoint.
        ours: Config of the run; a part that it lacks is not compared.
        loader: The dataloader whose pipeline prepares the images.

    Returns:
        ``'model.bbox_head.transformer.num_heads: checkpoint 8, config 4'`` for each entry of the
        model, its preprocessor and the test pipeline that changes predictions.
    """
    found: list[str] = []
    with DefaultScope.overwrite_default_scope('mmdetr'):
        models = _model(theirs), _model(ours)
        if None not in models:
            found += _compare('model', *models)
        their_steps, our_steps = _pipeline(theirs, loader), _pipeline(ours, loader)
        if their_steps is not None and our_steps is not None:
            found += _compare_steps(f'{loader}.dataset.pipeline', their_steps, our_steps)
    return found


def _model(config: Mapping[str, Any]) -> dict[str, Any] | None:
    model = config.get('model')
    if not isinstance(model, Mapping):
        return None
    # As mmengine's runner does.
    preprocessor = model.get('data_preprocessor') or config.get('data_preprocessor')
    return {**model, 'data_preprocessor': preprocessor}


def _pipeline(config: Mapping[str, Any], loader: str) -> list[dict] | None:
    """The steps that change an image; None where the config has no such data."""
    for name in dict.fromkeys((loader, *_LOADERS)):
        dataset = (config.get(name) or {}).get('dataset') or {}
        while isinstance(inner := dataset.get('dataset', dataset.get('datasets')), Mapping | list):
            dataset = (inner[0] if inner else {}) if isinstance(inner, list) else inner
        steps = dataset.get('pipeline')
        if isinstance(steps, list | tuple):
            return [
                step
                for step in steps
                if not _type_name(step).startswith(('LoadAnnotations', 'LoadProposals', 'Pack'))
            ]
    return None


def _compare_steps(path: str, theirs: list[dict], ours: list[dict]) -> Iterator[str]:
    names = [_type_name(step) for step in theirs], [_type_name(step) for step in ours]
    loading = 'LoadImageFromFile'
    if (loading in names[0]) != (loading in names[1]):  # data that are not files have no such step
        theirs = [step for step in theirs if _type_name(step) != loading]
        ours = [step for step in ours if _type_name(step) != loading]
        names = [_type_name(step) for step in theirs], [_type_name(step) for step in ours]
    if names[0] != names[1]:
        shown = [', '.join(each) or 'nothing' for each in names]
        yield f'{path}: checkpoint {shown[0]}, config {shown[1]}'
        return
    for step, own in zip(theirs, ours, strict=True):
        yield from _compare(f'{path}.{_type_name(step)}', step, own)


def _compare(path: str, theirs: Any, ours: Any) -> Iterator[str]:
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        yield from _compare_parts(path, theirs, ours)
    elif isinstance(theirs, list | tuple) and isinstance(ours, list | tuple):
        if len(theirs) == len(ours):
            lines = [
                line
                for i, pair in enumerate(zip(theirs, ours, strict=True))
                for line in _compare(f'{path}.{i}', *pair)
            ]
            if any(isinstance(each, Mapping) for each in ours):
                yield from lines
                return
            if not lines:
                return
        yield _line(path, theirs, ours)
    elif theirs != ours:
        yield _line(path, theirs, ours)


def _compare_parts(path: str, theirs: Mapping, ours: Mapping) -> Iterator[str]:
    names = _type_name(theirs), _type_name(ours)
    if names[0] != names[1]:
        yield _line(f'{path}.type', names[0] or 'none', names[1] or 'none')
        return
    kind = _find_class(ours)
    defaults = {} if kind is None else _defaults(kind)
    for key in dict.fromkeys((*theirs, *ours)):
        if key == 'type' or key in _HARMLESS or 'dropout' in str(key):
            continue
        their, our = (part.get(key, defaults.get(key, _ABSENT)) for part in (theirs, ours))
        if kind is not None and (their is _ABSENT or our is _ABSENT):
            continue  # the part that holds this one tells it, and the shapes of weights show it
        if key in _IMPLIED:
            their, our = (dict(type=_IMPLIED[key]) if x is None else x for x in (their, our))
        yield from _compare(f'{path}.{key}', their, our)


def _line(path: str, theirs: Any, ours: Any) -> str:
    shown = []
    for value in (theirs, ours):
        text = 'not set' if value is _ABSENT else str(value)
        shown.append(text if len(text) < 100 else f'{text[:97]}...')
    return f'{path}: checkpoint {shown[0]}, config {shown[1]}'


def _type_name(part: Any) -> str:
    kind = part.get('type') if isinstance(part, Mapping) else None
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', '')
    return name.strip('<>').rpartition('.')[2]


def _find_class(part: Mapping) -> type | None:
    kind = part.get('type')
    if inspect.isclass(kind):
        return kind
    for registry in (MODELS, TASK_UTILS, TRANSFORMS):
        found = _look_up(registry, _type_name(part))
        if found is not None:
            return found
    return None


def _look_up(registry: Registry, name: str) -> type | None:
    found = registry.get(name) if name else None
    return found if inspect.isclass(found) else None


def _defaults(kind: type) -> dict[str, Any]:
    """Defaults of a class's arguments, those that it hands on to a base class included."""
    defaults: dict[str, Any] = {}
    for init in initialisers(kind):
        parameters = inspect.signature(init).parameters.values()
        for parameter in parameters:
            if parameter.default is not parameter.empty:
                defaults.setdefault(parameter.name, parameter.default)
        if all(parameter.kind != parameter.VAR_KEYWORD for parameter in parameters):
            break
    return defaults
