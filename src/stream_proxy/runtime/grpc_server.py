"""A gRPC server on grpclib and h2, with bounds that the library leaves open.

How many connections and calls there may be, how much a caller may send, keep-alive that ends what
is half open, and a drain that tells clients to go elsewhere (RFC 9113, section 6.8: GOAWAY).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from grpclib.config import Configuration
from grpclib.const import Handler as Method
from grpclib.encoding.base import CodecBase, StatusDetailsCodecBase
from grpclib.encoding.proto import ProtoCodec, ProtoStatusDetailsCodec
from grpclib.events import _DispatchServerEvents
from grpclib.metadata import decode_timeout
from grpclib.protocol import Connection, EventsProcessor, H2Protocol, Stream
from grpclib.server import Handler
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived
from h2.events import Event as H2Event
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from stream_proxy.runtime.window_updates import take_window_updates

_ABORT_SECONDS = 1.0
_HEADER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class GrpcLimits:
    """What one client may take.

    Attributes:
        connections: of all clients together.
        calls: at once on one connection.
        request_bytes: that one call may send.
        keepalive_seconds: how often a silent connection is asked whether it lives.
        keepalive_timeout_seconds: how long it may take to answer.
        handshake_seconds: how long TLS may take to begin.
    """

    connections: int = 10_000
    calls: int = 1000
    request_bytes: int = 4 << 20
    keepalive_seconds: float = 20.0
    keepalive_timeout_seconds: float = 10.0
    handshake_seconds: float = 10.0


class _Connection(Connection):
    """A connection whose end doesn't wait for a peer that reads no more."""

    def close(self) -> None:
        transport = getattr(self, "_transport", None)
        super().close()
        if transport is not None:
            asyncio.get_running_loop().call_later(_ABORT_SECONDS, transport.abort)


class _Events(EventsProcessor):
    """Looks at what a call sends, and doesn't stumble over frames that the library doesn't know."""

    request_bytes: int

    def process(self, event: H2Event) -> None:
        with contextlib.suppress(NotImplementedError):
            super().process(event)

    def process_data_received(self, event: DataReceived) -> None:
        if not event.flow_controlled_length:
            return  # the library would take it for the end
        super().process_data_received(event)
        stream = self.streams.get(event.stream_id)
        if stream is not None and stream.data_received > self.request_bytes and stream.closable:
            stream.reset_nowait(ErrorCodes.ENHANCE_YOUR_CALM)
            stream.__terminated__(f"a request of more than {self.request_bytes} bytes")
            self.handler.cancel(stream)


class _Calls(Handler):
    """Lets go of every call exactly once, and leaves none without an answer."""

    def accept(
        self, stream: Stream, headers: list[tuple[str, str]], release_stream: Callable[[], None]
    ) -> None:
        if not {":method", ":path"} <= {name for name, _ in headers}:
            stream.reset_nowait(ErrorCodes.PROTOCOL_ERROR)
            release_stream()
            return
        release = functools.cache(release_stream)

        def over(_: asyncio.Task[None]) -> None:
            # One that is cancelled before its task began would be kept for ever.
            release()
            if stream.closable:
                stream.reset_nowait(ErrorCodes.INTERNAL_ERROR)

        super().accept(stream, [_patient(*pair) for pair in headers], release)
        self._tasks[stream].add_done_callback(over)

    def cancel(self, stream: Stream) -> None:
        if stream in self._tasks:
            super().cancel(stream)


def _patient(name: str, value: str) -> tuple[str, str]:
    """A header; a deadline that is over before it is looked at would be an internal error."""
    if name == "grpc-timeout" and (value[-1:] in "nu" or not value[:-1].strip("0")):
        with contextlib.suppress(ValueError):
            return name, f"{max(int(decode_timeout(value) * 1000), 1)}m"
    return name, value


class ServedPeer(H2Protocol):
    """One client's connection."""

    def __init__(self, server: GrpcServer, handler: Handler) -> None:
        super().__init__(handler, server.configuration, server.h2_configuration)
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if len(self._server.peers) >= self._server.limits.connections:
            cast(asyncio.Transport, transport).abort()
            self._server.on_refused()
            return
        limits = self._server.limits
        h2 = H2Connection(config=self.h2_config)
        # What is changed later counts only when the client has confirmed it.
        h2.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: limits.calls,
                SettingCodes.MAX_HEADER_LIST_SIZE: _HEADER_BYTES,
            },
        )
        h2.initiate_connection()
        self.connection = _Connection(h2, cast(asyncio.Transport, transport), config=self.config)
        self.connection.flush()
        self.connection.initialize()
        self.processor = _Events(self.handler, self.connection)
        self.processor.request_bytes = limits.request_bytes
        self._server.peers[self] = None

    def data_received(self, data: bytes) -> None:
        if self in self._server.peers and not self.connection.is_closing():
            taken, updated = take_window_updates(self.connection._connection, data)
            if updated:
                self._may_send(updated)
            if taken < len(data):
                super().data_received(data[taken:] if taken else data)

    def _may_send(self, updated: set[int]) -> None:
        """Wake the calls that wait for their peer's window."""
        streams = self.processor.streams
        for stream_id in streams if 0 in updated else updated:
            if stream_id in streams:
                streams[stream_id].window_updated.set()

    def pause_writing(self) -> None:
        # Who reads no answers may not ask for more of them, such as those to pings.
        self.connection._transport.pause_reading()
        super().pause_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.connection.is_closing():
            self.connection._transport.resume_reading()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._server.peers.pop(self, self) is None:
            super().connection_lost(exc)
        else:
            # It was never let in; the server must not keep what was made for it.
            self.handler.close()

    def go_away(self) -> None:
        """Tell the client that no new call will be served here."""
        with contextlib.suppress(ProtocolError, AttributeError):
            self.connection._connection.close_connection()
            self.connection.flush()


class GrpcServer:
    """Serves methods on one port.

    Args:
        methods: by path, such as ``/package.Service/Method``.
        port: 0 takes any free one.
        tls: a context for ``h2``; None serves in the clear.
        on_refused: called for each connection that is one too many.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        host: str,
        port: int,
        limits: GrpcLimits,
        tls: ssl.SSLContext | None = None,
        on_refused: Callable[[], None] = lambda: None,
    ) -> None:
        self.on_refused = on_refused
        self.peers: dict[ServedPeer, None] = {}
        self.limits = limits
        self.configuration = Configuration(
            _keepalive_time=limits.keepalive_seconds,
            _keepalive_timeout=limits.keepalive_timeout_seconds,
            _keepalive_permit_without_calls=True,
            _http2_max_pings_without_data=0,
            _http2_min_sent_ping_interval_without_data=limits.keepalive_seconds / 2,
        ).__for_server__()
        # What is wrong with a call's headers is that call's affair, not the connection's.
        self.h2_configuration = H2Configuration(
            client_side=False, header_encoding="latin-1", validate_inbound_headers=False
        )
        self._methods = dict(methods)
        self._host, self._port, self._tls = host, port, tls
        self._codec: CodecBase = ProtoCodec()
        self._details: StatusDetailsCodecBase = ProtoStatusDetailsCodec()
        self._handlers: list[Handler] = []
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> int:
        """Listen; give the port.

        Raises:
            OSError: the address is taken or can't be bound.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._peer,
            self._host,
            self._port,
            ssl=self._tls,
            # Until it has ended, a connection is counted nowhere.
            ssl_handshake_timeout=self.limits.handshake_seconds if self._tls else None,
            backlog=1024,
        )
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self.port

    def _peer(self) -> ServedPeer:
        self._handlers = [h for h in self._handlers if not (h.closing and h.check_closed())]
        handler = _Calls(self._methods, self._codec, self._details, _DispatchServerEvents())
        self._handlers.append(handler)
        return ServedPeer(self, handler)

    def stop_accepting(self) -> None:
        """Let nobody in any more."""
        if self._server is not None:
            self._server.close()

    async def stop(self) -> None:
        """Say goodbye to all connections and close them."""
        self.stop_accepting()
        for peer in list(self.peers):
            peer.go_away()
        await asyncio.sleep(0)
        for handler in self._handlers:
            handler.close()
        for peer in list(self.peers):
            peer.connection.close()
        waits: list[Any] = [handler.wait_closed() for handler in self._handlers]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ABORT_SECONDS):
                await asyncio.gather(*waits)
