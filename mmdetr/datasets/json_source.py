"""Read a JSON file key by key and block by block."""

import json
import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, BinaryIO

BLOCK_BYTES = 2**20
LARGEST_BUFFER = 2**26  # for an element or a value that does not end
AHEAD_BYTES = 2**12  # more than punctuation and a key need
TRIES = 16  # at places that look like the end of a record, and may be inside of one
MOST_BRACES = 1000  # that open no record, at the end of a block
BYTE_ORDER_MARK = b'\xef\xbb\xbf'
OPENING = re.compile(rb'[ \t\r\n]*\{')
KEY = re.compile(rb'[ \t\r\n]*"([^"\\]*)"[ \t\r\n]*:[ \t\r\n]*')
LIST = re.compile(rb'\[[ \t\r\n]*')
COMMA = re.compile(rb'[ \t\r\n]*,[ \t\r\n]*')
CLOSING = re.compile(rb'[ \t\r\n]*\}[ \t\r\n]*')
BETWEEN = re.compile(rb'\}[ \t\r\n]*,[ \t\r\n]*\Z')
LIST_END = re.compile(rb'\}[ \t\r\n]*(\])')

Decode = Callable[[bytes], list | None]
"""Return the records of a list's text; None where it is none, or one of other records."""


class UnusualError(ValueError):
    """The file is not as plain as it has to be to be read this way."""


class JsonSource:
    """A JSON file whose outermost value is an object, read key by key.

    A list of records is decoded as the text between two places where records end. They are
    guessed, but cannot be wrong: text that starts where a record does and is a whole list with a
    bracket put behind it ends where a record does.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._buffer = b''
        self._position = 0
        self._at_end = False
        self._fill()
        if self._buffer.startswith(BYTE_ORDER_MARK):
            self._position = len(BYTE_ORDER_MARK)

    def __iter__(self) -> Iterator[str]:
        """Yield each key of the object; the caller takes its value before the next."""
        self._take(OPENING)
        while True:
            yield self._take(KEY)[1].decode()
            if not self._skip(COMMA):
                break
        self._take(CLOSING)
        if self._position < len(self._buffer) or not self._at_end:
            raise UnusualError

    def value(self) -> Any:
        """Take a value of any kind."""
        while True:
            text = self._rest().decode(errors='ignore')  # what is cut off is read again below
            try:
                value, end = json.JSONDecoder(object_pairs_hook=_unique).raw_decode(text)
            except ValueError:
                self._fill()
                continue
            if end + AHEAD_BYTES < len(text) or self._at_end:
                self._position += len(text[:end].encode())
                return value
            self._fill()

    def records(self, decode: Decode) -> Iterator[list]:
        """Take a list of records, decoded, some thousands at a time."""
        self._take(LIST)
        if self._buffer[self._position : self._position + 1] == b']':
            self._position += 1
            return
        ended = False
        while not ended:
            if len(self._buffer) - self._position < BLOCK_BYTES and not self._at_end:
                self._fill()
            records, ended = self._some_records(decode)
            yield records

    def _some_records(self, decode: Decode) -> tuple[list, bool]:
        """Take the records of the buffer; say whether the list ends with them."""
        while True:
            for end, following, is_last in self._possible_ends():
                text = b'[' + self._buffer[self._position : end] + b']'
                records = decode(text)
                if records is None:
                    continue
                self._position = following
                return records, is_last
            self._fill()

    def _possible_ends(self) -> Iterator[tuple[int, int, bool]]:
        """Yield where the last record may end, where the text goes on, whether the list ends."""
        between = self._ends_between()
        yield from islice(between, 1)  # nearly always right, but where a list ends
        for match in islice(LIST_END.finditer(self._buffer, self._position), TRIES):
            yield match.start() + 1, match.end(), True
        yield from islice(between, TRIES)

    def _ends_between(self) -> Iterator[tuple[int, int, bool]]:
        """Yield the ends before a comma and another record, the last first."""
        place = len(self._buffer)
        for _ in range(MOST_BRACES):
            place = self._buffer.rfind(b'{', self._position, place)
            if place < 0:
                return
            start = max(place - AHEAD_BYTES, self._position)
            match = BETWEEN.search(self._buffer, start, place)
            if match:
                yield match.start() + 1, place, False

    def _rest(self) -> bytes:
        return self._buffer[self._position :]

    def _fill(self) -> None:
        """Read on, as much as is waiting already."""
        rest = self._rest()
        if self._at_end or len(rest) > LARGEST_BUFFER:
            raise UnusualError
        more = self._file.read(max(BLOCK_BYTES, len(rest)))
        self._at_end = not more
        self._buffer, self._position = rest + more, 0

    def _skip(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        while len(self._buffer) - self._position < AHEAD_BYTES and not self._at_end:
            self._fill()
        match = pattern.match(self._buffer, self._position)
        if match:
            self._position = match.end()
        return match

    def _take(self, pattern: re.Pattern[bytes]) -> re.Match[bytes]:
        match = self._skip(pattern)
        if match is None:
            raise UnusualError
        return match


def _unique(pairs: list[tuple[str, Any]]) -> dict:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise UnusualError
    return record
