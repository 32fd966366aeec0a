"""A run on the console: plain lines, a terminal, warnings, and a log file that is as it was."""

import io
import logging
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from mmengine.hooks import Hook

from mmdetr.engine import DetectionRunner
from mmdetr.engine.console_handler import ConsoleHandler
from mmdetr.utils import console as module
from mmdetr.utils.console import Console
from tests.helpers.toy import toy_config

pytestmark = pytest.mark.filterwarnings('ignore:.*instance named of')
HEADER = [
    'run',
    'config',
    'train',
    'val',
    'model',
    'batch',
    'schedule',
    'weights',
    'unusual',
    'log',
]


class Terminal(io.StringIO):
    encoding = 'utf-8'

    def isatty(self) -> bool:
        return True


class Warn(Hook):
    """Warn at every iteration, fail at the last of the second epoch if asked to."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails

    def after_train_iter(self, runner: Any, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        runner.logger.warning(f'{runner.iter} objects are too small')
        if self.fails and runner.iter == 8:
            raise RuntimeError('broken')


def build(folder: Path, *hooks: Hook, quiet: bool = False, **changes: Any) -> DetectionRunner:
    config = toy_config(folder, **changes)
    config.console = dict(quiet=quiet)
    config.default_hooks.logger = dict(type='LoggerHook', interval=2)
    runner: Any = DetectionRunner.from_cfg(config)
    for hook in hooks:
        runner.register_hook(hook)
    return runner


def messages(folder: Path) -> list[str]:
    """Lines of the log file without times, numbers and what comes of the `console` key."""
    (path,) = folder.glob('*/*.log')
    lines = path.read_text().splitlines()
    kept = [line for line in lines if not re.search('console|quiet|ConsoleHook|name', line)]
    return [re.sub(r'[\d.]+(e-\d+)?|[0-9a-f]{32}', '#', line) for line in kept]


def test_plain_lines(tmp_path: Path, capsys: Any) -> None:
    build(tmp_path).train()
    lines = capsys.readouterr().out.splitlines()
    assert not any('\x1b' in line for line in lines)
    start = next(i for i, line in enumerate(lines) if line.startswith('run '))
    assert [line.split()[0] for line in lines[start : start + 10]] == HEADER
    assert start <= 5
    assert 'train    20 images in 5 batches of 4; 3 classes: circle, square, triangle' in lines
    assert 'schedule 4 epochs = 20 iterations' in '\n'.join(lines)
    rows = [line.split() for line in lines if re.match(r' +\d+ ', line)]
    assert [row[0] for row in rows] == ['1', '2', '3', '4']
    assert all(row[-3:-1] == ['toy:', 'score'] or row[-4:-2] == ['toy:', 'score'] for row in rows)
    assert lines[-1].startswith('trained in 0:0')
    assert lines[-1].endswith('.pth')
    assert len(lines) < 25
    assert max(map(len, lines[start:-1])) < 110


def test_the_log_file_is_as_without_console(tmp_path: Path) -> None:
    build(tmp_path / 'new').train()
    config = toy_config(tmp_path / 'old')
    config.default_hooks.logger = dict(type='LoggerHook', interval=2)
    DetectionRunner.from_cfg(config).train()
    new, old = messages(tmp_path / 'new'), messages(tmp_path / 'old')
    assert any('Epoch(train)' in line for line in new)
    assert any('System environment' in line for line in new)

    # Folders differ, and the table of hooks has a place more.
    def comparable(lines: list[str]) -> list[str]:
        return [line.replace('/new', '/old') for line in lines]

    assert comparable(new) == comparable(old)


def test_a_terminal_has_a_bar(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setenv('COLUMNS', '90')
    monkeypatch.setattr(module, 'TERMINAL_SECONDS', 0)
    stream = Terminal()
    monkeypatch.setattr(sys, 'stdout', stream)
    build(tmp_path).train()
    plain = re.sub(r'\x1b\[[0-9;?]*[A-Za-z]', '', stream.getvalue())
    states = [line.strip() for line in re.split(r'[\r\n]+', plain)]
    bars = [line for line in states if line.startswith('epoch 4/4')]
    assert '100%' in bars[-1]
    for figure in ('loss 0.', 'score -0.', 'ETA 0:00', 'img/s', 'lr '):
        assert figure in bars[-1]
    assert any(line.startswith('validation') for line in states)
    assert any(line.startswith('trained in') for line in states)


def test_warnings_are_counted_not_repeated(tmp_path: Path, capsys: Any) -> None:
    build(tmp_path, Warn()).train()
    out = capsys.readouterr().out
    assert out.count('warning: 0 objects are too small') == 1
    assert out.count('too small') == 2
    assert '20 times, warning: 19 objects are too small' in out


def test_frozen_parameters_are_in_the_file_alone(capsys: Any) -> None:
    handler = ConsoleHandler(Console())
    for name in ('backbone.conv1.weight', 'head'):
        text = f'{name} is skipped since its requires_grad=False'
        handler.emit(logging.makeLogRecord(dict(levelno=logging.WARNING, msg=text)))
    handler.emit(logging.makeLogRecord(dict(levelno=logging.WARNING, msg='x is skipped')))
    assert capsys.readouterr().out.count('is skipped') == 1
    assert not handler.repeats()


def test_a_failure_ends_the_bar(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setattr(module, 'TERMINAL_SECONDS', 0)
    stdout = sys.stdout
    stream = Terminal()
    monkeypatch.setattr(sys, 'stdout', stream)
    runner = build(tmp_path, Warn(fails=True))
    with pytest.raises(RuntimeError, match='broken'):
        runner.train()
    assert runner.console is not None
    assert runner.console._bar is None
    assert sys.stdout is stream  # rich puts something in its place while a bar moves
    assert stream is not stdout


def test_quiet(tmp_path: Path, capsys: Any) -> None:
    build(tmp_path, Warn(), quiet=True).train()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'warning: 0 objects are too small'
    assert lines[1].startswith('trained in')
    assert len(lines) == 2


def test_what_is_unusual(tmp_path: Path, capsys: Any) -> None:
    changes = dict(
        auto_scale_lr=dict(base_batch_size=16, enable=False),
        optim_wrapper__accumulative_counts=2,
        randomness__seed=None,
        train_dataloader__sampler__shuffle=False,
        train_cfg__max_epochs=1,
        custom_hooks=[dict(type='EMAHook')],
    )
    build(tmp_path, **changes).train()
    lines = capsys.readouterr().out.splitlines()
    assert 'batch    4 images x 2 accumulated; AdamW, learning rate 0.01' in lines
    (unusual,) = (line for line in lines if line.startswith('unusual'))
    assert unusual.startswith(
        'unusual  the learning rate is for 16 images per step, these are 8 (--auto-scale-lr); '
        'averaged weights (EMA); drawn seed '
    )
    assert unusual.endswith('; training data are not shuffled')


def test_iterations(tmp_path: Path, capsys: Any) -> None:
    build(tmp_path, by_epoch=False).train()
    out = capsys.readouterr().out
    assert 'schedule 20 iterations' in out
    rows = [line.split()[0] for line in out.splitlines() if re.match(r' +\d+ ', line)]
    assert rows == ['5', '10', '15', '20']


def test_validation_alone(tmp_path: Path, capsys: Any) -> None:
    build(tmp_path).val()
    out = capsys.readouterr().out
    assert 'data     20 images in 5 batches of 4' in out
    assert 'weights  random' in out
    assert 'toy: score -' in out
