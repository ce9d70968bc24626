"""Serve a FastAPI application inside a running event loop, with start and stop of our own.

uvicorn's keep-alive time-out begins behind an answer, and its limit on concurrency refuses
requests, not connections: who connects and says nothing, or says it bit by bit, would stay for
ever. What a connection may take is bounded here, below the application.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

BRIEF_CONNECTIONS = 100
"""For probes, scrapes and pages: an answer each, at once."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What clients may take.

    Attributes:
        connections: of all clients together; one more is closed at once.
        request_seconds: from the connection, or from the first byte after an answer, to the end of
            a request's head.
        stalled_seconds: how long a client may read nothing of an answer.
    """

    connections: int = BRIEF_CONNECTIONS
    request_seconds: float = 10.0
    stalled_seconds: float = 60.0


class _Peer(H11Protocol):
    """One client's connection, which ends when nothing comes or nothing is read."""

    def __init__(
        self, limits: HttpLimits, on_refused: Callable[[], None], **of_server: Any
    ) -> None:
        super().__init__(**of_server)
        self._limits = limits
        self._on_refused = on_refused
        self._late: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        if len(self.connections) > self._limits.connections:
            self.transport.abort()
            self._on_refused()
        else:
            self._expect_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._expect_request()

    def _expect_request(self) -> None:
        """Let time run while a request is awaited; uvicorn begins a cycle as soon as it has one."""
        serves = self.cycle is not None and not self.cycle.response_complete
        if serves and self._late is not None:
            self._late.cancel()
            self._late = None
        elif not serves and self._late is None:
            self._late = self.loop.call_later(self._limits.request_seconds, self.transport.abort)

    def _should_upgrade(self) -> bool:
        return False  # a WebSocket would escape these bounds, and none is served here

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self._limits.stalled_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._late, self._stalled):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # Signals belong to the program, not to one of its servers.
        yield


class HttpServer:
    """One HTTP listener.

    Args:
        on_refused: called for each connection that is one too many.
    """

    def __init__(
        self,
        application: Any,
        host: str,
        port: int,
        limits: HttpLimits | None = None,
        on_refused: Callable[[], None] = lambda: None,
    ) -> None:
        self._host = host
        self._port = port
        peer = partial(_Peer, limits or HttpLimits(), on_refused)
        self._server = _Server(
            uvicorn.Config(
                application,
                http=cast(type[asyncio.Protocol], peer),
                log_config=None,  # its own handlers would write past the mask
                server_header=False,
                access_log=False,
                lifespan="off",
                loop="none",
                timeout_graceful_shutdown=1,
            )
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Listen; give the port.

        Raises:
            OSError: the port is taken.
        """
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host, self._port))
        except OSError:
            listener.close()
            raise
        port: int = listener.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:
            await asyncio.sleep(0.005)
            if self._task.done():
                self._task.result()
                break
        return port

    async def stop(self) -> None:
        self._server.should_exit = True
        if self._task is not None:
            await self._task
