"""Which of the files that people take for checkpoints a file is."""

import os
import struct

_ZIP = b'PK\x03\x04'
_LONGEST_HEADER = 100_000_000  # of safetensors, as its library has it
_KINDS = [
    (b'version https://git-lfs', 'a pointer of Git LFS: fetch the file itself by git lfs pull'),
    (b'\x1f\x8b', 'a gzip archive: unpack it'),
    (b'ustar', 'a tar archive: unpack it'),
    (b'\x89HDF', 'a file of HDF5 (Keras), which holds no weights of torch'),
    (b'\x93NUMPY', 'an array of numpy'),
    (b'BZh', 'a bzip2 archive: unpack it'),
    (b'7z\xbc\xaf', 'a 7z archive: unpack it'),
    (b'Rar!', 'a rar archive: unpack it'),
    (b'GGUF', 'a file of GGUF, which is not read'),
]


def is_torch_zip(path: str) -> bool:
    """Whether a file begins as those of torch.save do."""
    return _head(path, len(_ZIP)) == _ZIP


def is_safetensors(path: str) -> bool:
    """Whether a file is of safetensors, by its content: people rename files."""
    head = _head(path, 9)
    if len(head) < 9 or head[8:] != b'{':
        return False
    (length,) = struct.unpack('<Q', head[:8])
    return length <= min(os.path.getsize(path) - 8, _LONGEST_HEADER)


def kind_of_file(path: str) -> str | None:
    """In words, what a file is that is no checkpoint; None where nobody knows."""
    head = _head(path, 1024)
    if not head:
        return 'empty'
    for magic, kind in _KINDS:
        if head.startswith(magic) or (magic == b'ustar' and head[257:262] == magic):
            return kind
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start == 0 or error.start < len(head) - 3:  # else a letter that the head ends in
            return None
        text = head[: error.start].decode()
    text = text.lstrip('\ufeff \r\n\t').lower()
    if text.startswith(('<!doctype html', '<html', '<?xml', '<head')):
        return 'a web page (of an error or a login, perhaps): download the file again'
    if '\0' in text:
        return None
    return 'a text: ' + ascii(text[:40])


def _head(path: str, length: int) -> bytes:
    with open(path, 'rb') as file:
        return file.read(length)
