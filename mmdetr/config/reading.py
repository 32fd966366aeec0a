"""Reading config files, those of the package by name included."""

import functools
import os
import threading
import traceback
from typing import Any

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

from . import yaml_files  # noqa: F401  YAML configs run nothing
from .package_configs import PREFIX, closest_configs, find_config

_NOTHING_READ = ('_file2dict', '_is_lazy_import', '_parse_lazy_import')


class ConfigError(ValueError):
    """A config file that cannot be read; in one line, with the file and the line to blame."""


def load_config(config: str | os.PathLike) -> Config:
    """Read a config: a file, or one of the package's by name, see :func:`find_config`.

    In the file, and in the files it names, ``_base_ = 'mmdetr::detr_r50_8xb2-150e_coco.py'`` is a
    config of the package.

    Raises:
        FileNotFoundError: There is no such config; the message has the closest names.
        ConfigError: The file, or one that it builds on, is no config.
    """
    path = find_config(os.fspath(config))
    file = os.path.expanduser(path)
    if not os.path.exists(file):
        raise FileNotFoundError(f'config not found: {path}{closest_configs(path)}')
    if not os.path.isfile(file):
        kind = 'a folder' if os.path.isdir(file) else 'no regular file'
        raise ConfigError(f'cannot read the config {path}: it is {kind}')
    try:
        return Config.fromfile(path)
    except Exception as error:  # a config is a program: it may fail in any way
        raise ConfigError(_reading_error(path, error)) from error


def _reading_error(path: str, error: BaseException) -> str:
    """In one line, why a config cannot be read, with the base file and the line to blame."""
    # mmengine wraps the error that has the name of the missing module.
    while isinstance(error, ImportError) and isinstance(error.__context__, ImportError):
        error = error.__context__
    own = os.path.abspath(os.path.expanduser(path))
    file, line = own, getattr(error, 'lineno', None)
    for frame, number in traceback.walk_tb(error.__traceback__):
        # mmengine reads a base file while it reads the child.
        if frame.f_code.co_name in _NOTHING_READ and 'filename' in frame.f_locals:
            file = os.path.abspath(os.path.expanduser(frame.f_locals['filename']))
        elif frame.f_code.co_filename == file:
            line = number
    place = path if file == own else f'{path}, in its base {file}'
    if line is not None:
        place += f', line {line}'
    reason = f'{type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else error}'
    if isinstance(error, ConfigError):
        reason = str(error)
    elif isinstance(error, AttributeError) and not file.endswith('.py'):
        reason = 'it has no settings by name'
    return f'cannot read the config {place}: {" ".join(reason.split())}'


class _BeingRead(threading.local):
    """The files that a thread is reading, each the base of the one before."""

    def __init__(self) -> None:
        self.files: list[str] = []


_being_read = _BeingRead()


def _refuse_cycles(name: str) -> None:
    """Let mmengine's reader of one file, which calls itself for each base, find cycles at once."""
    plain = getattr(Config, name)

    @functools.wraps(plain)
    def read(filename: str, *args: Any, **kwargs: Any) -> Any:
        files, file = _being_read.files, os.path.realpath(os.path.expanduser(filename))
        if file in files:
            cycle = [*files[files.index(file) :], file]
            raise ConfigError(f'its bases go round in a circle: {" -> ".join(cycle)}')
        files.append(file)
        try:
            return plain(filename, *args, **kwargs)
        finally:
            files.pop()

    setattr(Config, name, staticmethod(read))


def _accept_package_bases() -> None:
    """Let mmengine find ``mmdetr::NAME`` in ``_base_``, and name what is no base.

    Its own search wants a folder before the name, an index of models and setuptools' pkg_resources,
    which is gone from newer versions. Other names are left to it.
    """
    MODULE2PACKAGE.setdefault('mmdetr', 'mmdetr')
    plain = Config._get_cfg_path

    @functools.wraps(plain)
    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if not isinstance(cfg_path, str):
            raise ConfigError(f'_base_ must be a file or a list of files, not {cfg_path!r}')
        if cfg_path.startswith(PREFIX):
            return find_config(cfg_path), None
        path, scope = plain(cfg_path, filename)
        if not os.path.isfile(os.path.expanduser(path)):
            kind = 'no file' if os.path.exists(path) else 'missing'
            raise ConfigError(f'its base {path} is {kind}')
        return path, scope

    Config._get_cfg_path = staticmethod(get_cfg_path)


# mmengine goes from base to base by itself, so its methods are wrapped, once and for all: that is
# the same in every thread.
_accept_package_bases()
_refuse_cycles('_file2dict')
_refuse_cycles('_parse_lazy_import')
