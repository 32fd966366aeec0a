"""XML files with the line that each element stands in, which Python's own trees do not tell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from .records import FormatError
from .text_files import decode, read_bytes

_DECLARATION = re.compile(r'^\s*<\?xml[^>]*\?>')


@dataclass
class Node:
    """An element: its tag, the line it begins in, its text and what is in it."""

    tag: str
    line: int
    content: str = ''
    children: list[Node] = field(default_factory=list)

    def all(self, tag: str) -> Iterator[Node]:
        return (child for child in self.children if child.tag == tag)

    def find(self, path: str) -> Node | None:
        """Return the first element of a path as ``size/width``."""
        node: Node | None = self
        for tag in path.split('/'):
            node = next(node.all(tag), None) if node else None
        return node

    def text(self, path: str) -> str | None:
        node = self.find(path)
        return None if node is None else node.content.strip()


def read_xml(path: Path) -> Node:
    """Read an XML file, also one that states another encoding than it has.

    Raises:
        FormatError: It is no XML.
    """
    content = read_bytes(path)
    try:
        return _parse(content)
    except (expat.ExpatError, LookupError, ValueError):
        text = _DECLARATION.sub('', decode(content).lstrip('\ufeff'))
    try:
        return _parse(text.encode('utf-8', errors='replace'))
    except (expat.ExpatError, ValueError) as error:
        raise FormatError(f'{path}: {error}') from None


def _parse(content: bytes) -> Node:
    parser = expat.ParserCreate()
    parser.buffer_text = True
    root = Node('', 0)
    stack = [root]

    def start(tag: str, _: dict) -> None:
        node = Node(tag.rpartition(':')[2], parser.CurrentLineNumber)
        stack[-1].children.append(node)
        stack.append(node)

    def end(_: str) -> None:
        stack.pop()

    def text(data: str) -> None:
        stack[-1].content += data

    def refuse(*_: object) -> None:
        raise ValueError('it declares entities of its own')

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.EntityDeclHandler = refuse  # which may grow without end
    parser.Parse(content, True)
    return root.children[0]
