"""Warnings and errors of a log on the console, each once; everything else is in the file."""

import logging
import os
import re
from dataclasses import dataclass

from mmengine.logging import MMLogger

from mmdetr.utils.console import Console

_STYLES = {logging.WARNING: 'yellow', logging.ERROR: 'bold red', logging.CRITICAL: 'bold red'}
_LONGEST = 60  # characters of a message that is counted
# What mmengine warns of for each frozen parameter. The header says how many are trained.
_NO_NEWS = re.compile(r'\S+ is skipped since its requires_grad=False')


@dataclass
class Told:
    """A message of the log.

    Attributes:
        level: Its name in lower case.
        text: The newest form, with the newest numbers.
        count: How often it came.
    """

    level: str
    text: str
    count: int = 0


class ConsoleHandler(logging.Handler):
    """Hand the records of a log from a level on to a console.

    A message that comes again, be it with other numbers, is counted instead of repeated. Frozen
    parameters, which are meant to be, stay in the file.

    Args:
        console: Where to write.
        level: Lowest level that is shown.

    Attributes:
        told: The messages by what does not change in them.
    """

    def __init__(self, console: Console, level: int = logging.WARNING) -> None:
        super().__init__(level)
        self.console = console
        self.told: dict[tuple[int, str], Told] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record that is new."""
        text = record.getMessage()
        if _NO_NEWS.fullmatch(text):
            return
        key = record.levelno, re.sub(r'\d+', '#', text)
        told = self.told.setdefault(key, Told(record.levelname.lower(), text))
        told.text, told.count = text, told.count + 1
        if told.count == 1:
            rank = f' of rank {os.environ.get("RANK", "?")}' if self.console.muted else ''
            style = _STYLES.get(record.levelno, '')
            self.console.alert(f'{told.level}{rank}: {text}', style)

    def repeats(self) -> list[str]:
        """Say of each message that came more than once how often it did."""
        lines = []
        for told in self.told.values():
            if told.count > 1:
                text = ' '.join(told.text.split())
                short = text if len(text) <= _LONGEST else f'{text[:_LONGEST]}...'
                lines.append(f'{told.count} times, {told.level}: {short}')
        return lines


def take_over(logger: MMLogger, console: Console) -> ConsoleHandler:
    """Put a handler in the place of mmengine's, which writes every record to standard output."""
    level = logging.ERROR if console.muted else logging.WARNING
    handler = ConsoleHandler(console, level)
    kept = [each for each in logger.handlers if isinstance(each, logging.FileHandler)]
    logger.handlers[:] = [*kept, handler]
    return handler
