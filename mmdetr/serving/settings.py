"""What a service is told on its command line. Imports nothing slow."""

import importlib.util
from dataclasses import dataclass, fields

from mmdetr.utils.arguments import check_at_least

_NEEDED = {'fastapi': 'fastapi', 'uvicorn': 'uvicorn', 'python_multipart': 'python-multipart'}


class MissingPackageError(ImportError):
    """What serving needs besides the package is not installed; the message has the command."""


@dataclass(frozen=True)
class Settings:
    """Limits of a service.

    Attributes:
        max_batch: Images that the model gets at once.
        max_wait: Milliseconds that the first image of a batch waits for others.
        queue: Requests that are read, waited for or computed at a time; more are answered 503.
        max_bytes: Size of an upload.
        max_pixels: Width times height of an image, by its header.
        timeout: Seconds from an upload's end to the answer.
        upload_timeout: Seconds for an upload.
        decoders: Threads that decode and resize images.
        token: What clients send as ``Authorization: Bearer TOKEN``; None asks for nothing.

    Raises:
        ValueError: A number is out of its range, or the token is empty.
    """

    max_batch: int = 8
    max_wait: float = 5.0
    queue: int = 64
    max_bytes: int = 32 * 2**20
    max_pixels: int = 50_000_000
    timeout: float = 60.0
    upload_timeout: float = 30.0
    decoders: int = 2
    token: str | None = None

    def __post_init__(self) -> None:
        counts = {f.name: getattr(self, f.name) for f in fields(self) if f.type in (int, 'int')}
        check_at_least(1, 'Settings', **counts)
        check_at_least(0, 'Settings', max_wait=self.max_wait)
        check_at_least(0.01, 'Settings', timeout=self.timeout, upload_timeout=self.upload_timeout)
        if self.token is not None and not self.token.strip():
            raise ValueError('the token is empty')


def check_installed() -> None:
    """Look for the packages of the extra ``serve``.

    Raises:
        MissingPackageError: Names what is missing and the command that installs it.
    """
    missing = [name for module, name in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        packages = ' '.join(missing)
        raise MissingPackageError(f'serving needs {", ".join(missing)}: pip install {packages}')
