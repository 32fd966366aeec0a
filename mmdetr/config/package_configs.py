"""The configs and tools that come with the package, wherever it is installed.

Imports nothing slow. A wheel has them below ``mmdetr/.mim``, where mmengine and mim look for them;
a checkout has them at its root.
"""

import difflib
from functools import cache
from pathlib import Path

PREFIX = 'mmdetr::'
_PACKAGE = Path(__file__).parents[1]


def package_folder(name: str) -> Path:
    """The folder ``'configs'`` or ``'tools'`` of the installed package or of the checkout."""
    installed = _PACKAGE / '.mim' / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


@cache
def package_configs() -> dict[str, Path]:
    """The package's configs by name, without suffix; parts of configs have no name of their own."""
    files = sorted(package_folder('configs').rglob('*.py'))
    return {file.stem: file for file in files if '_base_' not in file.parts}


def find_config(config: str) -> str:
    """The file that a user's word for a config means.

    Args:
        config: A file; else the name of one of the package's configs, with or without ``.py``, as
            ``detr_tiny_1xb32-12e_shapes``; or ``mmdetr::`` and such a name or the path of a file in
            the package's folder of configs, as ``mmdetr::_base_/default_runtime.py``.

    Returns:
        A path, or what was given if it names no config of the package.

    Raises:
        FileNotFoundError: ``mmdetr::`` leads nowhere; the message has the closest names.
    """
    if config.startswith(PREFIX):
        return _find_in_package(config.removeprefix(PREFIX))
    # A path with folders says where the file is; another file of that name is not meant.
    if '/' in config or '\\' in config or Path(config).is_file():
        return config
    return str(package_configs().get(config.removesuffix('.py'), config))


def closest_configs(config: str) -> str:
    """A hint with the package's configs whose names are like that of a missing one, or ''."""
    name = config.rpartition('/')[2].removesuffix('.py')
    longer = [each for each in package_configs() if name and each.startswith(name)]
    close = sorted(longer, key=len)[:3] or difflib.get_close_matches(name, package_configs(), n=3)
    return f'; the package has {" and ".join(close)}' if close else ''


def _find_in_package(name: str) -> str:
    root = package_folder('configs')
    file = root / name
    if file.is_file() and root in file.resolve().parents:
        return str(file)
    if '/' not in name and (found := package_configs().get(name.removesuffix('.py'))):
        return str(found)
    hint = closest_configs(name)
    raise FileNotFoundError(f'{PREFIX}{name}: the package has no such config in {root}{hint}')
