"""The server's side of Alpaca's protocol, as little of it as a client needs to get going.

The simulator of the product does it properly; this one answers, and stays out of the way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport

from stream_proxy.wire.alpaca.codec import CODECS, JSON, Codec


class Endpoint(WSListener):
    """One client: greets it, lets it in, and acknowledges whatever it subscribes to.

    Args:
        on_ready: called when a subscribe was acknowledged.
        on_writable: called when the socket takes bytes again.
    """

    def __init__(
        self,
        on_ready: Callable[[Endpoint], None] = lambda endpoint: None,
        on_writable: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._on_ready = on_ready
        self._on_writable = on_writable
        self._held: dict[str, dict[str, None]] = {}
        self.codec: Codec = JSON
        self.paused = False
        self.transport: Any = None
        self.websocket: Any = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        kind = transport.request.headers.get("Content-Type", "")
        self.codec = CODECS["msgpack" if "msgpack" in kind else "json"]
        self.websocket = transport
        self.transport = transport.underlying_transport
        self._say({"T": "success", "msg": "connected"})

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            message = self.codec.decode(frame.get_payload_as_bytes())
            action = message.pop("action")
            if action == "auth":
                self._say({"T": "success", "msg": "authenticated"})
            else:
                self._change(action == "subscribe", message)

    def symbols(self, channel: str) -> tuple[str, ...]:
        return tuple(self._held.get(channel, ()))

    def _change(self, add: bool, wanted: dict[str, list[str]]) -> None:
        for channel, symbols in wanted.items():
            held = self._held.setdefault(channel, {})
            for symbol in symbols:
                if add:
                    held[symbol] = None
                else:
                    held.pop(symbol, None)
        held_lists = {channel: list(symbols) for channel, symbols in self._held.items()}
        self._say({"T": "subscription", **held_lists})
        self._on_ready(self)

    def _say(self, message: dict[str, object]) -> None:
        kind = WSMsgType.BINARY if self.codec.binary else WSMsgType.TEXT
        self.websocket.send(kind, self.codec.encode([message]))

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._on_writable()
