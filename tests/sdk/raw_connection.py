"""
A WebSocket connection whose every byte the caller decides.

The websockets library parses and checks what arrives and answers pings; the
handshake request and the framing of what is sent are written by the caller,
because those are what differs between the SDKs that are replayed on it.
"""

from __future__ import annotations

import base64
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from urllib.parse import urlsplit

from websockets.datastructures import Headers
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import OPEN, Protocol, Side
from websockets.streams import StreamReader
from websockets.utils import accept_key

from reporting import StopRequest

DATA_OPCODES = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class ReplayError(Exception):
    """The real SDK would have failed here; the message says how."""


class Stopped(Exception):
    """The caller asked for the end while the replay was waiting."""


class RawConnection:
    """
    The client side of one connection, blocking, with a deadline for every wait.

    Args:
        url: A `ws://` URL.
        request_lines: The handshake after its first line, in order. `{host}` and
            `{key}` are filled in.
        stop_request: Interrupts every wait with `Stopped`.
        deadline_seconds: For connecting and for the handshake response.
        negotiate: Turns the response's headers into the extensions agreed on;
            without it, the response must not name any.

    """

    def __init__(
        self,
        url: str,
        request_lines: list[str],
        stop_request: StopRequest,
        deadline_seconds: float,
        negotiate: Callable[[Headers], list[PerMessageDeflate]] = lambda headers: [],
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme != "ws" or parts.hostname is None:
            raise ReplayError(f"a replay speaks ws:// only, not {url}")
        self._socket = socket.create_connection(
            (parts.hostname, parts.port or 80), deadline_seconds
        )
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._protocol = Protocol(Side.CLIENT, state=OPEN, max_size=None)
        self._frames: deque[Frame] = deque()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._selector.register(stop_request.fileno(), selectors.EVENT_READ)

        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            "".join(
                f"{line}\r\n"
                for line in [
                    f"GET {parts.path or '/'} HTTP/1.1",
                    *(line.format(host=parts.netloc, key=key) for line in request_lines),
                    "",
                ]
            ).encode()
        )
        response, early_frames = self._read_response(time.monotonic() + deadline_seconds)
        if response.status_code != 101:
            raise ReplayError(f"the handshake was answered with HTTP {response.status_code}")
        if response.headers.get("Sec-WebSocket-Accept") != accept_key(key):
            raise ReplayError("Sec-WebSocket-Accept does not match the key")
        self.extensions = negotiate(response.headers)
        self._protocol.extensions = [*self.extensions]
        if "Sec-WebSocket-Extensions" in response.headers and not self.extensions:
            raise ReplayError("the server chose an extension that was not offered")
        if early_frames:
            self._protocol.receive_data(early_frames)
            self._collect()

    def send_bytes(self, data: bytes) -> None:
        self._socket.settimeout(None)
        self._socket.sendall(data)

    def receive(self, deadline_seconds: float | None) -> str | bytes:
        """Return the next message, text or binary; `ReplayError` when there is none."""
        deadline = None if deadline_seconds is None else time.monotonic() + deadline_seconds
        parts: list[bytes] = []
        opcode = Opcode.BINARY
        while True:
            while not self._frames:
                if self._protocol.close_rcvd is not None:
                    raise ReplayError(f"the server closed: {self._protocol.close_rcvd}")
                self._protocol.receive_data(self._read(deadline))
                self._collect()
            frame = self._frames.popleft()
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
                opcode = frame.opcode
            parts.append(bytes(frame.data))
            if frame.fin:
                payload = b"".join(parts)
                return payload.decode() if opcode is Opcode.TEXT else payload

    def close(self, deadline_seconds: float = 5) -> None:
        """Close with code 1000 and wait for the server to do the same."""
        self._protocol.send_close(1000, "")
        self._flush()
        self._socket.settimeout(deadline_seconds)
        while self._protocol.close_expected() and (data := self._socket.recv(65536)):
            self._protocol.receive_data(data)
        self._socket.close()

    def _collect(self) -> None:
        """Take the library's verdict on what arrived, and send its answers."""
        self._flush()
        self._frames.extend(
            event
            for event in self._protocol.events_received()
            if isinstance(event, Frame) and event.opcode in DATA_OPCODES
        )
        if self._protocol.parser_exc is not None:
            raise ReplayError(f"invalid frames: {self._protocol.parser_exc}")

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._socket.sendall(data)

    def _read(self, deadline: float | None) -> bytes:
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready = [key.fileobj for key, _ in self._selector.select(timeout)]
        if self._socket in ready:
            data = self._socket.recv(65536)
            if not data:
                raise ReplayError("the server dropped the connection without closing it")
            return data
        if ready:
            raise Stopped
        raise ReplayError("nothing came within the SDK's patience")

    def _read_response(self, deadline: float) -> tuple[Response, bytes]:
        """Return the handshake response and whatever arrived behind it."""
        reader = StreamReader()
        parsing = Response.parse(reader.read_line, reader.read_exact, reader.read_to_eof)
        while True:
            try:
                next(parsing)
            except StopIteration as parsed:
                return parsed.value, bytes(reader.buffer)
            reader.feed_data(self._read(deadline))
