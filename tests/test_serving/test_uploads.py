"""Reading a request's body in bounded memory and time."""

import asyncio
from typing import Any

import pytest

pytest.importorskip('starlette')

from starlette.requests import Request

from mmdetr.serving.images import RefusedUploadError
from mmdetr.serving.uploads import read_upload

CHUNK = bytes(2**16)


def upload(receive: Any, headers: dict[str, str] | None = None, timeout: float = 20) -> int:
    """The status that refuses an upload of at most 1 MiB."""
    pairs = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    request = Request(dict(type='http', headers=pairs), receive)
    with pytest.raises(RefusedUploadError) as caught:
        asyncio.run(read_upload(request, 2**20, timeout))
    return caught.value.status


def test_endless_upload_is_left() -> None:
    count = 0

    async def receive() -> dict:
        nonlocal count
        count += len(CHUNK)
        return dict(type='http.request', body=CHUNK, more_body=True)

    assert upload(receive) == 413
    assert count < 80 * 2**20


def test_sender_that_waits_for_a_word_gets_it_at_once() -> None:
    async def receive() -> dict:
        raise AssertionError('read')

    headers = {'content-length': '1048577', 'expect': '100-continue'}
    assert upload(receive, headers) == 413


def test_slow_upload() -> None:
    async def receive() -> dict:
        await asyncio.sleep(0.05)
        return dict(type='http.request', body=b'a', more_body=True)

    assert upload(receive, timeout=0.3) == 408  # which else comes after 14 hours


def test_upload_that_breaks_off() -> None:
    messages = [
        dict(type='http.request', body=b'a', more_body=True),
        dict(type='http.disconnect'),
    ]

    async def receive() -> dict:
        return messages.pop(0)

    assert upload(receive) == 408
