"""A client that asks for continuity and costs next to nothing: it keeps frames for later."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from stream_proxy.wire.alpaca.codec import CODECS

_SMALL_BYTES = 300
_OWN = frozenset({"success", "error", "subscription", "position", "gap", "lag"})


class Recorder(WSListener):
    """Subscribes as soon as it is let in; ``ready`` is set when that was confirmed."""

    def __init__(self, codec: str, channels: dict[str, list[str]]) -> None:
        super().__init__()
        self._codec = CODECS[codec]
        self._channels = channels
        self._frames: list[bytes] = []
        self.ready = asyncio.Event()
        self.live = asyncio.Event()
        """Set when it was told that it has caught up."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            return
        payload = frame.get_payload_as_bytes()
        self._frames.append(payload)
        may_tell = len(payload) < _SMALL_BYTES and b"live" in payload
        if may_tell and any(message.get("live") for message in self._codec.decode(payload)):
            self.live.set()
        if not self.ready.is_set():
            for message in self._codec.decode(payload):
                if message.get("msg") == "authenticated":
                    kind = WSMsgType.BINARY if self._codec.binary else WSMsgType.TEXT
                    wish = {"action": "subscribe", **self._channels}
                    transport.send(kind, self._codec.encode(wish))
                elif message["T"] == "subscription":
                    self.ready.set()

    def own(self, kind: str) -> list[dict[str, Any]]:
        """The control messages of a kind."""
        small = [one for one in self._frames if len(one) < _SMALL_BYTES]
        decoded = [message for one in small for message in self._codec.decode(one)]
        return [message for message in decoded if message["T"] == kind]

    def items(self) -> tuple[list[bytes], list[int]]:
        """All messages of the market as they came, and how many had come before each gap message."""
        items: list[bytes] = []
        gaps: list[int] = []
        for payload in self._frames:
            types, _, found = self._codec.ticks.split(payload)
            for kind, item in zip(types, found, strict=True):
                if kind not in _OWN:
                    items.append(bytes(item))
                elif kind == "gap":
                    gaps.append(len(items))
        return items, gaps


@contextlib.asynccontextmanager
async def recorder(
    url: str, codec: str, channels: dict[str, list[str]], query: str = "continuity=1"
) -> AsyncIterator[Recorder]:
    """Record until the block ends."""
    headers = {
        "Content-Type": f"application/{codec}",
        "APCA-API-KEY-ID": "any",
        "APCA-API-SECRET-KEY": "any",
    }
    made = Recorder(codec, channels)
    transport, _ = await ws_connect(lambda: made, f"{url}?{query}", extra_headers=headers)
    try:
        async with asyncio.timeout(60):
            await made.ready.wait()
        yield made
    finally:
        transport.send_close(WSCloseCode.OK)
        transport.disconnect()
