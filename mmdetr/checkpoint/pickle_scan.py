"""A pickle looked over before torch builds anything from it.

torch's reader runs no code, but it believes sizes: a storage of more numbers than its record has
reads beyond the record, ``torch.FloatTensor(5)`` is memory as it was, and a dict whose key is a
tuple of tuples of tuples, each twice the one before, is hashed for years.
"""

import pickletools
from collections.abc import Mapping
from typing import IO, Any

_MOST_STEPS = 1_500_000  # a model of 10,000 tensors with AdamW's state takes half
_MOST_ITEMS = 10_000_000  # of a container, with what is below it counted as often as it is met
_DEEPEST = 200
_PUTS = {'PUT', 'BINPUT', 'LONG_BINPUT'}
_GETS = {'GET', 'BINGET', 'LONG_BINGET'}
_FILLS = {'APPEND': 1, 'SETITEM': 2, 'BUILD': 1}
_TUPLES = {'TUPLE1': 1, 'TUPLE2': 2, 'TUPLE3': 3}
_CALLS = {'REDUCE', 'NEWOBJ'}
_NOTHING = {'PROTO', 'FRAME', 'STOP'}
_ITEM_SIZES = {
    1: {'Untyped', 'Byte', 'Char', 'Bool', 'QInt8', 'QUInt8', 'QUInt4x2', 'QUInt2x4'},
    2: {'Short', 'Half', 'BFloat16'},
    4: {'Int', 'Float', 'QInt32'},
    8: {'Long', 'Double', 'ComplexFloat'},
    16: {'ComplexDouble'},
}
_MAKE_MEMORY = ('Tensor', 'Storage', 'bytearray')


class PickleError(ValueError):
    """What is wrong with a pickle, as the rest of a sentence that begins with the file's name."""


class _Name(str):
    """What a GLOBAL asks for."""


def check_pickle(file: IO[bytes], records: Mapping[str, int] | None = None) -> None:
    """Refuse a pickle that torch's reader would believe too much, in bounded time and memory.

    What is no pickle, or asks for what torch refuses, is left to torch.

    Args:
        file: Is read to the end of the pickle.
        records: Sizes in bytes of the records that hold the storages, by the storages' keys; None
            where they lie elsewhere.

    Raises:
        PickleError: Something is wrong.
    """
    scan = _Scan(records)
    try:
        for step, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if step > _MOST_STEPS:
                raise PickleError(f'is damaged: it takes more than {_MOST_STEPS:,} steps to read')
            scan.take(opcode.name, argument)
    except PickleError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, UnicodeDecodeError, ValueError):
        pass  # torch refuses it, or stops there
    _check_growth(scan.containers)


class _Scan:
    """The stack machine of pickle, on lists of what is in a container in place of the container."""

    def __init__(self, records: Mapping[str, int] | None) -> None:
        self.records = records
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[Any, Any] = {}
        self.containers: list[list] = []

    def take(self, name: str, argument: Any) -> None:
        """Carry out one step."""
        stack = self.stack
        if name in _PUTS:
            self.memo[argument] = stack[-1]
        elif name in _GETS:
            stack.append(self.memo[argument])
        elif name == 'MARK':
            self.marks.append(len(stack))
        elif name in _TUPLES:
            self._build(self._pop(_TUPLES[name]))
        elif name == 'TUPLE':
            self._build(self._pop_mark())
        elif name in _FILLS:
            items = self._pop(_FILLS[name])
            stack[-1].extend(items)
        elif name in ('APPENDS', 'SETITEMS'):
            items = self._pop_mark()
            stack[-1].extend(items)
        elif name in _CALLS:
            self._call(*self._pop(2))
        elif name == 'BINPERSID':
            self._storage(stack.pop())
        elif name.startswith('EMPTY_'):
            self._build([])
        elif name == 'GLOBAL':
            stack.append(_Name(argument.replace(' ', '.', 1)))
        elif name not in _NOTHING:
            stack.append(argument)

    def _pop(self, count: int) -> list:
        if count > len(self.stack):
            raise IndexError('an empty stack')
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def _pop_mark(self) -> list:
        place = self.marks.pop()
        items = self.stack[place:]
        del self.stack[place:]
        return items

    def _build(self, items: list) -> None:
        self.containers.append(items)
        self.stack.append(items)

    def _call(self, function: Any, arguments: Any) -> None:
        # A bytearray of bytes is data, one of a number is memory.
        is_data = isinstance(arguments, list) and not any(
            isinstance(argument, int) for argument in arguments
        )
        if isinstance(function, _Name) and arguments and not function.startswith('torch._utils.'):
            kind = function.rpartition('.')[2]
            bare = kind != 'bytearray' or not is_data
            if kind.endswith(_MAKE_MEMORY) and bare:
                raise PickleError(f'is no checkpoint: it asks for a {kind} without content')
        self._build([function, arguments])

    def _storage(self, claim: Any) -> None:
        """Compare what is said of a storage with its record."""
        self._build([claim])
        if self.records is None or not isinstance(claim, list) or len(claim) != 5:
            return
        _, kind, key, _, count = claim
        size = _item_size(kind)
        if size is None or not isinstance(key, str) or key not in self.records:
            return
        if not isinstance(count, int) or count * size != self.records[key]:
            raise PickleError(
                f'is damaged: storage {key!a} is said to have {count} numbers of {size} bytes, its '
                f'record has {self.records[key]} bytes'
            )


def _item_size(storage: Any) -> int | None:
    """Bytes of a number in a storage, by the name of its class."""
    if not isinstance(storage, _Name):
        return None
    kind = storage.rpartition('.')[2].removesuffix('Storage')
    return next((size for size, kinds in _ITEM_SIZES.items() if kind in kinds), None)


def _check_growth(containers: list[list]) -> None:
    """Refuse what is inside of itself, too deep, or has few parts that are met very often."""
    sizes: dict[int, tuple[int, int]] = {}
    for root in containers:
        open_: list[tuple[list, bool]] = [(root, False)]
        inside: set[int] = set()
        while open_:
            container, seen = open_.pop()
            name = id(container)
            if seen:
                inside.discard(name)
                sizes[name] = _size_of(container, sizes)
            elif name in inside:
                raise PickleError('is damaged: a part of it is inside of itself')
            elif name not in sizes:
                inside.add(name)
                open_.append((container, True))
                open_ += [(each, False) for each in container if type(each) is list]


def _size_of(container: list, sizes: Mapping[int, tuple[int, int]]) -> tuple[int, int]:
    size, depth = 1 + len(container), 0
    for each in container:
        if type(each) is list:
            inner, below = sizes[id(each)]
            size, depth = size + inner, max(depth, below)
    if size > _MOST_ITEMS or depth > _DEEPEST:
        raise PickleError(
            f'is damaged: a part of it has more than {_MOST_ITEMS:,} items or {_DEEPEST} levels'
        )
    return size, depth + 1
