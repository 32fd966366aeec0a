"""The package built, installed in a folder of its own and used from another one."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('setuptools', minversion='70.1')  # which builds wheels by itself
pytest.importorskip('pip')

ROOT = Path(__file__).parents[1]
CHILD = """
_base_ = 'mmdetr::detr_tiny_1xb32-12e_shapes.py'
loading = dict(batch_size=2, num_workers=0, persistent_workers=False)
train_dataloader = dict(**loading, dataset=dict(num_images=2))
val_dataloader = test_dataloader = dict(**loading, dataset=dict(num_images=2))
train_cfg = dict(max_epochs=1)
"""


def run(*command: Any, **options: Any) -> str:
    done = subprocess.run(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        **options,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope='module')
def wheel(tmp_path_factory: Any) -> Path:
    folder = tmp_path_factory.mktemp('wheel')
    # A copy, so that nothing is built into the checkout.
    source = folder / 'source'
    source.mkdir()
    for name in ('LICENSE', 'README.md', 'MANIFEST.in', 'pyproject.toml', 'setup.py'):
        (source / name).write_bytes((ROOT / name).read_bytes())
    for name in ('configs', 'mmdetr', 'requirements', 'tools'):
        (source / name).symlink_to(ROOT / name)
    pip = (sys.executable, '-m', 'pip', '-q', '--disable-pip-version-check')
    run(*pip, 'wheel', '--no-deps', '--no-build-isolation', '-w', folder, source)
    (file,) = folder.glob('*.whl')
    run(*pip, 'install', '--no-deps', '--no-index', '--target', folder / 'site', file)
    return file


@pytest.fixture
def mmdetr(wheel: Path, tmp_path: Path) -> Any:
    """Runs the installed console command in an empty folder."""
    site = wheel.parent / 'site'
    env = dict(os.environ, PYTHONPATH=str(site), OMP_NUM_THREADS='1')

    def command(*words: Any) -> str:
        return run(sys.executable, site / 'bin' / 'mmdetr', *words, cwd=tmp_path, env=env)

    return command


def test_holds_configs_and_tools(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert not any('__pycache__' in name for name in names)
    for folder in ('configs', 'tools'):
        files = [file for file in (ROOT / folder).rglob('*') if file.suffix in ('.py', '.sh')]
        expected = {f'mmdetr/.mim/{file.relative_to(ROOT).as_posix()}' for file in files}
        assert expected <= set(names)
        assert len(expected) > 8
    pages = {f'mmdetr/serving/pages/{name}.html' for name in ('index', 'docs')}
    assert pages <= set(names)
    assert {'mmdetr/recipes/measured.json', 'mmdetr/zoo/models.json'} <= set(names)


def test_lists_configs(mmdetr: Any) -> None:
    names = mmdetr('configs').split()
    assert {'detr_r50_8xb2-150e_coco', 'detr_tiny_1xb32-12e_shapes'} <= set(names)


def test_trains_a_child_of_a_packaged_config(mmdetr: Any, tmp_path: Path) -> None:
    (tmp_path / 'child.py').write_text(CHILD)
    mmdetr('train', 'child.py')
    assert (tmp_path / 'work_dirs' / 'child' / 'epoch_1.pth').is_file()
