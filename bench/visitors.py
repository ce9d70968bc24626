"""Consumers that come, ask for something, and go, with a stopwatch.

    python -m bench.visitors PORT

``{"join": n, "symbols": [...]}`` connects n consumers at once, ``{"rejoin": true}`` cuts them all
and lets them come again at once, ``{"leave": true}`` lets them go; ``{"action": "subscribe",
"symbols": [...], "pieces": n}`` makes the first of them ask, in n messages. Each is answered with
the seconds until the last acknowledgement.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from bench.machine import raise_open_files
from bench.talk import commands, tell
from stream_proxy.runtime.loop import run


class Visitor(WSListener):
    """One consumer; its requests are answered strictly in order."""

    def __init__(self) -> None:
        super().__init__()
        self._answered = asyncio.Event()
        self._awaited = 1
        self.transport: Any = None

    async def come(self, port: int, symbols: Sequence[str]) -> None:
        self.transport, _ = await ws_connect(
            lambda: self,
            f"ws://127.0.0.1:{port}/v2/sip",
            extra_headers={"Content-Type": "application/msgpack"},
            websocket_handshake_timeout=60,
            read_buffer_init_size=4096,
        )
        await self._answered.wait()
        if symbols:
            await self.ask("subscribe", [symbols])

    async def ask(self, action: str, pieces: Sequence[Sequence[str]]) -> None:
        """Send requests one behind the other, and wait for the last answer."""
        self._awaited = len(pieces)
        self._answered.clear()
        for piece in pieces:
            self._say({"action": action, "quotes": piece})
        await self._answered.wait()

    async def go(self) -> None:
        self.transport.disconnect(graceful=False)
        await self.transport.wait_disconnected()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.BINARY:
            return
        payload = frame.get_payload_as_bytes()
        if b"error" in payload:
            tell(error=str(msgspec.msgpack.decode(payload)))
        if b"connected" in payload:
            self.transport = transport
            self._say({"action": "auth", "key": "any", "secret": "any"})
        elif not self._answered.is_set() and b"\xa1q" not in payload[:8]:
            self._awaited -= 1
            if not self._awaited:
                self._answered.set()

    def _say(self, message: dict[str, object]) -> None:
        self.transport.send(WSMsgType.BINARY, msgspec.msgpack.encode(message))


async def main(port: int) -> None:
    raise_open_files()
    visitors: list[Visitor] = []
    symbols: list[str] = []

    async def come(count: int) -> None:
        visitors[:] = [Visitor() for _ in range(count)]
        async with asyncio.timeout(120):
            await asyncio.gather(*(visitor.come(port, symbols) for visitor in visitors))

    async def go() -> None:
        await asyncio.gather(*(visitor.go() for visitor in visitors))

    tell(ready=True)
    async for command in commands():
        started_ns = time.monotonic_ns()
        if "join" in command:
            symbols = command["symbols"]
            await come(command["join"])
        elif "rejoin" in command:
            await go()
            started_ns = time.monotonic_ns()
            await come(len(visitors))
        elif "leave" in command:
            await go()
            visitors.clear()
        else:
            asked, size = command["symbols"], -(-len(command["symbols"]) // command["pieces"])
            pieces = [asked[start : start + size] for start in range(0, len(asked), size)]
            started_ns = time.monotonic_ns()
            await visitors[0].ask(command["action"], pieces)
        tell(seconds=(time.monotonic_ns() - started_ns) / 1e9)


if __name__ == "__main__":
    run(main(int(sys.argv[1])))
