"""Reading config files, those of the package by name included."""

import functools
import os

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

from .package_configs import PREFIX, closest_configs, find_config


def load_config(config: str | os.PathLike) -> Config:
    """Read a config: a file, or one of the package's by name, see :func:`find_config`.

    In the file, and in the files it names, ``_base_ = 'mmdetr::detr_r50_8xb2-150e_coco.py'`` is a
    config of the package.

    Raises:
        FileNotFoundError: There is no such config; the message has the closest names.
    """
    path = find_config(os.fspath(config))
    if not os.path.exists(os.path.expanduser(path)):
        raise FileNotFoundError(f'config not found: {path}{closest_configs(path)}')
    return Config.fromfile(path)


def _accept_package_bases() -> None:
    """Let mmengine find ``mmdetr::NAME`` in ``_base_``.

    Its own search wants a folder before the name, an index of models and setuptools' pkg_resources,
    which is gone from newer versions. It goes from base to base by itself, so its method is
    wrapped, once and for all: that is the same in every thread. Other names are left to it.
    """
    MODULE2PACKAGE.setdefault('mmdetr', 'mmdetr')
    plain = Config._get_cfg_path

    @functools.wraps(plain)
    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if isinstance(cfg_path, str) and cfg_path.startswith(PREFIX):
            return find_config(cfg_path), None
        return plain(cfg_path, filename)

    Config._get_cfg_path = staticmethod(get_cfg_path)


_accept_package_bases()
