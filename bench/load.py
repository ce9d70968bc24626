"""The load: plays Alpaca, or a bridge that publishes to NATS, with bytes that were made before.

    python -m bench.load CASE alpaca
    python -m bench.load CASE nats PORT

For each ``{"send": n}`` on standard input, n messages go out as fast as the socket takes them: the
load waits for its own socket and for nothing else, and costs a write per 256 KiB.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any, Protocol

from picows import ws_create_server

from bench.endpoint import Endpoint
from bench.talk import commands, tell
from bench.traffic import Stream, Traffic, case_from
from stream_proxy.runtime.loop import run

_CHUNK_BYTES = 256 * 1024


class Writable(Protocol):
    """A transport that says when it has had enough."""

    paused: bool
    transport: Any


class Pump:
    """Writes a stretch of a stream to a socket, at the pace that the socket takes it."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._left = 0
        self._done = asyncio.Event()
        self.target: Writable | None = None
        self.connected = asyncio.Event()

    def connect(self, target: Writable) -> None:
        if self.target not in (None, target):
            tell(error="the contender lost its connection, and with it messages")
        self.target = target
        self.connected.set()

    async def send(self, messages: int) -> None:
        self._left = self._stream.length(messages)
        self._position = 0
        self._done.clear()
        self.go_on()
        await self._done.wait()

    def go_on(self) -> None:
        target, cycle = self.target, self._stream.cycle
        assert target is not None
        while self._left and not target.paused:
            most = min(_CHUNK_BYTES, self._left)
            end = self._stream.end_of_chunk(self._position, most)
            target.transport.write(cycle[self._position : end])
            self._left -= end - self._position
            self._position = end % len(cycle)
        if not self._left:
            self._done.set()


class NatsPublisher(asyncio.Protocol):
    """A publisher that knows four words of NATS' protocol."""

    def __init__(self, pump: Pump) -> None:
        self._pump = pump
        self.paused = False
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.transport.write(b'CONNECT {"verbose":false,"pedantic":false}\r\nPING\r\n')

    def data_received(self, data: bytes) -> None:
        if b"-ERR" in data:
            tell(error=data.decode())
        if b"PING\r\n" in data:
            self.transport.write(b"PONG\r\n")
        if b"PONG\r\n" in data:
            self._pump.connect(self)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._pump.go_on()


async def main(case: str, protocol: str, port: int = 0) -> None:
    traffic = Traffic(case_from(case))
    if protocol == "nats":
        pump = Pump(traffic.publications())
        await asyncio.get_running_loop().create_connection(
            lambda: NatsPublisher(pump), "127.0.0.1", port
        )
        await pump.connected.wait()
        tell(port=port)
    else:
        pump = Pump(traffic.frames())
        server = await ws_create_server(
            lambda request: Endpoint(pump.connect, pump.go_on), "127.0.0.1", 0
        )
        tell(port=server.sockets[0].getsockname()[1])
    async for command in commands():
        await pump.connected.wait()
        started_ns = time.monotonic_ns()
        await pump.send(command["send"])
        tell(started_ns=started_ns)


if __name__ == "__main__":
    run(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])))
