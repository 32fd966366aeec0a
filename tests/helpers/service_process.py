"""The service as a process of its own, as a user starts it."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class ServiceProcess:
    """A running ``tools/serve.py``.

    Attributes:
        url: Where it answers, without a slash at the end.
        process: Its process.
        log: Lines that it has written.
    """

    def __init__(self, arguments: list[Any], env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, ROOT / 'tools' / 'serve.py', *map(str, arguments), '--port', '0'],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', **env},
        )
        self.log: list[str] = []
        self.url = self._wait_for_url()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Return the exit status when the process has ended."""
        status = self.process.wait(120)
        self._reader.join(10)
        return status

    def memory(self) -> int:
        """Resident memory in KiB."""
        text = Path(f'/proc/{self.process.pid}/status').read_text()
        found = re.search(r'VmRSS:\s+(\d+)', text)
        assert found is not None
        return int(found[1])

    def _wait_for_url(self) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.append(line)
            if found := re.search(r' at (http://\S+)', line):
                return found[1]
        raise AssertionError(f'the service did not start: {"".join(self.log)}')

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.log += self.process.stdout


@contextmanager
def run_service(*arguments: Any, **env: str) -> Iterator[ServiceProcess]:
    """Start the service on a free port and end it."""
    service = ServiceProcess(list(arguments), env)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.process.kill()
            service.process.wait()
