"""Text that was written on other systems: encodings, decimal commas, class lists."""

import codecs
import re
from pathlib import Path
from typing import Any

import yaml

from mmdetr.datasets.local_files import check_regular

from .records import FormatError

_MARKS = (
    (codecs.BOM_UTF8, 'utf-8-sig'),
    (codecs.BOM_UTF32_LE, 'utf-32'),
    (codecs.BOM_UTF32_BE, 'utf-32'),
    (codecs.BOM_UTF16_LE, 'utf-16'),
    (codecs.BOM_UTF16_BE, 'utf-16'),
)
_DECIMAL_COMMA = re.compile(r'[-+]?\d*,\d+(?:[eE][-+]?\d+)?')


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, UTF-16, UTF-32 or, where it is none of these, Windows' Latin-1.

    Raises:
        FormatError: It is no regular file or cannot be read.
    """
    return decode(read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """Read a regular file; an empty one is ``b''``.

    Raises:
        FormatError: It is no regular file or cannot be read.
    """
    try:
        if path.is_file() and path.stat().st_size == 0:
            return b''
        check_regular(str(path))
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise FormatError(f'{path} cannot be read: {error}') from None


def decode(content: bytes) -> str:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding, errors='replace')
    start = content[:200]
    # Plain text in UTF-16 without its mark has a zero in every other byte.
    for offset, encoding in ((1, 'utf-16-le'), (0, 'utf-16-be')):
        if len(start) > 3 and not any(start[offset::2]) and any(start[1 - offset :: 2]):
            return content.decode(encoding, errors='replace')
    try:
        return content.decode('utf-8')
    except UnicodeDecodeError:
        return content.decode('cp1252', errors='replace')


def split_numbers(line: str) -> tuple[list[str], bool]:
    """Split a row of numbers, whatever stands between them.

    Returns:
        The numbers with decimal points, and whether they had decimal commas.

    Example:
        >>> split_numbers('0 0,5 0,25 0,1 0,2')
        (['0', '0.5', '0.25', '0.1', '0.2'], True)
        >>> split_numbers('0, 0.5, 0.25, 0.1, 0.2')
        (['0', '0.5', '0.25', '0.1', '0.2'], False)
    """
    words = line.replace(';', ' ').split()
    words = [word.removesuffix(',') for word in words]
    if len(words) == 1 and words[0].count(',') > 3:
        words = words[0].split(',')
    commas = [bool(_DECIMAL_COMMA.fullmatch(word)) for word in words]
    words = [
        word.replace(',', '.') if has else word for word, has in zip(words, commas, strict=True)
    ]
    return words, any(commas)


def to_number(text: str | None) -> float:
    """Read a number with a decimal point or comma; NaN where it is none."""
    word = (text or '').strip()
    try:
        return float(word.replace(',', '.') if _DECIMAL_COMMA.fullmatch(word) else word)
    except ValueError:
        return float('nan')


class _AsWritten(yaml.BaseLoader):
    """Leaves every value the text that it is, a class ``no`` as well; a name stands once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        mapping: dict = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in mapping:
                raise yaml.constructor.ConstructorError(
                    problem=f'{key} is there twice', problem_mark=key_node.start_mark
                )
            if isinstance(key, str):
                mapping[key] = self.construct_object(value_node, deep=deep)
        return mapping


def read_yaml(path: Path) -> dict:
    """Read a YAML file that holds settings by name, each value as the text that it is.

    Raises:
        FormatError: It is none, or has a name twice.
    """
    try:
        # Tabs are not allowed in YAML, and some write them all the same. Of this loader nothing in
        # the file can ask for more than texts, lists and dicts.
        content: Any = yaml.load(read_text(path).replace('\t', '  '), _AsWritten)
    except yaml.YAMLError as error:
        raise FormatError(f'{path} is no YAML: {" ".join(str(error).split())}') from None
    if not isinstance(content, dict):
        raise FormatError(f'{path} has no settings by name, as names: and train:')
    return content
