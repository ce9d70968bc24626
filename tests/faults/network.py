"""Sockets in memory: bytes that travel, pile up, get lost, and ends that vanish, in virtual time.

The product's own connector and server protocols run on these transports as they run on the real
ones. A connection is two `End`s; what one writes arrives at the other after a delay, in order.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import zlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from simulation.virtual_time import VirtualLoop

_KERNEL_BYTES = 2048
"""What the sockets of both sides hold before the writer's own buffer grows."""
_MOST_BUFFERED_BYTES = 4096
"""A writer's buffer counts as full here, however large the program would like it: small, so that
a stalled reader is noticed within minutes of simulated time."""
_SHORTEST_WAY_SECONDS, _LONGEST_WAY_SECONDS = 0.001, 0.04

Tag = list[int]
"""The hidden identities of the messages that a write completes."""
Dial = Callable[[str, int, bool], Awaitable["End"]]
"""Opens a connection to a host and port, with TLS or without; gives the caller's end."""


class NetworkLoop(VirtualLoop):
    """A virtual loop whose connections lead into the simulation."""

    def __init__(self) -> None:
        super().__init__()
        self.dial: Dial | None = None

    async def create_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], host: str, port: int, **how: Any
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        assert self.dial is not None
        end = await self.dial(host, port, how.get("ssl") is not None)
        protocol = protocol_factory()
        end.begin(protocol)
        return end, protocol


class _NoSocket:
    """What a program may ask of the socket below a transport."""

    def fileno(self) -> int:
        return -1

    def setsockopt(self, *values: object) -> None: ...

    def getsockopt(self, *values: object) -> int:
        return 0


_EXTRA = {"socket": _NoSocket(), "peername": ("198.51.100.7", 4711), "ssl_object": object()}


class End(asyncio.Transport):
    """One end of a connection.

    Attributes:
        half_open: what is written here is never heard of again.
        reading: whether this end's program takes what arrives.
        drip_seconds: what is written here arrives byte by byte, so far apart.
        on_write: hears what this end's program writes, before it travels.
        on_bytes: hears what is about to be handed to this end's program, complete messages' tags.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, salt: int) -> None:
        super().__init__()
        self._loop = loop
        self._salt = salt
        self._protocol: Any = None
        self._on_its_way: deque[tuple[float, bytes, Tag]] = deque()
        self._waiting: deque[tuple[bytes, Tag]] = deque()
        self._unread_bytes = 0
        """Written here, and not yet taken at the other end."""
        self._last_arrival = 0.0
        self._paused = False
        self._full_at = _MOST_BUFFERED_BYTES
        self._ended = False
        self._told = False
        self._finishing = False
        self.peer: End = self
        self.half_open = False
        self.reading = True
        self.drip_seconds = 0.0
        self.on_write: Callable[[bytes], None] = lambda data: None
        self.on_bytes: Callable[[Tag, Callable[[], None]], None] = lambda tag, hand_over: (
            hand_over()
        )

    def begin(self, protocol: asyncio.BaseProtocol) -> None:
        """Give this end to a program."""
        self._protocol = protocol
        protocol.connection_made(self)

    # Writing

    def write(self, data: bytes | bytearray | memoryview, tag: Tag | None = None) -> None:
        data = bytes(data)
        self.on_write(data)
        if self._ended or self._finishing or not data:
            return
        self._unread_bytes += len(data)
        if not self.half_open:
            self._send(data, tag or [])
        if not self._paused and self.get_write_buffer_size() > self._full_at:
            self._paused = True
            self._protocol.pause_writing()

    @property
    def last_arrival(self) -> float:
        """When what was written here last arrives."""
        return self._last_arrival

    def _send(self, data: bytes, tag: Tag) -> None:
        due = max(self._last_arrival, self._loop.time() + self._way_seconds())
        if self.drip_seconds:
            for index in range(len(data) - 1):
                self._post(due, data[index : index + 1], [])
                due += self.drip_seconds
            data = data[-1:]
        self._post(due, data, tag)

    def _way_seconds(self) -> float:
        """How long what is written now travels: by the instant alone, so that one message more on
        a line doesn't change how the others travel."""
        share = zlib.crc32(struct.pack("<d", self._loop.time()), self._salt) / (1 << 32)
        return _SHORTEST_WAY_SECONDS + share * (_LONGEST_WAY_SECONDS - _SHORTEST_WAY_SECONDS)

    def _post(self, due: float, data: bytes, tag: Tag) -> None:
        self._last_arrival = due
        if not self._on_its_way or self._on_its_way[-1][0] != due:
            self._loop.call_at(due, self._arrive)
        self._on_its_way.append((due, data, tag))

    def _arrive(self) -> None:
        now = self._loop.time() + 1e-9
        while self._on_its_way and self._on_its_way[0][0] <= now:
            _, data, tag = self._on_its_way.popleft()
            if not self.half_open:
                self.peer._waiting.append((data, tag))
        self.peer._take()

    # Reading

    def _take(self) -> None:
        """Hand what has arrived to the program, in one read."""
        if not self.reading or self._ended or self._protocol is None or not self._waiting:
            return
        data = b"".join(part for part, _ in self._waiting)
        tag = [serial for _, part in self._waiting for serial in part]
        self._waiting.clear()
        self.peer._taken(len(data))
        self.on_bytes(tag, lambda: self._hand_over(data))

    def _hand_over(self, data: bytes) -> None:
        protocol = self._protocol
        if not isinstance(protocol, asyncio.BufferedProtocol):
            protocol.data_received(data)
            return
        while data and not self._ended:
            buffer = protocol.get_buffer(-1)
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            protocol.buffer_updated(size)
            data = data[size:]

    def _taken(self, size: int) -> None:
        self._unread_bytes = max(0, self._unread_bytes - size)
        if self._finishing and not self.get_write_buffer_size():
            self._finish()
        elif self._paused and self.get_write_buffer_size() <= self._full_at // 4:
            self._paused = False
            if not self._ended:
                self._protocol.resume_writing()

    def read_on(self) -> None:
        """Take what has arrived meanwhile."""
        self.reading = True
        self._take()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.read_on()

    # The end

    @property
    def ended(self) -> bool:
        """Whether this end's program has let go, or was told that it is over."""
        return self._ended

    def is_closing(self) -> bool:
        return self._ended or self._finishing

    def close(self) -> None:
        """No more from here; what was written still arrives."""
        if self.is_closing():
            return
        self._finishing = True
        if not self.get_write_buffer_size():
            self._finish()

    def _finish(self) -> None:
        self._ended = True
        self._loop.call_soon(self._lose, None)
        if not self.half_open:
            due = max(self._last_arrival, self._loop.time() + _SHORTEST_WAY_SECONDS)
            self._loop.call_at(due, self.peer._hear_end, None)

    def abort(self) -> None:
        """Reset: what is on its way is lost, on both sides."""
        if self._ended:
            return
        self._ended = True
        self._on_its_way.clear()
        self._waiting.clear()
        self._loop.call_soon(self._lose, None)
        if not self.half_open:
            self._loop.call_later(
                self._way_seconds(), self.peer._hear_end, ConnectionResetError(104, "reset")
            )

    def _hear_end(self, error: Exception | None) -> None:
        if self._ended or self.half_open:
            return
        if error is None:
            if not self.reading:
                return  # who doesn't read doesn't see it either
            self._arrived_before_the_end()
            if self._ended:
                return
            self._protocol.eof_received()
        self._ended = True
        self._waiting.clear()
        self._on_its_way.clear()
        self._lose(error)

    def _arrived_before_the_end(self) -> None:
        while self.peer._on_its_way:
            _, data, tag = self.peer._on_its_way.popleft()
            self._waiting.append((data, tag))
        self._take()

    def _lose(self, error: Exception | None) -> None:
        if not self._told and self._protocol is not None:
            self._told = True
            self._protocol.connection_lost(error)

    # What else a program may ask

    def get_write_buffer_size(self) -> int:
        return max(0, self._unread_bytes - _KERNEL_BYTES)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is not None:
            self._full_at = min(high, _MOST_BUFFERED_BYTES)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return _EXTRA.get(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol


def connected(loop: asyncio.AbstractEventLoop, salt: int) -> tuple[End, End]:
    """Two ends of one connection; the salt makes its delays its own."""
    one, other = End(loop, salt), End(loop, salt + 1)
    one.peer, other.peer = other, one
    return one, other


def vanish(end: End) -> None:
    """The program at this end is gone without a word: its kernel says so to the peer."""
    end._told = True
    end.abort()


def unknown_name() -> OSError:
    """What a resolver that finds nothing raises."""
    return socket.gaierror(socket.EAI_NONAME, "Name or service not known")
