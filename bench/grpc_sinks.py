"""Callers of ``StreamQuotes`` in one process, as light as they can be: they count and nothing else.

    python -m bench.grpc_sinks CASE PORT

Commands and checks are those of `bench.sinks`. HTTP/2 is spoken in as few words as one call needs
(RFC 9113): windows and frames as large as grpcio's, granted anew as bytes come, and frame headers.
A message isn't looked at while the clock runs, only its length is. After it has stopped, the first
consumer of each kind takes its messages apart, and its checksum is compared with that of the
quotes themselves.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from collections.abc import Iterator
from typing import Any
from zlib import crc32

from hpack import Decoder, Encoder

from bench.machine import raise_open_files
from bench.sinks import Room, Sink, serve
from bench.talk import tell
from bench.traffic import EVERYTHING, Tally, Traffic, Wish, case_from
from stream_proxy.runtime.loop import run
from stream_proxy.wire.grpc import messages
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb
from stream_proxy.wire.grpc.boundaries import PREFIX_BYTES, count_messages, whole_bytes
from stream_proxy.wire.grpc.data_frames import HEADER_BYTES, message_bytes
from stream_proxy.wire.grpc.framing import grpc_message

PATH = "/cream.v1.StreamProxyService/StreamQuotes"
_READ_BYTES = 256 * 1024
_WINDOW_BYTES = 4 << 20
_FRAME_BYTES = 4 << 20
"""What grpcio announces, as its SETTINGS show."""
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 4, 6, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 4, 5
_CALL = 1
"""The only stream of a connection."""


def http2_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload) << 8 | kind) + struct.pack(">BI", flags, stream) + payload


def call_opening(path: str, message: bytes) -> bytes:
    """All that a caller says to open a connection and make a call with one message."""
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]
    sizes = struct.pack(">HIHI", _INITIAL_WINDOW_SIZE, _WINDOW_BYTES, _MAX_FRAME_SIZE, _FRAME_BYTES)
    more = struct.pack(">I", _WINDOW_BYTES - 65_535)
    return b"".join(
        [
            _PREFACE,
            http2_frame(_SETTINGS, 0, 0, sizes),
            http2_frame(_WINDOW_UPDATE, 0, 0, more),
            http2_frame(_HEADERS, _END_HEADERS, _CALL, Encoder().encode(headers)),
            http2_frame(_DATA, _END_STREAM, _CALL, grpc_message(message)),
        ]
    )


class Counter:
    """Counts messages in bytes that come in pieces."""

    def __init__(self) -> None:
        self._begun = b""

    def count(self, piece: bytes) -> int:
        """How many end in this piece."""
        data = self._begun + piece
        whole = whole_bytes(data)
        self._begun = data[whole:]
        return count_messages(data[:whole])


class GrpcSink(Sink, asyncio.BufferedProtocol):
    """One connection with one call."""

    _buffer = bytearray(_READ_BYTES)
    _view = memoryview(_buffer)

    def __init__(self, room: Room, wish: Wish, tally: Tally, number: int) -> None:
        Sink.__init__(self, room, wish, tally, number)
        self._kind = -1
        self._flags = 0
        self._left = 0
        """Bytes of the current frame that are still to come."""
        self._begun = b""
        """A header, or a frame other than DATA, of which a part has come."""
        self._ungranted = 0
        self._counter = Counter()

    async def connect(self, port: int) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", port)
        await self.ready.wait()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        symbols = [symbol for symbol in self.wish.symbols if symbol != EVERYTHING]
        request = pb.StreamQuotesRequest(symbols=symbols)
        transport.write(call_opening(PATH, request.SerializeToString()))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, count: int) -> None:
        buffer, at = self._buffer, 0
        while at < count:
            if not self._left:
                at = self._header(at, count)
                continue
            end = min(count, at + self._left)
            self._left -= end - at
            if self._kind == _DATA:
                self._data(at, end)
            else:
                self._begun += buffer[at:end]
                if not self._left:
                    self._control(self._kind, self._flags, self._begun)
                    self._begun = b""
            at = end
        if self.seen >= self.target:
            self.reached()

    def _header(self, at: int, count: int) -> int:
        end = min(count, at + HEADER_BYTES - len(self._begun))
        head = self._begun + self._buffer[at:end]
        if len(head) < HEADER_BYTES:
            self._begun = head
            return end
        self._begun = b""
        self._left, self._kind, self._flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        if self._kind == _DATA:
            self.frames += 1
        elif not self._left:
            self._control(self._kind, self._flags, b"")
        return end

    def _data(self, start: int, end: int) -> None:
        piece = bytes(self._view[start:end])
        self.seen += self._counter.count(piece)
        if self.keeps:
            self.kept.append(piece)
        self._ungranted += end - start
        if self._ungranted >= _WINDOW_BYTES // 4:
            more = struct.pack(">I", self._ungranted)
            self._transport.write(
                http2_frame(_WINDOW_UPDATE, 0, 0, more)
                + http2_frame(_WINDOW_UPDATE, 0, _CALL, more)
            )
            self._ungranted = 0

    def _control(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == _HEADERS:
            headers = dict(Decoder().decode(payload))
            if "epoch" not in headers:
                tell(error=f"consumer {self.number} was told {headers}")
            self.ready.set()
        elif kind == _SETTINGS and not flags & _ACK:
            self._transport.write(http2_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._transport.write(http2_frame(_PING, _ACK, 0, payload))

    def connection_lost(self, exc: Exception | None) -> None:
        self.room.lost(self)

    def items(self) -> Iterator[bytes]:
        """The quotes alone: what is around them differs from server to server."""
        for _, response in responses(b"".join(self.kept)):
            yield response.quote.SerializeToString(deterministic=True)


def responses(data: bytes) -> Iterator[tuple[int, pb.StreamQuotesResponse]]:
    """The messages of a call, and where each ends."""
    start = 0
    while start < len(data):
        end = start + message_bytes(data, start)
        yield end, pb.StreamQuotesResponse.FromString(data[start + PREFIX_BYTES : end])
        start = end


class GrpcRoom(Room):
    """All callers; what they get is compared with protobuf made of objects, the plain way."""

    def _checksum(self, traffic: Traffic, codec: str) -> Tally:
        return traffic.tally(map(_checksum, traffic.items[codec]))


def _checksum(item: bytes) -> int:
    made = messages.build("q", messages.quote, item)
    quote = pb.StreamQuotesResponse.FromString(made).quote
    return crc32(quote.SerializeToString(deterministic=True))


async def main(case: str, port: int) -> None:
    raise_open_files()
    room = GrpcRoom(Traffic(case_from(case)), GrpcSink)
    await serve(room, port)


if __name__ == "__main__":
    run(main(sys.argv[1], int(sys.argv[2])))
