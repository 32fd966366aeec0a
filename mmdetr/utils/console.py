"""What a person sees of a tool at work: short lines and, on a terminal, one bar below them."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, TextIO

TERMINAL_SECONDS = 0.1
# Where no bar moves: soon at first, rarely in a log that nobody looks at for days.
PLAIN_SECONDS = (10.0, 60.0)
PLAIN_SOON = 120.0
LEAST_BAR = 8
LABEL_WIDTH = 9

Figures = Callable[[], Sequence[str]]


def is_terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can move its cursor."""
    try:
        return stream.isatty() and os.environ.get('TERM', '') not in ('', 'dumb', 'unknown')
    except (AttributeError, ValueError):  # none at all, or closed
        return False


def duration(seconds: float) -> str:
    """Write a duration as hours, minutes and seconds.

    Example:
        >>> duration(75.2), duration(3723)
        ('1:15', '1:02:03')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02}:{rest:02}' if hours else f'{minutes}:{rest:02}'


class Console:
    """Lines and one progress bar on standard output.

    On a terminal the bar moves in the last line. Elsewhere there are plain lines without control
    codes, and progress is one now and then. It is to be used as a context manager, which removes
    the bar. A stream that cannot be written any more ends the output, not the work.

    The bar is drawn by the thread that tells it, never by one of its own: a worker process that is
    forked while another thread draws would inherit that thread's locks.

    Args:
        quiet: Leave out all but results and alerts.
        muted: Leave out all but alerts, as on the ranks that are not the main one.
        stream: Where to write; standard output by default.
    """

    def __init__(
        self, quiet: bool = False, muted: bool = False, stream: TextIO | None = None
    ) -> None:
        self.quiet = quiet or muted
        self.muted = muted
        self.stream = stream or sys.stdout
        self.is_terminal = is_terminal(self.stream)
        self._rich: Any = _rich_console(self.stream) if self.is_terminal else None
        self._bar: Any = None
        self._process = os.getpid()
        self._begin = self._shown = time.monotonic()

    def __enter__(self) -> 'Console':
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end_progress()

    def say(self, text: str, style: str = '') -> None:
        """Write a line unless this console is quiet."""
        if not self.quiet:
            self._write(text, style)

    def result(self, text: str, style: str = '') -> None:
        """Write what the tool was called for, also when quiet."""
        if not self.muted:
            self._write(text, style)

    def alert(self, text: str, style: str = '') -> None:
        """Write a line of whatever rank and however quiet."""
        self._write(text, style)

    def say_pairs(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Write a line for each label and its value."""
        if self.quiet:
            return
        if self._rich is None:
            for label, value in pairs:
                self._write(f'{label:<{LABEL_WIDTH}}{value}')
            return
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid()
        grid.add_column(width=LABEL_WIDTH, no_wrap=True)
        grid.add_column(overflow='fold')
        for label, value in pairs:
            grid.add_row(Text(label, 'bold'), Text(value))
        self._rich.print(grid)

    def progress(
        self, label: str, done: int, total: int, figures: Figures = tuple, force: bool = False
    ) -> None:
        """Show how far the work is; cheap enough to be called at every step.

        Args:
            label: What is done.
            done: Steps that are done.
            total: Steps that there are.
            figures: Gives short texts, the most important first; asked only when something is
                shown. On a narrow terminal the last are left out.
            force: Show it however short ago something was shown.
        """
        now = time.monotonic()
        if self.quiet or not (force or self._is_due(now)):
            return
        self._shown = now
        if self._rich is None:
            self._write('  '.join([f'{label}  {done}/{total}', *figures()]))
        else:
            self._move_bar(label, done, total, figures())

    def end_progress(self) -> None:
        """Remove the bar."""
        bar, self._bar = self._bar, None
        if bar is not None and os.getpid() == self._process:
            bar.stop()

    def _is_due(self, now: float) -> bool:
        if self._rich is not None:
            return now - self._shown >= TERMINAL_SECONDS
        return now - self._shown >= PLAIN_SECONDS[now - self._begin > PLAIN_SOON]

    def _move_bar(self, label: str, done: int, total: int, figures: Sequence[str]) -> None:
        room = self._rich.width - len(label) - LEAST_BAR - len('  100%  ')
        kept = list(figures)
        while kept and len('  '.join(kept)) > room:
            kept.pop()
        text = '  '.join(kept)
        if self._bar is None:
            self._bar = _bar(self._rich)
            self._bar.add_task(label, figures=text, total=total)
            self._bar.start()
            self._rich.show_cursor(True)  # a killed process could not bring it back
        self._bar.update(0, description=label, completed=done, total=total, figures=text)
        self._bar.refresh()

    def _write(self, text: str, style: str = '') -> None:
        try:
            if self._rich is not None and os.getpid() == self._process:
                from rich.text import Text

                self._rich.print(Text(text, style))
                return
            # In a worker process the bar is not ours to move.
            encoding = getattr(self.stream, 'encoding', None) or 'utf-8'
            line = text.encode(encoding, 'backslashreplace').decode(encoding)
            self.stream.write(f'{line}\n')
            self.stream.flush()
        except (OSError, ValueError):  # the reader of a pipe has gone, or the stream is closed
            self.stream, self._rich, self._bar = open(os.devnull, 'w'), None, None  # noqa: SIM115


def _rich_console(stream: TextIO) -> Any:
    from rich.console import Console as RichConsole

    return RichConsole(file=stream, force_terminal=True, highlight=False, emoji=False)


def _bar(console: Any) -> Any:
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    def text(template: str) -> TextColumn:
        return TextColumn(template, markup=False, table_column=Column(no_wrap=True))

    return Progress(
        text('{task.description}'),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        text('{task.percentage:>3.0f}%'),
        text('{task.fields[figures]}'),
        console=console,
        expand=True,
        transient=True,
        auto_refresh=False,
    )
