"""The floor: a server that does nothing but write frames that were made before.

    python -m bench.peers.prebuilt_frames CASE

The same bytes to the same sockets, in batches as large as the proxy's were, through the same kind
of transport; no reading, no routing, no joining. ``{"batch": n}`` makes the frames of batches of n
messages, ``{"send": n}`` writes them. Nothing on this loop can do the work in less.
"""

from __future__ import annotations

import asyncio
import sys
import time
from functools import cache
from typing import Any

from picows import ws_create_server

from bench.endpoint import Endpoint
from bench.machine import raise_open_files
from bench.talk import commands, tell
from bench.traffic import EVERYTHING, Traffic, case_from
from stream_proxy.runtime.loop import run
from stream_proxy.wire.websocket import frame


class Floor:
    """All clients, and the frames of one cycle for each."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._writable = asyncio.Event()
        self.endpoints: list[Endpoint] = []
        self.batches: list[list[tuple[Endpoint, Any, bytes]]] = []

    def accept(self) -> Endpoint:
        return Endpoint(self.endpoints.append, self._writable.set)

    def prepare(self, batch: int) -> None:
        """Make every frame; consumers with the same wish share theirs, as in the proxy.

        The batches of a cycle are of one size, or the last would be a stub that costs as much.
        """
        build = cache(self._frame)
        length = len(self._traffic)
        pieces = max(1, round(length / batch))
        self.batches = []
        for piece in range(pieces):
            start, end = length * piece // pieces, length * (piece + 1) // pieces
            writes = []
            for endpoint in self.endpoints:
                made = build(endpoint.symbols("quotes"), endpoint.codec.name, start, end)
                if made:
                    writes.append((endpoint, endpoint.transport.write, made))
            self.batches.append(writes)

    def _frame(self, symbols: tuple[str, ...], codec_name: str, start: int, end: int) -> bytes:
        endpoint = next(e for e in self.endpoints if e.codec.name == codec_name)
        wanted = set(symbols)
        items = [
            item
            for symbol, item in zip(
                self._traffic.symbols[start:end],
                self._traffic.items[codec_name][start:end],
                strict=True,
            )
            if EVERYTHING in wanted or symbol in wanted
        ]
        return frame(endpoint.codec.join(items), endpoint.codec.binary) if items else b""

    async def send(self, cycles: int) -> None:
        for _ in range(cycles):
            for writes in self.batches:
                for _, write, made in writes:
                    write(made)
                await asyncio.sleep(0)  # the proxy, too, returns to the loop after each read
                while any(endpoint.paused for endpoint in self.endpoints):
                    self._writable.clear()
                    await self._writable.wait()


async def main(case: str) -> None:
    raise_open_files()
    traffic = Traffic(case_from(case))
    floor = Floor(traffic)
    server = await ws_create_server(
        lambda request: floor.accept(), "127.0.0.1", 0, use_aiofastnet=False, backlog=1024
    )
    tell(port=server.sockets[0].getsockname()[1])
    async for command in commands():
        if "batch" in command:
            for endpoint in floor.endpoints:
                endpoint.transport.set_write_buffer_limits(high=256 * 1024)
            floor.prepare(command["batch"])
            tell(prepared=len(floor.batches))
        else:
            started_ns = time.monotonic_ns()
            await floor.send(command["send"] // len(traffic))
            tell(started_ns=started_ns)


if __name__ == "__main__":
    run(main(sys.argv[1]))
