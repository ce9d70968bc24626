"""Consumers of our own for tests: they count, check and sum up what they get."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from zlib import crc32

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from harness.waiting import eventually
from stream_proxy.wire.alpaca.codec import CODECS, Codec

CONTROL = {"success", "error", "subscription"}


class TestConsumer:
    """A client that reads all the time and remembers what matters.

    ``counts`` is messages by (type, symbol); ``checksum`` the sum of CRC-32 over the raw items, as
    the simulator's ledger computes it.
    """

    __test__ = False

    def __init__(self, socket: ClientConnection, codec: Codec, keep: bool) -> None:
        self.socket = socket
        self.codec = codec
        self.counts: Counter[tuple[str, str]] = Counter()
        self.checksum = 0
        self.messages = 0
        self.items: list[bytes] = []
        self.controls: list[dict[str, Any]] = []
        self.frames = 0
        self.largest_frame = 0
        self.closed: ConnectionClosed | None = None
        self._keep = keep
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for frame in self.socket:
                payload = frame.encode() if isinstance(frame, str) else frame
                assert isinstance(frame, bytes) == self.codec.binary
                self.frames += 1
                self.largest_frame = max(self.largest_frame, len(payload))
                self._take(payload)
        except ConnectionClosed as error:
            self.closed = error

    def _take(self, payload: bytes) -> None:
        types, symbols, items = self.codec.ticks.split(payload)
        if types and types[0] in CONTROL:
            assert len(types) == 1, "control messages travel alone"
            self.controls.append(self.codec.decode(payload)[0])
            return
        self.messages += len(items)
        self.checksum += sum(map(crc32, items))
        self.counts.update(zip(types, symbols, strict=True))
        if self._keep:
            self.items += map(bytes, items)

    async def say(self, **message: Any) -> None:
        await self.socket.send(
            self.codec.encode(message) if self.codec.binary else json.dumps(message)
        )

    async def subscribe(self, **channels: list[str]) -> dict[str, Any]:
        """Subscribe and wait for the answer."""
        return await self.ask("subscribe", **channels)

    async def ask(self, action: str, **channels: list[str]) -> dict[str, Any]:
        before = len(self.controls)
        await self.say(action=action, **channels)
        await eventually(lambda: len(self.controls) > before, 15, f"an answer to {action}")
        return self.controls[before]

    async def control(self, kind: str, seconds: float = 10) -> dict[str, Any]:
        """Wait for a control message of this type."""
        await eventually(lambda: any(c["T"] == kind for c in self.controls), seconds, kind)
        return next(c for c in self.controls if c["T"] == kind)

    def decoded(self) -> list[dict[str, Any]]:
        """The kept items as plain data."""
        if self.codec.binary:
            return [self.codec.decode_fields(item) for item in self.items]
        return [msgspec.json.decode(item) for item in self.items]

    async def close(self) -> None:
        await self.socket.close()
        await self._reader


@contextlib.asynccontextmanager
async def consumer(
    url: str,
    codec: str = "json",
    *,
    authenticate: bool = True,
    keep: bool = False,
    headers: dict[str, str] | None = None,
    **options: Any,
) -> AsyncIterator[TestConsumer]:
    """Connect, authenticate, and read until the block ends."""
    extra = {"Content-Type": f"application/{codec}"} | (headers or {})
    async with connect(
        url,
        additional_headers=extra,
        compression=None,
        max_size=1 << 20,
        proxy=None,
        close_timeout=2,
        **options,
    ) as socket:
        made = TestConsumer(socket, CODECS[codec], keep)
        try:
            if authenticate:
                await made.say(action="auth", key="any", secret="any")
                await eventually(
                    lambda: any(c.get("msg") == "authenticated" for c in made.controls),
                    15,
                    "authenticated",
                )
            yield made
        finally:
            await made.close()
