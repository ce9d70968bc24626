"""A WebSocket client that reads when the test says so, with as little of a window as can be had."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

from stream_proxy.wire.alpaca.codec import CODECS

_WINDOW_BYTES = 16 * 1024


class SlowClient:
    """Reads nothing by itself.

    Attributes:
        messages: what it has read, in order; items are decoded with their times intact.
        close_code: of the close frame, None until it came.
    """

    def __init__(self, raw: socket.socket, codec: str) -> None:
        self.messages: list[dict[str, Any]] = []
        self.close_code: int | None = None
        self._raw = raw
        self._codec = CODECS[codec]
        self._unread = b""
        self._loop = asyncio.get_running_loop()

    @property
    def data(self) -> list[dict[str, Any]]:
        """What isn't a control message: data has types of one letter."""
        return [message for message in self.messages if len(message["T"]) == 1]

    def of(self, kinds: str) -> list[dict[str, Any]]:
        """The messages of these one-letter types."""
        return [message for message in self.messages if message["T"] in kinds]

    def own(self, kind: str) -> list[dict[str, Any]]:
        """The control messages of a type."""
        return [message for message in self.messages if message["T"] == kind]

    async def read(self, most_bytes: int = 1 << 16) -> bool:
        """Take what is there, or wait for it; False at the end of the stream."""
        try:
            data = await self._loop.sock_recv(self._raw, most_bytes)
        except ConnectionError:
            return False
        self._unread += data
        while (frame := self._frame()) is not None:
            opcode, payload = frame
            if opcode == 8:
                self.close_code = int.from_bytes(payload[:2], "big")
            elif opcode in (1, 2):
                self._take(payload)
        return bool(data)

    def _frame(self) -> tuple[int, bytes] | None:
        unread = self._unread
        if len(unread) < 2:
            return None
        size, start = unread[1], 2
        if size > 125:
            start = 4 if size == 126 else 10
            size = int.from_bytes(unread[2:start], "big")
        if len(unread) < start + size:
            return None
        self._unread = unread[start + size :]
        return unread[0] & 15, unread[start : start + size]

    def _take(self, payload: bytes) -> None:
        if self._codec.binary:
            _, _, items = self._codec.ticks.split(payload)
            self.messages += [self._codec.decode_fields(item) for item in items]
        else:
            self.messages += json.loads(payload)

    async def read_until(self, kind: str, seconds: float = 20, **fields: Any) -> dict[str, Any]:
        """Read on to a message of this type with these fields, which hasn't been read yet."""
        async with asyncio.timeout(seconds):
            while True:
                seen = len(self.messages)
                assert await self.read(), f"the end came before {kind} {fields}"
                for message in self.messages[seen:]:
                    if message["T"] == kind and fields.items() <= message.items():
                        return message

    async def read_to_the_end(self, seconds: float = 20) -> None:
        """Read until the connection is closed."""
        async with asyncio.timeout(seconds):
            while await self.read() and self.close_code is None:
                pass

    async def say(self, **message: Any) -> None:
        payload = self._codec.encode(message)
        # A mask of zeros leaves the bytes as they are.
        header = bytes((0x82 if self._codec.binary else 0x81, 0xFE)) + len(payload).to_bytes(
            2, "big"
        )
        await self._loop.sock_sendall(self._raw, header + bytes(4) + payload)

    async def subscribe(self, **channels: list[str]) -> None:
        await self.say(action="subscribe", **channels)
        await self.read_until("subscription")


@contextlib.asynccontextmanager
async def slow_client(
    url: str, codec: str = "msgpack", key: str = "any", secret: str = "any", **headers: str
) -> AsyncIterator[SlowClient]:
    """Connect and authenticate.

    Args:
        headers: further ones; an underscore stands for a hyphen.
    """
    host, port = url.removeprefix("ws://").partition("/")[0].split(":")
    path = "/" + url.removeprefix("ws://").partition("/")[2]
    with socket.socket() as raw:
        # Before connecting: a small window, so that the kernels hide little of the slowness.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW_BYTES)
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(raw, (host, int(port)))
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            f"Content-Type: application/{codec}\r\n{more}\r\n"
        )
        await loop.sock_sendall(raw, request.encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await loop.sock_recv(raw, 1)
        assert head.startswith(b"HTTP/1.1 101"), head
        made = SlowClient(raw, codec)
        await made.say(action="auth", key=key, secret=secret)
        await made.read_until("success", msg="authenticated")
        yield made
