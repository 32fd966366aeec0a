"""What pip is told to install."""

import runpy
import sysconfig
from pathlib import Path
from typing import Any

import pytest

setuptools = pytest.importorskip('setuptools')
SETUP = Path(__file__).parents[1] / 'setup.py'


def requirements(environment: Path, monkeypatch: Any) -> set[str]:
    """Names of the packages that setup.py asks for in an environment."""
    found: dict = {}
    monkeypatch.setattr(setuptools, 'setup', lambda **arguments: found.update(arguments))
    monkeypatch.setattr(sysconfig, 'get_path', lambda name: str(environment))
    runpy.run_path(str(SETUP))
    return {line.split('>')[0] for line in found['install_requires']}


@pytest.mark.parametrize(
    ('installed', 'left_out'),
    [
        ('numpy', set()),
        ('mmcv', {'mmcv-lite'}),
        ('mmcv-lite', set()),
        ('mmengine', set()),
        ('onedl_mmengine', {'mmengine'}),
        ('onedl-mmcv', {'mmcv-lite'}),
    ],
)
def test_what_is_installed_under_another_name_is_left_out(
    tmp_path: Path, monkeypatch: Any, installed: str, left_out: set
) -> None:
    plain = requirements(tmp_path / 'empty', monkeypatch)
    assert {'mmcv-lite', 'mmengine', 'torch'} <= plain
    info = tmp_path / f'{installed.replace("-", "_")}-1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {installed}\nVersion: 1.0\n')
    assert plain - requirements(tmp_path, monkeypatch) == left_out
