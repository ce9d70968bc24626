"""A WebSocket server connection: the library reads, prebuilt frames go straight to the socket.

Handshake and incoming frames are the ``websockets`` library's sans-I/O server protocol, which
brings the whole of RFC 6455. Outgoing data is written to the transport as bytes that somebody
else framed, once for many connections. Compression is never accepted: it would cost a
compression per connection and forbid shared frames.
"""

from __future__ import annotations

import asyncio
import codecs
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import cast

import structlog
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

# The library's debug lines print handshakes, and so credentials.
_quiet = logging.getLogger("stream_proxy.websockets")
_quiet.setLevel(logging.CRITICAL)

_log = structlog.get_logger("stream_proxy.websocket_server")

_MOST_FRAGMENTS = 10_000

_HIGH_WATER_BYTES = 256 * 1024
"""Bytes in the transport at which the socket counts as full; a whole batch fits in."""

_MOST_UNSENT_BYTES = 4 * 1024 * 1024
"""Who pings without reading the answers is cut here: answers don't go through any queue."""

CLOSE_GRACE_SECONDS = 5.0
"""How long a peer may take to answer our close frame, or to read what is still in the socket."""


class _Protocol(ServerProtocol):
    def recv_frame(self, frame: Frame) -> None:
        # A close may come in the middle of a fragmented message (RFC 6455, section 5.4: control
        # frames may be injected). The library answers 1002; Autobahn case 7.1.5 wants the echo.
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None
        super().recv_frame(frame)


class WebSocketConnection(asyncio.Protocol):
    """One client. Subclasses decide on the request and act on messages.

    Args:
        max_message_bytes: a larger incoming message ends the connection with 1009.
        on_lost: called once, when the socket is gone.
    """

    def __init__(
        self, max_message_bytes: int, on_lost: Callable[[WebSocketConnection], None]
    ) -> None:
        self._protocol = _Protocol(max_size=max_message_bytes, logger=_quiet)
        self._on_lost = on_lost
        self._fragments: list[bytes] = []
        self._message_opcode: Opcode | None = None
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._loop = asyncio.get_running_loop()
        self._grace: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.peer = ""
        self.opened_at = self._loop.time()
        self.last_heard = self.opened_at
        self.lost = False
        self._ended = False

    # For subclasses

    def on_request(self, request: Request) -> Response | None:
        """Refuse the handshake with a response, or accept it with None."""

    def on_open(self) -> None:
        """The handshake is done."""

    def on_message(self, payload: bytes, binary: bool) -> None:
        """A whole message came, defragmented and, if text, valid UTF-8."""

    def on_closed(self) -> None:
        """The socket is gone, or will never carry data again."""

    def on_pause(self) -> None:
        """The socket is full."""

    def on_resume(self) -> None:
        """The socket takes bytes again."""

    # State

    @property
    def open(self) -> bool:
        """Whether messages may be sent."""
        return self._protocol.state is State.OPEN and not self.lost

    @property
    def close_code(self) -> int | None:
        return self._protocol.close_code

    def reject(self, status: HTTPStatus, text: str) -> Response:
        """A refusal of the handshake with a sentence for people."""
        return self._protocol.reject(status, text + "\n")

    # Sending

    def write(self, frames: bytes) -> None:
        """Put ready frames on the socket."""
        self.transport.write(frames)

    def ping(self) -> None:
        if self.open:
            self._protocol.send_ping(b"")
            self._flush()

    def close(self, code: int, reason: str = "") -> None:
        """Start the closing handshake; the socket ends with its answer or after the grace."""
        if self.lost or self._grace is not None:
            return
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
            self._flush()
            self._grace = self._loop.call_later(CLOSE_GRACE_SECONDS, self.abort)
        else:
            self.abort()

    def abort(self) -> None:
        """End the socket at once."""
        if not self.lost:
            self.transport.abort()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
        peer = transport.get_extra_info("peername")
        self.peer = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else str(peer or "")

    def data_received(self, data: bytes) -> None:
        self.last_heard = self._loop.time()
        try:
            self._protocol.receive_data(data)
            self._process()
        except Exception:
            # A bug that one client's bytes wake up may cost that client its connection, no more.
            _log.exception("consumer.internal_error", peer=self.peer)
            self.abort()

    def eof_received(self) -> bool:
        self._ended = True
        self._protocol.receive_eof()
        self._process()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self.lost:
            return
        self.lost = True
        if not self._ended:
            # The socket may go without a separate end of stream; only after one does the
            # protocol know its close code.
            self._ended = True
            self._protocol.receive_eof()
        if self._grace is not None:
            self._grace.cancel()
        self.on_closed()
        self._on_lost(self)

    def pause_writing(self) -> None:
        self.on_pause()

    def resume_writing(self) -> None:
        self.on_resume()

    # The protocol's side

    def _process(self) -> None:
        # Answers to pings and closes go out before our own words that follow from what came after.
        self._flush()
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._handshake(event)
            elif isinstance(event, Frame):
                self._frame(event)
        self._flush()

    def _flush(self) -> None:
        if self.lost:
            return
        for data in self._protocol.data_to_send():
            if data:
                self.transport.write(data)
            else:
                self.transport.close()
        closing = self.transport.is_closing()
        if not closing and self.transport.get_write_buffer_size() > _MOST_UNSENT_BYTES:
            self.abort()
        elif (closing or self._protocol.close_expected()) and self._grace is None:
            # A closing transport waits for its peer to read, and a stalled one never does.
            self._grace = self._loop.call_later(CLOSE_GRACE_SECONDS, self.abort)

    def _handshake(self, request: Request) -> None:
        response = self.on_request(request)
        if response is None:
            response = self._protocol.accept(request)
        self._protocol.send_response(response)
        self._flush()
        if self._protocol.state is State.OPEN:
            self.on_open()
        elif not self.lost:
            self.transport.close()

    def _frame(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._message_opcode = Opcode(frame.opcode)
            self._fragments = []
            self._utf8.reset()
        elif frame.opcode is not Opcode.CONT:
            return  # pings and closes were answered by the protocol
        if self._message_opcode is Opcode.TEXT:
            try:
                self._utf8.decode(frame.data, final=frame.fin)
            except UnicodeDecodeError as error:
                self._protocol.fail(CloseCode.INVALID_DATA, f"{error.reason} at {error.start}")
                return
        if frame.data:
            self._fragments.append(bytes(frame.data))
        if len(self._fragments) > _MOST_FRAGMENTS:
            self._protocol.fail(CloseCode.MESSAGE_TOO_BIG, "too many fragments")
        elif frame.fin:
            payload = b"".join(self._fragments)
            binary = self._message_opcode is Opcode.BINARY
            self._fragments = []
            self._message_opcode = None
            if self._protocol.state is State.OPEN:
                self.on_message(payload, binary)
