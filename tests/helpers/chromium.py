"""A headless Chromium, told what to do through a pipe; no driver and no package is needed."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')


class Page:
    """A tab, spoken to in the DevTools protocol: JSON messages that end in a zero byte."""

    def __init__(self, commands: int, answers: int, timeout: float) -> None:
        self._commands, self._answers = commands, answers
        self._rest = b''
        self._number = 0
        self._timeout = timeout
        self._session: str | None = None
        self.problems: list[str] = []
        target = self.send('Target.createTarget', url='about:blank')['targetId']
        self._session = self.send('Target.attachToTarget', targetId=target, flatten=True)[
            'sessionId'
        ]
        for domain in ('Page', 'Runtime', 'Log', 'DOM'):
            self.send(f'{domain}.enable')

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Give a command and return its result; events are passed over, but for problems."""
        self._number += 1
        message = dict(id=self._number, method=method, params=params)
        if self._session:
            message['sessionId'] = self._session
        os.write(self._commands, json.dumps(message).encode() + b'\0')
        while True:
            answer = self._read()
            if answer.get('id') == self._number:
                assert 'error' not in answer, f'{method}: {answer["error"]}'
                return answer['result']
            self._note(answer)

    def run(self, script: str) -> Any:
        """Return the value of an expression; a promise is waited for."""
        result = self.send(
            'Runtime.evaluate', expression=script, returnByValue=True, awaitPromise=True
        )
        assert 'exceptionDetails' not in result, result['exceptionDetails']
        return result['result'].get('value')

    def wait(self, condition: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + self._timeout
        while not self.run(f'!!({condition})'):
            state = self.run('document.body.innerText')
            assert time.monotonic() < end, f'never true: {condition}; the page says {state}'
            time.sleep(0.05)

    def take_problem(self, part: str) -> None:
        """Wait until a problem with these words was logged, and forget it.

        Chromium logs a failed request at some time after the page has its answer.
        """
        end = time.monotonic() + self._timeout
        while not (found := [each for each in self.problems if part in each]):
            assert time.monotonic() < end, f'never logged: {part}; logged is {self.problems}'
            self.run('0')
            time.sleep(0.05)
        self.problems.remove(found[0])

    def open(self, url: str, width: int, height: int, mobile: bool = False) -> None:
        """Open an address in a window of that size."""
        metrics = dict(width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        self.send('Emulation.setDeviceMetricsOverride', **metrics)
        self.send('Page.navigate', url=url)
        self.wait('document.readyState === "complete"')

    def choose_file(self, selector: str, file: Path) -> None:
        """Put a file into an input, as its dialogue would."""
        root = self.send('DOM.getDocument')['root']['nodeId']
        node = self.send('DOM.querySelector', nodeId=root, selector=selector)['nodeId']
        self.send('DOM.setFileInputFiles', nodeId=node, files=[str(file)])

    def click(self, x: float, y: float) -> None:
        """Press and release the mouse at a point of the window."""
        for kind in ('mousePressed', 'mouseReleased'):
            place = dict(x=x, y=y, button='left', clickCount=1)
            self.send('Input.dispatchMouseEvent', type=kind, **place)

    def press(self, key: str, text: str = '') -> None:
        """Press and release a key."""
        code = dict(Tab=9, Enter=13, Escape=27, ArrowLeft=37, ArrowRight=39)[key]
        for kind in ('keyDown', 'keyUp'):
            more = dict(text=text) if text and kind == 'keyDown' else {}
            self.send(
                'Input.dispatchKeyEvent', type=kind, key=key, windowsVirtualKeyCode=code, **more
            )

    def screenshot(self, file: Path) -> None:
        """Write what the window shows as a PNG."""
        file.write_bytes(base64.b64decode(self.send('Page.captureScreenshot')['data']))

    def _read(self) -> dict[str, Any]:
        while b'\0' not in self._rest:
            block = os.read(self._answers, 2**20)
            assert block, 'Chromium has ended'
            self._rest += block
        message, _, self._rest = self._rest.partition(b'\0')
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        method, params = event.get('method'), event.get('params', {})
        if method == 'Runtime.exceptionThrown':
            self.problems.append(params['exceptionDetails'].get('text', '') + str(params))
        if method == 'Log.entryAdded' and params['entry']['level'] == 'error':
            self.problems.append(f'{params["entry"]["text"]} {params["entry"].get("url", "")}')


@contextmanager
def open_chromium(folder: Path, timeout: float = 60.0) -> Iterator[Page]:
    """Start Chromium with its files in a folder, give a tab, end it.

    Args:
        folder: For its profile and downloads.
        timeout: Seconds that conditions are waited for.
    """
    assert CHROMIUM is not None
    read_commands, commands = os.pipe()
    answers, write_answers = os.pipe()
    options = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage']
    options += [f'--user-data-dir={folder / "profile"}', '--remote-debugging-pipe', 'about:blank']
    # Chromium reads commands from descriptor 3 and writes answers to 4.
    ours = read_commands, write_answers
    read_commands, write_answers = (fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in ours)
    for each in ours:
        os.close(each)
    shell = f'exec "$0" "$@" 3<&{read_commands} 4>&{write_answers}'
    process = subprocess.Popen(
        ['/bin/bash', '-c', shell, CHROMIUM, *options],
        pass_fds=(read_commands, write_answers),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read_commands)
    os.close(write_answers)
    try:
        yield Page(commands, answers, timeout)
    finally:
        process.terminate()
        process.wait(20)
        os.close(commands)
        os.close(answers)
