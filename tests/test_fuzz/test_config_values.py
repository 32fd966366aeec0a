"""Config values of every kind: an error that names the key, or a run that starts as it should."""

import argparse
import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config

from mmdetr.config.check import check_config_types
from mmdetr.config.command_line import add_cfg_options
from mmdetr.config.schema import RunConfig
from mmdetr.engine import DetectionRunner
from mmdetr.models import DETR

from .json_strategies import text, value_at, values
from .profiles import profiles

CONFIGS = Path(__file__).parents[2] / 'configs'
DEMO = CONFIGS / 'detr_tiny_1xb32-12e_shapes.py'
NAMES = ['detr_tiny_1xb32-12e_shapes', 'detr_r50_8xb2-150e_coco', 'detr_r18_1xb4-6e_bccd']
CONTENTS = {name: Config.fromfile(CONFIGS / f'{name}.py').to_dict() for name in NAMES}
Path_ = tuple[str | int, ...]


class Foreign:
    """A value that fits no place with a type."""


def entries(node: Any, path: Path_ = ()) -> list[Path_]:
    """Paths of everything below ``node`` except the names of classes."""
    found = []
    pairs = enumerate(node) if isinstance(node, list | tuple) else node.items()
    for key, value in pairs:
        if key == 'type':
            continue
        found.append((*path, key))
        if isinstance(value, list | tuple | dict):
            found += entries(value, (*path, key))
    return found


PATHS = {
    name: [path for path in entries(content) if path[0] in RunConfig.__annotations__]
    for name, content in CONTENTS.items()
}
places = st.sampled_from(NAMES).flatmap(
    lambda name: st.sampled_from(PATHS[name]).map(lambda path: (name, path))
)


def changed(name: str, path: Path_, value: Any) -> dict:
    content = copy.deepcopy(CONTENTS[name])
    if isinstance(value_at(content, path[:-1]), tuple):
        value_at(content, path[:-2])[path[-2]] = list(value_at(content, path[:-1]))
    value_at(content, path[:-1])[path[-1]] = value
    return content


def complaint(content: dict) -> str | None:
    try:
        check_config_types(content)
    except TypeError as error:
        return str(error)
    return None


def dotted(path: Path_) -> str:
    return '.'.join(map(str, path))


@pytest.mark.parametrize('name', NAMES)
def test_every_key_has_a_type(name: str) -> None:
    """So that no key of our configs is left to chance."""
    content = copy.deepcopy(CONTENTS[name])
    leaves = [
        path for path in PATHS[name] if not isinstance(value_at(content, path), list | tuple | dict)
    ]
    assert len(leaves) > 60
    for path in leaves:
        parent = value_at(content, path[:-1])
        if isinstance(parent, tuple):
            value_at(content, path[:-2])[path[-2]] = [Foreign()] * len(parent)
        else:
            parent[path[-1]] = Foreign()
    lines = (complaint(content) or '').splitlines()
    assert {line.split()[0] for line in lines} == set(map(dotted, leaves))


def kind(value: Any) -> str:
    if isinstance(value, list | tuple):
        return 'list'
    return 'number' if type(value) in (int, float) else type(value).__name__


# Places that take several kinds, of the many that take one.
SEVERAL = {
    'log_level': ['number'],
    'resume': ['str'],
    'prob': ['list'],
    'save_best': ['list'],
    'rule': ['list'],
    'param_scheduler': ['dict'],
    'val_evaluator': ['list'],
    'test_evaluator': ['list'],
    'vis_backends': ['dict'],
    'transforms': [],
    'scale': [],
}


@profiles(quick=100, long=10_000)
def test_values_of_another_kind_are_refused(profile: Any) -> None:
    @profile
    @given(places, values)
    def check(place: tuple[str, Path_], value: Any) -> None:
        name, path = place
        old = value_at(CONTENTS[name], path)
        message = complaint(changed(name, path, value))
        if message is not None:
            # Here and nowhere else; a list may be refused as a whole.
            lines = message.splitlines()
            assert all(line.startswith(dotted(path[:-1])) for line in lines)
            assert all(len(line) < 400 for line in lines)
        of_own_kind = kind(value) == kind(old) or kind(value) in SEVERAL.get(str(path[-1]), [])
        if value is None or old is None or of_own_kind:
            return
        if isinstance(path[-1], int) and isinstance(old, dict | list | tuple):
            return  # a step of a pipeline may be any callable
        assert message is not None, (path, value)

    check()


@profiles(quick=150, long=10_000)
def test_what_is_typed_on_the_command_line(profile: Any) -> None:
    """Any text is a value, or an error of the parser that shows it."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_cfg_options(parser)
    brackets = st.text(st.sampled_from('()[],"\'= a1.'), max_size=12)
    printed: list[str] = []
    parser.error = printed.append  # type: ignore[assignment,method-assign]

    @profile
    @given(st.lists(brackets | text.map(lambda value: f'a.b={value}'), min_size=1, max_size=3))
    def check(values: list[str]) -> None:
        printed.clear()
        namespace = parser.parse_args(['--cfg-options', *(f'x{value}' for value in values)])
        broken = [message for message in printed if 'takes key=value' in message]
        keys = {value.partition('=')[0] for value in values if '=' in value}
        assert len(namespace.cfg_options or {}) <= len(keys)
        assert len(broken) >= sum('=' not in value for value in values)

    check()


@pytest.mark.parametrize('value', ['x', 'a=[(1,2]', 'a=' + '[' * 2000 + ']' * 2000])
def test_broken_options_end_with_the_usage(value: str, capsys: Any) -> None:
    parser = argparse.ArgumentParser()
    add_cfg_options(parser)
    with pytest.raises(SystemExit, match='2'):
        parser.parse_args(['--cfg-options', 'good=1', value])
    assert '--cfg-options takes key=value, brackets in pairs, not' in capsys.readouterr().err


class StartedError(Exception):
    """Training has begun."""


@pytest.fixture
def start(tmp_path: Path, monkeypatch: Any) -> Any:
    """Runs a changed demo up to the first step."""

    def train_step(*_: Any, **__: Any) -> None:
        raise StartedError

    monkeypatch.setattr(DETR, 'train_step', train_step)

    def run(key: str, value: Any) -> None:
        config = Config.fromfile(DEMO)
        quick = {
            'train_dataloader.dataset.num_images': 4,
            'val_dataloader.dataset.num_images': 4,
            'train_dataloader.num_workers': 0,
            'train_dataloader.persistent_workers': False,
            'val_dataloader.num_workers': 0,
            'val_dataloader.persistent_workers': False,
            key: value,
        }
        config.merge_from_dict(quick)
        config.work_dir = str(tmp_path)
        config.experiment_name = config.visualizer.name = f'{tmp_path}_{key}_{value}'
        DetectionRunner.from_cfg(config).train()

    return run


# More limits: tests/test_utils/test_arguments.py.
OUT_OF_RANGE = [
    ('model.bbox_head.num_queries', 0, 'num_queries of DETRHead must be 1 or more, not 0'),
    ('train_dataloader.batch_size', 0, 'train_dataloader.batch_size must be a whole number of 1'),
    ('train_cfg.max_epochs', -1, 'train_cfg.max_epochs must be a number of 1 to'),
    ('train_cfg.max_epochs', 1.5, '`max_epochs` should be a integer number, but get 1.5'),
    ('train_cfg.val_interval', 0, 'val_interval of train_cfg must be 1 or more, not 0'),
    ('optim_wrapper.optimizer.lr', -1.0, 'optimizer.lr must be a number of 0 or more, not -1.0'),
]


@pytest.mark.parametrize(('key', 'value', 'message'), OUT_OF_RANGE)
def test_values_out_of_range_do_not_start(start: Any, key: str, value: Any, message: str) -> None:
    with pytest.raises((AssertionError, TypeError, ValueError), match=message):
        start(key, value)


def test_good_values_start(start: Any) -> None:
    with pytest.raises(StartedError):
        start('model.bbox_head.num_queries', 7)
