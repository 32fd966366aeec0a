"""Read the image out of a request, in bounded memory and time."""

import asyncio
import time

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from .images import RefusedUploadError

# What is still read of an upload that is refused.
_DRAINED_BYTES, _DRAINED_SECONDS = 64 * 2**20, 5.0
# Boundary, names and types of a multipart body.
_FORM_BYTES = 2**14
_MAX_FIELDS = 8


async def read_upload(request: Request, max_bytes: int, timeout: float) -> bytes:
    """Return the bytes of the one image that a request brings.

    Args:
        request: Its body is the image, or a multipart form with one file.
        max_bytes: Of the image.
        timeout: Seconds for the upload.

    Raises:
        RefusedUploadError: 400 for a form that is broken or has not one file, 408 for an upload
            that takes too long or breaks off, 413 for one that is too large.
    """
    kind = request.headers.get('content-type', '').partition(';')[0].strip().lower()
    is_form = kind == 'multipart/form-data'
    try:
        limit = max_bytes + (_FORM_BYTES if is_form else 0)
        body = await asyncio.wait_for(_read_body(request, limit), timeout)
    except (asyncio.TimeoutError, TimeoutError):
        raise RefusedUploadError(408, f'the upload took more than {timeout:g} s') from None
    except ClientDisconnect:
        raise RefusedUploadError(408, 'the upload broke off') from None
    if body is None:
        reason = f'the upload has more than the {max_bytes:,} bytes that are taken'
        raise RefusedUploadError(413, reason)
    content = await _file_of_form(request, body) if is_form else body
    if len(content) > max_bytes:
        raise RefusedUploadError(413, f'the image has more than {max_bytes:,} bytes')
    return content


async def _read_body(request: Request, limit: int) -> bytes | None:
    """Return the body; None where it is longer than the limit."""
    stated = request.headers.get('content-length', '')
    if stated.isdigit() and int(stated) > limit:
        await drain(request)
        return None
    body = bytearray()
    more = True
    while more:
        message = await request.receive()
        if message['type'] == 'http.disconnect':
            raise ClientDisconnect
        body += message.get('body', b'')
        more = message.get('more_body', False)
        if len(body) > limit:
            if more:
                await drain(request)
            return None
    return bytes(body)


async def drain(request: Request) -> None:
    """Read on and forget, for a while: a sender that is cut off may not see the answer.

    Args:
        request: Whose body has not been read to its end.
    """
    if 'expect' in request.headers:  # the sender waits for a word before it sends
        return
    end = time.monotonic() + _DRAINED_SECONDS
    count = 0
    more = True
    while more and count < _DRAINED_BYTES and (left := end - time.monotonic()) > 0:
        try:
            message = await asyncio.wait_for(request.receive(), left)
        except (asyncio.TimeoutError, TimeoutError):
            return
        count += len(message.get('body', b''))
        more = message['type'] == 'http.request' and message.get('more_body', False)


async def _file_of_form(request: Request, body: bytes) -> bytes:
    async def receive() -> Message:
        return dict(type='http.request', body=body, more_body=False)

    try:
        async with Request(request.scope, receive).form(
            max_files=1, max_fields=_MAX_FIELDS
        ) as form:
            files = [each for each in form.values() if isinstance(each, UploadFile)]
            if len(files) != 1:
                raise RefusedUploadError(400, 'the form has no file: send the image as one')
            return await files[0].read()
    except HTTPException as error:
        raise RefusedUploadError(400, f'the form cannot be read: {error.detail}') from error
