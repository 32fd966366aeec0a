"""Around every request: count it by path and status, add headers that browsers obey."""

import logging
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Bytes of address and headers; more is answered 431. The server alone limits only what comes in
# several pieces.
MAX_HEAD = 2**14
_LOGGER = logging.getLogger('mmdetr.serving')
_HEADERS = {
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
    'Referrer-Policy': 'no-referrer',
    'Cache-Control': 'no-store',
}


class Observe:
    """Middleware of ASGI that also refuses huge headers.

    An error that nobody expected becomes status 500 and goes to the log.

    Args:
        app: What answers.
        count: Told the path and the status of each answer; paths of nothing are one.
    """

    def __init__(self, app: ASGIApp, count: Callable[[str, str], None]) -> None:
        self.app = app
        self.count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] != 'http':
            await self.app(scope, receive, send)
            return

        started = False

        async def observed(message: Message) -> None:
            nonlocal started
            if message['type'] == 'http.response.start':
                started = True
                # The router leaves what it found; strangers do not invent labels.
                route = scope.get('route')
                self.count(getattr(route, 'path', 'other'), str(message['status']))
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if _head_size(scope) > MAX_HEAD:
            await JSONResponse(dict(detail='the head is too large'), 431)(scope, receive, observed)
            return
        try:
            await self.app(scope, receive, observed)
        except Exception:
            _LOGGER.exception('a request to %s failed', scope['path'])
            if not started:
                failed = JSONResponse(dict(detail='the service failed: its log says why'), 500)
                await failed(scope, receive, observed)


def _head_size(scope: Scope) -> int:
    headers = sum(len(name) + len(value) for name, value in scope['headers'])
    return headers + len(scope.get('raw_path') or b'') + len(scope['query_string'])
