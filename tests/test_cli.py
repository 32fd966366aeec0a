"""The console command."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mmdetr import cli

ROOT = Path(__file__).parents[1]


@pytest.fixture
def mmdetr(monkeypatch: Any) -> Any:
    def command(*words: str) -> Any:
        monkeypatch.setattr(sys, 'argv', ['mmdetr', *words])
        monkeypatch.setitem(sys.modules, '__main__', sys.modules['__main__'])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code

    return command


def test_every_tool_has_a_command(mmdetr: Any, capsys: Any) -> None:
    files = {file for file, _ in cli.COMMANDS.values() if file}
    tools = {path.relative_to(ROOT / 'tools').as_posix() for path in ROOT.glob('tools/**/*.py')}
    assert files == tools
    for name, (file, _) in cli.COMMANDS.items():
        if file:
            assert mmdetr(*name.split(), '--help') == 0
            assert capsys.readouterr().out.startswith(f'usage: mmdetr {name} ')


def test_lists(monkeypatch: Any, capsys: Any) -> None:
    for what, line in (('configs', 'detr_r50_16xb4-500e_coco'), ('models', 'detr-r50 ')):
        monkeypatch.setattr(sys, 'argv', ['mmdetr', what])
        cli.main()
        assert any(each.startswith(line) for each in capsys.readouterr().out.splitlines())
    monkeypatch.setenv('MMDETR_MODELS', 'missing.json')
    with pytest.raises(SystemExit, match=r'error: cannot read the index of models missing\.json'):
        cli.main()


def test_no_such_command(mmdetr: Any, capsys: Any) -> None:
    assert 'error: no such command: trian a.py' in mmdetr('trian', 'a.py')
    assert 'error: no such command: dataset' in mmdetr('dataset')
    assert mmdetr() == 2
    assert mmdetr('--help') == 0
    assert 'usage: mmdetr COMMAND' in capsys.readouterr().out


@pytest.mark.parametrize(
    'words', [['--help'], ['train', '--help'], ['serve', '--help'], ['train', 'detr_r5']]
)
def test_answers_at_once(words: list[str]) -> None:
    code = f"""
import sys
sys.argv = ['mmdetr', *{words!r}]
from mmdetr import cli
try:
    cli.main()
finally:
    assert not {{'torch', 'mmengine', 'numpy'}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert 'usage: ' in done.stdout or 'has detr_r50' in done.stderr
    assert 'Traceback' not in done.stderr
