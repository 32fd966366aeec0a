"""The zip files of torch.save, looked over before torch reads them.

torch trusts the directory of the zip: an entry that is marked as a folder, for one, is not read at
all, and its tensor is whatever was in memory.
"""

import io
import mmap
import struct
import zlib
from typing import NamedTuple

from .pickle_scan import PickleError, check_pickle

MAGIC = b'PK\x03\x04'
_MOST_ENTRIES = 200_000
_LONGEST_PICKLE = 64_000_000  # it holds names and shapes; a model of 10,000 tensors has 2 MB
_SATURATED = 0xFFFFFFFF
_FOLDER = 0x10  # of the external attributes
_FLAGS = 0x0808  # sizes behind the data, names in UTF-8


class ArchiveError(ValueError):
    """What is wrong with a zip file, as the rest of a sentence that begins with its name."""


class _Entry(NamedTuple):
    name: bytes
    flags: int
    crc: int
    size: int
    header: int  # offset


def check_archive(path: str, verify: bool) -> None:
    """Accept only stored, regular entries that lie apart from each other, as torch writes them.

    Their pickle must be one of bounded size that says the same of them.

    Args:
        path: A file that begins with ``MAGIC``.
        verify: Compare the checksums of tensors, too; those of all else are always compared.

    Raises:
        ArchiveError: Something is wrong.
    """
    with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            _check(data, verify)
        except PickleError as error:
            raise ArchiveError(str(error)) from error
        except (struct.error, UnicodeDecodeError) as error:
            raise ArchiveError('is damaged: its directory is damaged') from error


def _check(data: mmap.mmap, verify: bool) -> None:
    start, end, count = _find_directory(data)
    entries = _read_directory(data, start, end, count)
    folders = {entry.name.partition(b'/')[0] for entry in entries}
    pickles = [entry for entry in entries if entry.name.endswith(b'/data.pkl')]
    if len(folders) != 1 or len(pickles) != 1:
        raise ArchiveError('is truncated or no checkpoint: it is no zip file of torch.save')
    if pickles[0].size > _LONGEST_PICKLE:
        raise ArchiveError(f'is damaged: its data.pkl is of {pickles[0].size} bytes')
    free = 0
    for entry in sorted(entries, key=lambda entry: entry.header):
        text = ascii(entry.name.decode())
        if entry.header < free:
            raise ArchiveError(f'is damaged: its part {text} overlaps another')
        begin = _data_offset(data, entry)
        free = begin + entry.size
        if free > start:
            raise ArchiveError(f'is damaged: its part {text} is longer than the file')
        if verify or b'/data/' not in entry.name:
            with memoryview(data) as view, view[begin:free] as content:
                if zlib.crc32(content) != entry.crc:
                    raise ArchiveError(f'is damaged: the checksum of its part {text} is wrong')
    begin = _data_offset(data, pickles[0])
    records = {
        entry.name.partition(b'/data/')[2].decode(): entry.size
        for entry in entries
        if b'/data/' in entry.name
    }
    check_pickle(io.BytesIO(data[begin : begin + pickles[0].size]), records)


def _find_directory(data: mmap.mmap) -> tuple[int, int, int]:
    """Begin, end and number of entries of the central directory; both of its records agree."""
    last = len(data) - 22
    if last < 0 or data[last : last + 4] != b'PK\x05\x06':
        raise ArchiveError('is truncated or no checkpoint: its end is missing')
    disks, on_disk, count, size, start, comment = struct.unpack('<I2HIIH', data[last + 4 :])
    end = last
    if last >= 76 and data[last - 20 : last - 16] == b'PK\x06\x07':
        end = struct.unpack('<Q', data[last - 12 : last - 4])[0]
        if end != last - 76 or data[end : end + 4] != b'PK\x06\x06':
            raise ArchiveError('is damaged: its directory is damaged')
        wide = struct.unpack('<4Q', data[end + 24 : end + 56])
        short = (on_disk, count, size, start)
        full = (0xFFFF, 0xFFFF, _SATURATED, _SATURATED)
        if any(b not in (a, most) for a, b, most in zip(wide, short, full, strict=True)):
            raise ArchiveError('is damaged: its directory is damaged')
        on_disk, count, size, start = wide
    if disks or comment or on_disk != count or start + size != end or count > _MOST_ENTRIES:
        raise ArchiveError('is damaged: its directory is damaged')
    return start, end, count


def _read_directory(data: mmap.mmap, start: int, end: int, count: int) -> list[_Entry]:
    entries: dict[bytes, _Entry] = {}
    place = start
    for _ in range(count):
        fields = struct.unpack('<4s6H3I5H2I', data[place : place + 46])
        signature, _, _, flags, method, _, _, crc, packed, size, name_length, *rest = fields
        extra_length, comment_length, disk, _, attributes, header = rest
        name = data[place + 46 : place + 46 + name_length]
        place += 46 + name_length
        packed, size, header = _widen(
            data[place : place + extra_length], [packed, size, header], order=(1, 0, 2)
        )
        place += extra_length + comment_length
        text = name.decode()
        if signature != b'PK\x01\x02' or place > end or disk or name in entries:
            raise ArchiveError('is damaged: its directory is damaged')
        regular = name[-1:] != b'/' and not attributes & _FOLDER and b'\0' not in name
        if not regular or flags & ~_FLAGS or method or packed != size:
            raise ArchiveError(
                f'is damaged: its part {text!a} is a folder, compressed or encrypted'
            )
        entries[name] = _Entry(name, flags, crc, size, header)
    if place != end:
        raise ArchiveError('is damaged: its directory is damaged')
    return list(entries.values())


def _widen(extra: bytes, values: list[int], order: tuple[int, ...]) -> list[int]:
    """Put the 64 bits of the extra field in place of saturated values."""
    values, place = list(values), 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack('<2H', extra[place : place + 4])
        if kind == 1:
            field = extra[place + 4 : place + 4 + length]
            for i in order:
                if values[i] == _SATURATED:
                    values[i], field = struct.unpack('<Q', field[:8])[0], field[8:]
        place += 4 + length
    return values


def _data_offset(data: mmap.mmap, entry: _Entry) -> int:
    """Where the data of an entry begin; the header before them agrees with the directory."""
    begin = entry.header + 30
    fields = struct.unpack('<4s5H3I2H', data[entry.header : begin])
    signature, _, flags, method, _, _, crc, packed, size, name_length, extra_length = fields
    stated = [(crc, entry.crc)]
    if _SATURATED not in (packed, size):
        stated += [(packed, entry.size), (size, entry.size)]
    later = flags & 8 and not (crc or packed or size)  # stated behind the data
    if (
        signature != MAGIC
        or flags != entry.flags
        or method
        or data[begin : begin + name_length] != entry.name
        or (not later and any(a != b and not (flags & 8 and not a) for a, b in stated))
    ):
        raise ArchiveError(f'is damaged: the header of its part {entry.name.decode()!a} is damaged')
    return begin + name_length + extra_length
