"""What a resumed run does otherwise than the run that wrote its checkpoint."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmdetr.checkpoint.config_text import parse_config
from mmdetr.config.schema import RunConfig
from mmdetr.config.type_hints import join
from mmdetr.datasets.wrappers import leaf_datasets
from mmdetr.utils.files import hash_file

# Where the run is kept and how it is shown changes nothing in it, and neither does testing.
_ELSEWHERE = {
    'work_dir',
    'load_from',
    'resume',
    'launcher',
    'experiment_name',
    'visualizer',
    'log_level',
    'console',
    'log_processor',
    'env_cfg',
    'test_dataloader',
    'test_cfg',
    'test_evaluator',
    'randomness',  # the seed of the checkpoint goes on, which is said where it does
}
# Samples do not depend on who loads them.
_LOADING = {'num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor'}
_ABSENT = object()


def config_differences(saved_text: Any, config: Config) -> list[str] | None:
    """Say which values of a config differ from those a checkpoint was trained with.

    Args:
        saved_text: The config's text in the checkpoint.
        config: The config of the run.

    Returns:
        A line for each value; None where the text cannot be read.
    """
    saved, present = parse_config(saved_text), parse_config(config.pretty_text)
    if not saved or not present:
        return None
    lines = []
    for key in RunConfig.__annotations__:
        if key in _ELSEWHERE:
            continue
        for path, old, new in _differences(saved.get(key), present.get(key), key):
            lines.append(f'{path}: {_show(new)} from now on, {_show(old)} in the checkpoint')
    return lines


def _differences(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Paths at which two values differ, with what is there, as far inside as it can be told."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            if key in _LOADING and path.endswith('dataloader'):
                continue
            yield from _differences(old.get(key, _ABSENT), new.get(key, _ABSENT), join(path, key))
    elif isinstance(old, list) and isinstance(new, list) and _alike(old, new):
        for index, (first, second) in enumerate(zip(old, new, strict=True)):
            yield from _differences(first, second, join(path, index))
    elif old != new or (type(old) is not type(new) and not _both_numbers(old, new)):
        yield path, old, new


def _alike(old: list, new: list) -> bool:
    """Whether two lists of components have the same ones in the same order."""
    if len(old) != len(new) or not all(isinstance(item, Mapping) for item in [*old, *new]):
        return False
    return [item.get('type') for item in old] == [item.get('type') for item in new]


def _both_numbers(old: Any, new: Any) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in (old, new))


def _show(value: Any) -> str:
    if value is _ABSENT:
        return 'nothing'
    if isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
        return '[' + ', '.join(str(item.get('type', 'dict')) for item in value) + ']'
    text = ' '.join(repr(value).split())
    return text if len(text) <= 120 else f'{text[:117]}...'


def data_file_hashes(datasets: Mapping[str, Any]) -> dict[str, str]:
    """Hash the annotation files of datasets by content.

    Args:
        datasets: Datasets or wrappers of them, by the key that the config has them at.

    Returns:
        Hexadecimal digests by key; with a number for each dataset inside of a wrapper.
    """
    hashes = {}
    for key, dataset in datasets.items():
        leaves = leaf_datasets(dataset)
        for index, leaf in enumerate(leaves):
            path = getattr(leaf, 'ann_file', None)
            if not isinstance(path, str | Path) or not Path(path).is_file():
                continue
            name = key if len(leaves) == 1 else f'{key}.datasets.{index}'
            hashes[f'{name}.ann_file'] = hash_file(path, hashlib.blake2b(digest_size=16))
    return hashes


def changed_data_files(saved: Any, present: Mapping[str, str]) -> list[str]:
    """Say which annotation files have another content than when the checkpoint was written."""
    if not isinstance(saved, Mapping):
        return []
    return [
        f'{key}: the content of the file has changed since the checkpoint was written; the run '
        'goes on with the new one'
        for key, digest in present.items()
        if key in saved and saved[key] != digest
    ]
