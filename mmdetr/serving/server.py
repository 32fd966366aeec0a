"""Run the application on a socket until a signal ends it."""

import asyncio
import signal
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from .middleware import MAX_HEAD

# Connections at a time, so that idle ones do not use up the process's files.
_MAX_CONNECTIONS = 500
_HEAD_SECONDS = 20.0
_LOOPBACK = ('127.', '::1')


class WatchedProtocol(H11Protocol):
    """uvicorn's HTTP that also closes connections which begin a request and never end its head."""

    def connection_made(self, transport: Any) -> None:
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self._watch(None)

    def _watch(self, last_seen: Any) -> None:
        if self.transport.is_closing():
            return
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self._was_seen and self.cycle is last_seen:
            self.transport.close()
            return
        self._was_seen = True
        self.loop.call_later(_HEAD_SECONDS, self._watch, self.cycle)

    _was_seen = False


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound and does not listen yet.

    Args:
        host: Name or address.
        port: 0 takes any that is free.

    Raises:
        OSError: The address is not of this machine, or the port is in use.
        OverflowError: There is no such port.
    """
    if not 0 <= port < 2**16:  # what looks addresses up takes the lower bits
        raise OverflowError('a port is a number in 0..65535')
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def is_public(bound: socket.socket) -> bool:
    """Whether others than this machine reach a socket."""
    return not bound.getsockname()[0].startswith(_LOOPBACK)


def address(bound: socket.socket) -> str:
    """Return the URL of a socket."""
    host, port = bound.getsockname()[:2]
    return f'http://[{host}]:{port}' if ':' in host else f'http://{host}:{port}'


class _Server(uvicorn.Server):
    """uvicorn that tells when it listens: whoever reads an address before may be refused."""

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn.Server."""
        await super().startup(sockets)
        if self.started:
            self._on_start()


def serve(app: FastAPI, bound: socket.socket, on_start: Callable[[], None] = lambda: None) -> None:
    """Answer requests until SIGTERM or SIGINT, then those that were accepted, and return.

    Args:
        app: See :func:`mmdetr.serving.app.create_app`.
        bound: From :func:`bind`.
        on_start: Called when it listens.
    """
    config = uvicorn.Config(
        app,
        http=WatchedProtocol,
        ws='none',
        lifespan='on',
        log_level='warning',
        access_log=False,
        server_header=False,
        limit_concurrency=_MAX_CONNECTIONS,
        h11_max_incomplete_event_size=MAX_HEAD,
    )
    server = _Server(config, on_start)
    # uvicorn raises the signals again when it is done, for a default that would kill the process.
    signals = (signal.SIGINT, signal.SIGTERM)
    former = {each: signal.signal(each, lambda *_: None) for each in signals}
    try:
        asyncio.run(server.serve(sockets=[bound]))
    finally:
        for each, handler in former.items():
            signal.signal(each, handler)
