"""A gRPC client made of hyper-h2 and a bare socket: it can be slow, rude or damaged on purpose."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import urllib.parse
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpclib.metadata import decode_bin_value
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.settings import SettingCodes

from stream_proxy.wire.grpc.framing import grpc_message

SERVICE = "/cream.v1.StreamProxyService"


@dataclass
class Answer:
    """What came of one call; ``reset`` is the error code of an RST_STREAM."""

    headers: dict[str, str] = field(default_factory=dict)
    data: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int | None:
        return int(self.headers["grpc-status"]) if "grpc-status" in self.headers else None

    @property
    def text(self) -> str:
        return urllib.parse.unquote(self.headers.get("grpc-message", ""))

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None

    def bodies(self) -> list[bytes]:
        """The messages; fails on one that isn't whole."""
        found, at = [], 0
        while at < len(self.data):
            size = int.from_bytes(self.data[at + 1 : at + 5], "big")
            assert at + 5 + size <= len(self.data), "a message was cut in its middle"
            found.append(bytes(self.data[at + 5 : at + 5 + size]))
            at += 5 + size
        return found

    def details(self) -> tuple[ErrorInfo, RetryInfo | None]:
        """Why it ended, for programs."""
        value = self.headers["grpc-status-details-bin"]
        status = Status.FromString(decode_bin_value(value.encode()))
        return details_of(status)


def details_of(status: Status) -> tuple[ErrorInfo, RetryInfo | None]:
    """The reason in a status, and when to come back."""
    info, retry = ErrorInfo(), RetryInfo()
    assert status.details[0].Unpack(info)
    return info, retry if status.details[1:] and status.details[1].Unpack(retry) else None


class RawGrpc:
    """One connection.

    Attributes:
        went_away: the server sent GOAWAY.
        closed: the server closed the connection.
    """

    def __init__(self, raw: socket.socket, window: int) -> None:
        self.h2 = H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.h2.initiate_connection()
        if window != 65_535:
            self.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.answers: dict[int, Answer] = {}
        self.went_away = self.closed = False
        self._raw = raw
        self._loop = asyncio.get_running_loop()

    async def send(self, more: bytes = b"") -> None:
        """Put what h2 has to say, and these bytes, on the wire."""
        with contextlib.suppress(ConnectionError):
            await self._loop.sock_sendall(self._raw, self.h2.data_to_send() + more)

    def ask(
        self,
        method: str,
        body: bytes | None = None,
        *,
        end: bool = True,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> int:
        """Begin a call without sending it yet; gives its number. The body has its prefix."""
        stream_id = self.h2.get_next_available_stream_id()
        path = method if method.startswith("/") else f"{SERVICE}/{method}"
        pairs = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path.encode()),
            (b":authority", b"127.0.0.1"),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            *headers,
        ]
        self.h2.send_headers(stream_id, pairs)
        self.answers[stream_id] = Answer()
        if body is not None:
            self.h2.send_data(stream_id, body, end_stream=end)
        return stream_id

    async def call(
        self, method: str, request: Message, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> int:
        """Send a whole call; gives its number."""
        body = grpc_message(request.SerializeToString())
        stream_id = self.ask(method, body, headers=headers)
        await self.send()
        return stream_id

    async def answered(self, stream_id: int, seconds: float = 10) -> Answer:
        """Read until the call is over."""
        answer = self.answers[stream_id]
        async with asyncio.timeout(seconds):
            while not answer.over and not self.closed:
                await self.read()
        return answer

    async def begun(self, stream_id: int, seconds: float = 10) -> Answer:
        """Read until the call has headers."""
        answer = self.answers[stream_id]
        async with asyncio.timeout(seconds):
            while not answer.headers and not self.closed:
                await self.read()
        return answer

    async def until_closed(self, seconds: float = 10) -> None:
        """Read until the server closes the connection."""
        async with asyncio.timeout(seconds):
            while not self.closed:
                await self.read()

    async def read(self) -> None:
        """Take what comes next, and give its window back."""
        try:
            data = await self._loop.sock_recv(self._raw, 1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            self.closed = True
            return
        for event in self.h2.receive_data(data):
            self._take(event)
        await self.send()

    def _take(self, event: Any) -> None:
        answer = self.answers.get(getattr(event, "stream_id", 0) or 0)
        if isinstance(event, ConnectionTerminated):
            self.went_away = True
        elif answer is None:
            return
        elif isinstance(event, DataReceived):
            answer.data += event.data or b""
            size = event.flow_controlled_length or 0
            if size:
                self.h2.acknowledge_received_data(size, event.stream_id)
        elif isinstance(event, ResponseReceived | TrailersReceived):
            for name, value in event.headers or ():
                answer.headers[name.decode()] = value.decode()
        elif isinstance(event, StreamReset):
            answer.reset = int(event.error_code or 0)
        elif isinstance(event, StreamEnded):
            answer.ended = True


@contextlib.asynccontextmanager
async def raw_grpc(
    address: str, *, window: int = 65_535, socket_buffer: int = 0
) -> AsyncIterator[RawGrpc]:
    """Connect.

    Args:
        window: of each call, in bytes.
        socket_buffer: how much the kernel keeps in each direction, in bytes; 0 as it likes.
    """
    host, port = address.rsplit(":", 1)
    with socket.socket() as raw:
        if socket_buffer:  # before connecting, or it is too late
            for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                raw.setsockopt(socket.SOL_SOCKET, buffer, socket_buffer)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, (host, int(port)))
        made = RawGrpc(raw, window)
        await made.send()
        yield made
