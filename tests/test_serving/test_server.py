"""The service as a process: sockets, signals, and what strangers send."""

import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('fastapi')
pytest.importorskip('uvicorn')
pytest.importorskip('httpx')

import httpx

from mmdetr.serving import server
from tests.helpers.hostile import HOSTILE, damaged_uploads
from tests.helpers.service_process import ROOT, ServiceProcess, run_service
from tests.helpers.serving import encode, noise, write_detector

SERVE = ROOT / 'tools' / 'serve.py'


@pytest.fixture(scope='module')
def service(tmp_path_factory: Any) -> Iterator[ServiceProcess]:
    """One service for this module, which its last test ends."""
    files = write_detector(tmp_path_factory.mktemp('service'))
    limits = ('--queue', 16, '--max-megabytes', 1, '--upload-timeout', 2, '--device', 'cpu')
    with run_service(*files, *limits) as service:
        yield service


def send(url: str, data: bytes, seconds: float = 10) -> bytes:
    """Send bytes to the service's port and return the head of what it answers."""
    host, port = url.removeprefix('http://').split(':')
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(data)
        return connection.recv(4096)


def test_answers(service: ServiceProcess) -> None:
    assert service.url.startswith('http://127.0.0.1:')
    assert httpx.get(f'{service.url}/health').json() == dict(status='ok')
    content = encode(noise())
    record = httpx.post(f'{service.url}/predict?score_thr=0', files=dict(image=content)).json()
    assert (record['width'], record['height'], len(record['boxes'])) == (80, 60, 6)
    assert 'server' not in httpx.get(service.url).headers


def test_hostile_uploads_leave_it_alive(service: ServiceProcess) -> None:
    with httpx.Client(base_url=service.url, timeout=30) as client:
        for content, statuses in HOSTILE.values():
            assert client.post('/predict', content=content()).status_code in statuses
        before = service.memory()
        statuses = {
            client.post('/predict', files=dict(image=each)).status_code
            for each in damaged_uploads(60, seed=1)
        }
        assert statuses <= {200, 413, 415, 422}
        assert service.memory() - before < 50_000
        assert client.get('/health').status_code == 200


def test_uploads_that_are_too_large_see_why(service: ServiceProcess) -> None:
    large = bytes(8 * 2**20)
    answer = httpx.post(f'{service.url}/predict', content=large)
    assert answer.status_code == 413
    answer = httpx.post(f'{service.url}/predict', content=iter([large[: 2**20 + 1]]))
    assert answer.status_code == 413


@pytest.mark.parametrize(
    'data',
    [
        b'nonsense\r\n\r\n',
        b'GET / HTTP/1.1\r\n\r\n',  # without Host
        b'GET / HTTP/1.1\r\nHost: a\r\nX: ' + b'a' * 100_000 + b'\r\n\r\n',
        b'GET /?' + b'a' * 50_000 + b' HTTP/1.1\r\nHost: a\r\n\r\n',
        b'POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n',
        b'POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
        b'POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999999999\r\n\r\n',
        b'POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc',  # then silence
    ],
)
def test_broken_requests(service: ServiceProcess, data: bytes) -> None:
    status = int(send(service.url, data).split()[1])
    assert 400 <= status < 500
    assert httpx.get(f'{service.url}/health').status_code == 200


def test_port_in_use_is_one_line(service: ServiceProcess) -> None:
    port = service.url.rpartition(':')[2]
    config, checkpoint = SERVE, SERVE  # which are not opened
    command = [sys.executable, SERVE, config, checkpoint, '--port', port]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(PYTHONPATH=str(ROOT)))
    assert done.returncode == 1
    assert done.stderr.startswith(f'error: cannot listen at 127.0.0.1, port {port}: ')
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize('port', [99999, -1, 65536])
def test_a_port_that_there_is_not(port: int) -> None:
    """Looking up the address would take the lower bits and listen somewhere else."""
    with pytest.raises(OverflowError, match=r'a port is a number in 0\.\.65535'):
        server.bind('127.0.0.1', port)


def test_a_signal_loses_no_accepted_request(service: ServiceProcess) -> None:
    content = encode(noise(300, 400))
    before = httpx.get(f'{service.url}/metrics').text
    statuses: list[int] = []

    def ask() -> None:
        answer = httpx.post(f'{service.url}/predict?score_thr=0', content=content, timeout=60)
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    accepted = 0
    while accepted < 12:  # answered or under way
        figures = httpx.get(f'{service.url}/metrics').text
        accepted = figure(figures, 'mmdetr_requests_accepted') + (
            figure(figures, 'mmdetr_request_seconds_count')
            - figure(before, 'mmdetr_request_seconds_count')
        )
    assert service.end(signal.SIGTERM) == 0, service.log
    for thread in threads:
        thread.join()
    assert statuses == [200] * 12
    assert not any('Traceback' in line for line in service.log), service.log
    with pytest.raises(httpx.ConnectError):
        httpx.get(service.url)


def figure(text: str, name: str) -> int:
    (line,) = (line for line in text.splitlines() if line.startswith(f'{name} '))
    return int(float(line.split()[1]))


# --- without a process ---


def test_heads_that_never_end_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    import uvicorn

    monkeypatch.setattr(server, '_HEAD_SECONDS', 0.2)

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(1)  # a long answer is no idle connection
        await send(dict(type='http.response.start', status=200, headers=[]))
        await send(dict(type='http.response.body', body=b'x'))

    async def talk() -> tuple[bytes, float, bytes]:
        config = uvicorn.Config(
            answer, http=server.WatchedProtocol, lifespan='off', log_level='warning'
        )
        bound = server.bind('127.0.0.1', 0)
        running = uvicorn.Server(config)
        task = asyncio.create_task(running.serve(sockets=[bound]))
        while not running.started:
            await asyncio.sleep(0.01)
        port = bound.getsockname()[1]
        start = time.monotonic()
        reader, writer = await asyncio.open_connection('127.0.0.1', port)
        writer.write(b'GET / HTTP/1.1\r\nHost')
        silent = await asyncio.wait_for(reader.read(), 60)
        seconds = time.monotonic() - start
        reader, writer = await asyncio.open_connection('127.0.0.1', port)
        writer.write(b'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
        patient = await asyncio.wait_for(reader.read(), 60)
        running.should_exit = True
        await task
        return silent, seconds, patient

    silent, seconds, patient = asyncio.run(talk())
    assert silent == b''
    assert seconds >= 0.2
    assert patient.endswith(b'x\r\n0\r\n\r\n')


@pytest.mark.parametrize(
    ('host', 'public'), [('127.0.0.1', False), ('localhost', False), ('0.0.0.0', True)]
)
def test_who_can_reach_it(host: str, public: bool) -> None:
    with server.bind(host, 0) as bound:
        assert server.is_public(bound) is public
        assert server.address(bound).startswith('http://')


@pytest.mark.parametrize(
    ('words', 'reason'),
    [
        (['nowhere.py', 'nowhere.pth'], 'config not found: nowhere.py'),
        (['nowhere.onnx'], 'model not found: nowhere.onnx'),
        ([str(SERVE), str(SERVE), '--queue', '0'], 'queue of Settings must be 1 or more, not 0'),
        ([str(SERVE), str(SERVE), '--token-file', 'nowhere'], 'token file cannot be read: nowhere'),
        ([str(SERVE), str(SERVE), '--host', '203.0.113.1'], 'cannot listen at 203.0.113.1'),
        ([str(SERVE)], 'serve.py is a config: give a checkpoint'),
    ],
)
def test_what_a_user_can_mend_is_one_line(
    monkeypatch: pytest.MonkeyPatch, words: list[str], reason: str
) -> None:
    monkeypatch.setattr(sys, 'argv', ['serve.py', *words])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(SERVE), run_name='__main__')
    assert str(caught.value.code).startswith('error: ')
    assert reason in str(caught.value.code)
    assert '\n' not in str(caught.value.code)


def test_token_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: Any) -> None:
    read_token = runpy.run_path(str(SERVE))['read_token']
    assert read_token(None) is None
    monkeypatch.setenv('MMDETR_TOKEN', 'b')
    assert read_token(None) == 'b'
    (tmp_path / 'token').write_text('a \nmore\n')
    assert read_token(str(tmp_path / 'token')) == 'a'
