"""Serve a FastAPI application inside a running event loop, with start and stop of our own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator
from typing import Any

import uvicorn


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # Signals belong to the program, not to one of its servers.
        yield


class HttpServer:
    """One HTTP listener."""

    def __init__(self, application: Any, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._server = _Server(
            uvicorn.Config(
                application,
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
