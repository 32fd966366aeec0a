"""What all tools have in common: answers without the slow imports, and errors of one line."""

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mmdetr.checkpoint import writable_formats

# mmengine keeps its singletons by the second in which a run began.
pytestmark = pytest.mark.filterwarnings('ignore:.*instance named of')

ROOT = Path(__file__).parents[2]
TOOLS = sorted(str(path.relative_to(ROOT / 'tools')) for path in (ROOT / 'tools').rglob('*.py'))
CONVERT = 'convert_checkpoint.py'
CONVERT_DATA = 'dataset/convert.py'
REPORT = 'analysis/report.py'  # says in its page what it cannot read
SHOW_IMAGES = ('infer.py', 'analysis/attention.py')
READ_CONFIGS = [name for name in TOOLS if name not in (CONVERT, CONVERT_DATA, REPORT)]
TAKE_OPTIONS = [name for name in READ_CONFIGS if name not in ('infer.py', 'serve.py')]
READ_CHECKPOINTS = [
    name
    for name in TOOLS
    if not name.startswith('dataset/') and name not in ('analysis/model_complexity.py', REPORT)
]
DEMO = str(ROOT / 'configs' / 'detr_tiny_1xb32-12e_shapes.py')
# Runs a tool and prints, whatever it does, which of the slow modules it has loaded.
PROBE = """
import atexit, runpy, sys
slow = ('matplotlib', 'mmengine', 'numpy', 'torch')
atexit.register(lambda: print('loaded:', *(name for name in slow if name in sys.modules)))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def arguments_of(name: str, config: Any, checkpoint: Any) -> list[str]:
    """What a tool needs at least."""
    if name == CONVERT:
        return [str(checkpoint), '--inspect']
    if name == CONVERT_DATA:
        return [str(config), 'out']
    if name == REPORT:
        return ['.', '--config', str(config), '--checkpoint', str(checkpoint)]
    if name in SHOW_IMAGES:
        return ['image.png', str(config), str(checkpoint)]
    if name == 'train.py':
        return [str(config), '--resume', str(checkpoint)]
    return [str(config), *([str(checkpoint)] if name in READ_CHECKPOINTS else [])]


def fresh(name: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    """Runs a tool in a process of its own, with the probe."""
    return subprocess.run(
        [sys.executable, '-c', PROBE, str(ROOT / 'tools' / name), *arguments],
        cwd=cwd,
        env=os.environ | {'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def error_of(tmp_path: Path, monkeypatch: Any, capsys: Any) -> Any:
    """Runs a tool in an empty folder until it ends; the exit code and what it says of its error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')

    def run(name: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, 'argv', [name, *arguments])
        with pytest.raises(SystemExit) as caught:
            runpy.run_path(str(ROOT / 'tools' / name), run_name='__main__')
        message = caught.value.code
        assert isinstance(message, str), capsys.readouterr().err
        assert message.startswith('error: ')
        assert '\n' not in message
        return message

    return run


def test_all_tools_are_seen() -> None:
    assert len(TOOLS) == 14
    assert 'dataset/check.py' in TOOLS


@pytest.mark.parametrize('name', TOOLS)
def test_help_loads_nothing_slow(name: str, tmp_path: Path) -> None:
    done = fresh(name, '--help', cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.startswith('usage: ')
    assert done.stdout.splitlines()[-1] == 'loaded:'


@pytest.mark.parametrize('name', TOOLS)
def test_errors_in_the_arguments_load_nothing_slow(name: str, tmp_path: Path) -> None:
    done = fresh(name, '--nonsense', cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith('usage: ')
    assert done.stdout == 'loaded:\n'
    done = fresh(name, *arguments_of(name, 'none.py', 'none.pth'), cwd=tmp_path)
    assert done.returncode == 1
    if name == CONVERT_DATA:  # which has to look first
        assert done.stderr.startswith('error: none.py')
        return
    missing = 'checkpoint not found: none.pth' if name == CONVERT else 'config not found: none.py'
    assert done.stderr == f'error: {missing}\n'
    assert done.stdout == 'loaded:\n'


@pytest.mark.parametrize('name', TAKE_OPTIONS)
def test_options_that_are_none(name: str, tmp_path: Path) -> None:
    arguments = arguments_of(name, DEMO, DEMO)
    done = fresh(name, *arguments, '--cfg-options', 'foo', cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(
        "error: --cfg-options takes key=value, brackets in pairs, not 'foo'"
    )
    assert 'Traceback' not in done.stderr
    assert 'torch' not in done.stdout


@pytest.mark.parametrize('name', READ_CONFIGS)
@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('model = dict(\n)\nmodel = = 1', 'cannot read the config {path}, line 3: SyntaxError: '),
        ('a = 1\nb = c', "cannot read the config {path}, line 2: NameError: name 'c' is not"),
        ('a = \0', 'cannot read the config {path}'),
        (
            "custom_imports = dict(imports=['nowhere_to_be_found'])",
            "cannot read the config {path}: ModuleNotFoundError: No module named 'nowhere_to",
        ),
        ("_base_ = 'none.py'", 'cannot read the config {path}: its base {folder}/none.py is miss'),
        (
            "_base_ = 'broken.py'",
            'cannot read the config {path}, in its base {folder}/broken.py, line 2: SyntaxError: ',
        ),
        ('own = 1', '{path} has no model'),
        (f"_base_ = {DEMO!r}\nresume = 'no'", 'resume must be True or False'),
    ],
    ids=['syntax', 'name', 'null', 'import', 'no base', 'broken base', 'empty', 'type'],
)
def test_broken_configs(
    tmp_path: Path, error_of: Any, name: str, content: str, message: str
) -> None:
    path = tmp_path / 'child.py'
    path.write_text(content)
    (tmp_path / 'broken.py').write_text('a = 1\nb = (\n')
    error = error_of(name, *arguments_of(name, path, path))
    assert error.startswith('error: ' + message.format(path=path, folder=tmp_path))


@pytest.mark.parametrize('name', READ_CONFIGS)
def test_configs_that_are_no_python_file(tmp_path: Path, error_of: Any, name: str) -> None:
    (tmp_path / 'a.json').write_text('[1]')
    (tmp_path / 'a.txt').write_text('model = 1')
    for path in ('a.json', 'a.txt'):
        error = error_of(name, *arguments_of(name, path, path))
        assert error.startswith(f'error: cannot read the config {path}: ')
    if name == 'train.py':
        return  # a folder of data
    error = error_of(name, *arguments_of(name, tmp_path, DEMO))
    assert error == f'error: config cannot be read: {tmp_path}: Is a directory'


@pytest.mark.parametrize('name', READ_CHECKPOINTS)
def test_checkpoints_that_are_none(tmp_path: Path, error_of: Any, name: str) -> None:
    error = error_of(name, *arguments_of(name, DEMO, 'none.pth'))
    assert error == 'error: checkpoint not found: none.pth'
    error = error_of(name, *arguments_of(name, DEMO, tmp_path))
    assert error == f'error: checkpoint cannot be read: {tmp_path}: Is a directory'
    broken = tmp_path / 'broken.pth'
    broken.write_bytes(b'PK\3\4 nothing that torch or safetensors write')
    if name in SHOW_IMAGES:
        (tmp_path / 'image.png').touch()
    assert str(broken) in error_of(name, *arguments_of(name, DEMO, broken))


@pytest.mark.parametrize('name', ['test.py', 'infer.py', 'analysis/decoder_layers.py'])
def test_configs_without_test_data(tmp_path: Path, error_of: Any, name: str) -> None:
    path = tmp_path / 'child.py'
    path.write_text(f'_base_ = {DEMO!r}\ntest_dataloader = None')
    assert error_of(name, *arguments_of(name, path, path)) == (
        f'error: {path} has no test_dataloader'
    )


def test_missing_weights_to_start_from(error_of: Any) -> None:
    for path in ('none.pth', '.'):
        error = error_of('train.py', DEMO, '--cfg-options', f'load_from={path}')
        assert error.startswith('error: checkpoint ')
        assert f': {path}' in error


def test_formats_of_the_converter(error_of: Any) -> None:
    error = error_of(CONVERT, str(ROOT / 'README.md'), 'out.pth', '--to', 'word')
    assert error == f'error: --to must be one of {", ".join(writable_formats())}'
