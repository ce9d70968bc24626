"""A client of order updates that notes everything it hears."""

from __future__ import annotations

import asyncio
import contextlib
import json
from types import TracebackType
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed


class OrderClient:
    """Speaks Alpaca's trading protocol; ``async with`` it."""

    def __init__(self, url: str, *, plain: bool = False) -> None:
        self._url = url
        self._plain = plain
        self._task: asyncio.Task[None] | None = None
        self.socket: ClientConnection
        self.updates: list[dict[str, Any]] = []
        self.controls: list[Any] = []
        self.binary: set[bool] = set()
        self.closed: ConnectionClosed | None = None

    async def __aenter__(self) -> OrderClient:
        self.socket = await connect(self._url, compression=None, proxy=None)
        if self._plain:
            await self.say(action="auth", key="any", secret="any")
        else:
            await self.say(action="authenticate", data={"key_id": "any", "secret_key": "any"})
            await self.say(action="listen", data={"streams": ["trade_updates"]})
        self._task = asyncio.create_task(self._listen())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.socket.close()
        if self._task is not None:
            await self._task

    async def say(self, **message: Any) -> None:
        with contextlib.suppress(ConnectionClosed):
            await self.socket.send(json.dumps(message))

    async def _listen(self) -> None:
        try:
            async for payload in self.socket:
                self.binary.add(isinstance(payload, bytes))
                message = json.loads(payload)
                if isinstance(message, dict) and message.get("stream") == "trade_updates":
                    self.updates.append(message)
                else:
                    self.controls.append(message)
        except ConnectionClosed as error:
            self.closed = error
        else:
            self.closed = None

    def stream(self, name: str) -> list[dict[str, Any]]:
        """The control messages of a stream."""
        return [m["data"] for m in self.controls if isinstance(m, dict) and m.get("stream") == name]

    @property
    def ids(self) -> list[str]:
        """Alpaca's ids of the events, in order."""
        return [update["data"]["event_id"] for update in self.updates]

    @property
    def sequences(self) -> list[int]:
        return [update["sequence"] for update in self.updates]
