"""A client that asks for continuity: messages with their order, positions, gaps."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from harness.waiting import eventually
from stream_proxy.wire.alpaca.codec import CODECS

OWN = {"position", "gap", "lag"}


class Follower:
    """Reads all the time.

    Attributes:
        told: everything but Alpaca's own control messages, in order.
        heard: how many of them are the market's.
        symbols: those that it heard trades of.
    """

    def __init__(self, socket: ClientConnection, codec: str) -> None:
        self.socket = socket
        self.told: list[dict[str, Any]] = []
        self.heard = 0
        self.symbols: set[str] = set()
        self._own: list[dict[str, Any]] = []
        self.controls: list[dict[str, Any]] = []
        self._codec = CODECS[codec]
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for frame in self.socket:
                if isinstance(frame, str):
                    messages = msgspec.json.decode(frame)
                else:
                    _, _, items = self._codec.ticks.split(frame)
                    messages = [self._codec.decode_fields(item) for item in items]
                for message in messages:
                    self._keep(message)

    def _keep(self, message: dict[str, Any]) -> None:
        kind = message["T"]
        if kind in {"success", "error", "subscription"}:
            self.controls.append(message)
            return
        self.told.append(message)
        if kind in OWN:
            self._own.append(message)
        else:
            self.heard += 1
            if kind == "t":
                self.symbols.add(message["S"])

    def own(self, kind: str) -> list[dict[str, Any]]:
        """The control messages of a kind."""
        return [message for message in self._own if message["T"] == kind]

    @property
    def data(self) -> list[dict[str, Any]]:
        """What is neither Alpaca's control message nor ours."""
        return [message for message in self.told if message["T"] not in OWN]

    @property
    def position(self) -> str:
        """Behind what it has."""
        last = self.own("position")[-1]
        return f"{last['epoch']}:{last['sequence']}"

    def settled(self) -> list[dict[str, Any]]:
        """The data up to the last position: what is behind it comes again when it resumes."""
        last = max(i for i, message in enumerate(self.told) if message["T"] == "position")
        return [message for message in self.told[:last] if message["T"] not in OWN]

    async def subscribe(self, **channels: list[str]) -> None:
        message = {"action": "subscribe", **channels}
        if self._codec.binary:
            await self.socket.send(self._codec.encode(message))
        else:
            await self.socket.send(msgspec.json.encode(message).decode())
        await eventually(
            lambda: any(one["T"] in ("subscription", "error") for one in self.controls), 15
        )

    async def leave(self) -> None:
        await self.socket.close()
        await self.task


@contextlib.asynccontextmanager
async def follower(
    url: str, codec: str = "json", query: str = "continuity=1", **options: Any
) -> AsyncIterator[Follower]:
    """Connect with credentials in the headers, and read until the block ends."""
    headers = {
        "Content-Type": f"application/{codec}",
        "APCA-API-KEY-ID": "any",
        "APCA-API-SECRET-KEY": "any",
    }
    async with connect(
        f"{url}?{query}",
        additional_headers=headers,
        compression=None,
        proxy=None,
        close_timeout=2,
        **options,
    ) as socket:
        made = Follower(socket, codec)
        try:
            await eventually(
                lambda: any(c.get("msg") == "authenticated" for c in made.controls), 15
            )
            yield made
        finally:
            await made.leave()
