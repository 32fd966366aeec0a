"""What is written on a terminal, and what where there is none."""

import io
import os
import re
from typing import Any

import pytest

from mmdetr.utils import console as module
from mmdetr.utils.console import Console

CONTROL = re.compile(r'\x1b\[[0-9;?]*[A-Za-z]')


class Terminal(io.StringIO):
    """A stream that says it is one."""

    encoding = 'utf-8'

    def isatty(self) -> bool:
        return True


@pytest.fixture
def width(monkeypatch: Any) -> Any:
    monkeypatch.setenv('TERM', 'xterm-256color')
    return lambda columns: monkeypatch.setenv('COLUMNS', str(columns))


@pytest.fixture
def every_step(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, 'TERMINAL_SECONDS', 0)
    monkeypatch.setattr(module, 'PLAIN_SECONDS', (0, 0))


def figures() -> list[str]:
    return ['loss 1.234', 'AP 0.412', 'ETA 0:41', '215 img/s', 'lr 1.0e-04']


def shown(stream: io.StringIO) -> list[str]:
    """The states of the screen's lines, without what moves the cursor."""
    return [line.rstrip() for line in re.split(r'[\r\n]+', CONTROL.sub('', stream.getvalue()))]


@pytest.mark.usefixtures('every_step')
def test_no_control_codes_without_a_terminal() -> None:
    stream = io.StringIO()
    with Console(stream=stream) as console:
        console.say('begins', 'bold')
        console.say_pairs([('train', '20 images [bold]'), ('unusual', 'nothing')])
        console.progress('epoch 1/2', 3, 10, figures)
        console.alert('warning: a word', 'yellow')
    assert stream.getvalue().splitlines() == [
        'begins',
        'train    20 images [bold]',
        'unusual  nothing',
        'epoch 1/2  3/10  loss 1.234  AP 0.412  ETA 0:41  215 img/s  lr 1.0e-04',
        'warning: a word',
    ]


@pytest.mark.usefixtures('every_step')
@pytest.mark.parametrize(
    ('columns', 'last'), [(120, 'lr 1.0e-04'), (80, 'lr 1.0e-04'), (60, 'ETA 0:41')]
)
def test_the_bar_fits_into_a_line(width: Any, columns: int, last: str) -> None:
    """At 60 columns the least important figures are left out, nothing is cut."""
    width(columns)
    stream = Terminal()
    with Console(stream=stream) as console:
        for done in range(3):
            console.progress('epoch 1/2', done, 10, figures)
        console.alert('warning: a word')
    bars = [line for line in shown(stream) if line.startswith('epoch')]
    assert bars
    assert all(len(line) <= columns for line in bars)
    assert all(line.endswith(last) for line in bars)
    assert '20%' in bars[-1]
    assert 'warning: a word' in shown(stream)


def test_the_cursor_is_visible_while_the_bar_moves(width: Any) -> None:
    """`kill -9` leaves the terminal as it is at that moment."""
    width(80)
    stream = Terminal()
    console = Console(stream=stream)
    console.progress('epoch 1/2', 1, 10, figures, force=True)
    hidden, visible = stream.getvalue().rfind('\x1b[?25l'), stream.getvalue().rfind('\x1b[?25h')
    console.end_progress()
    assert -1 < hidden < visible


def test_quiet_and_muted(every_step: None) -> None:
    for arguments, expected in (
        (dict(quiet=True), ['result', 'alert']),
        (dict(muted=True), ['alert']),
    ):
        stream = io.StringIO()
        console = Console(stream=stream, **arguments)
        console.say('line')
        console.say_pairs([('label', 'value')])
        console.progress('epoch', 1, 2, figures)
        console.result('result')
        console.alert('alert')
        assert stream.getvalue().split() == expected


def test_progress_is_rare_without_a_terminal(monkeypatch: Any) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, 'monotonic', lambda: now[0])
    stream = io.StringIO()
    console = Console(stream=stream)
    for second in range(1, 601):
        now[0] = second
        console.progress('epoch', second, 600)
    steps = [int(line.split()[1].split('/')[0]) for line in stream.getvalue().splitlines()]
    assert steps[:3] == [10, 20, 30]
    assert steps[-2:] == [540, 600]


def test_a_character_that_the_stream_cannot_write() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding='ascii')
    Console(stream=stream).say('classes: 猫, dog')
    assert raw.getvalue() == b'classes: \\u732b, dog\n'


def test_a_closed_pipe_does_not_end_the_work() -> None:
    read, write = os.pipe()
    os.close(read)
    console = Console(stream=open(write, 'w'))  # noqa: SIM115
    for _ in range(3):
        console.say('nobody reads it')
        console.progress('epoch', 1, 2, force=True)


@pytest.mark.parametrize('term', ['dumb', ''])
def test_a_dumb_terminal_gets_lines(monkeypatch: Any, term: str) -> None:
    monkeypatch.setenv('TERM', term)
    stream = Terminal()
    Console(stream=stream).progress('epoch', 1, 2, figures, force=True)
    assert '\x1b' not in stream.getvalue()
