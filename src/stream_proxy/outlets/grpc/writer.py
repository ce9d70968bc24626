"""HOT PATH (`StreamWriter.write`). One call's way out: HTTP/2 flow control in front of a socket.

All that a flush holds for a consumer is one payload and becomes one write, straight to the
transport. The window is counted where h2 counts it, so that its updates stay right; going through
h2's own `send_data` for every 16 KiB costs several times as much as the write itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from grpclib.protocol import Stream
from h2.connection import H2Connection
from h2.stream import H2Stream

from stream_proxy.hub.flow import Counts
from stream_proxy.hub.outbox import Outbox
from stream_proxy.wire.grpc.boundaries import count_messages
from stream_proxy.wire.grpc.data_frames import (
    SharedDataFrames,
    data_frames,
    message_bytes,
    whole_messages,
)

_CONNECTION_WINDOW_BYTES = 65_535
"""What every connection begins with (RFC 9113, section 6.9.2)."""


class StreamWriter:
    """Writes payloads of whole messages to one call, as far as its peer takes them.

    Args:
        stream: the call's; its headers must have been sent before `run` begins.
        shared: what several writers of the same payloads share.
        on_drained: called when the peer has taken all that waited.
    """

    def __init__(
        self,
        stream: Stream,
        shared: SharedDataFrames,
        max_bytes: int,
        max_age_ns: int,
        on_overflow: Callable[[], None],
        on_drained: Callable[[], None] = lambda: None,
    ) -> None:
        assert stream.id is not None
        self._stream = stream
        self._id = stream.id
        self._shared = shared
        self._on_drained = on_drained
        self._h2: H2Connection = stream._h2_connection
        self._h2_stream: H2Stream = self._h2.streams[stream.id]
        self._transport = stream._transport
        self._write_ready = stream.connection.write_ready
        self._max_age_ns = max_age_ns
        self._rest: memoryview | None = None
        self._held_messages = 0
        self._held_counts: Counts = {}
        self._held_since_ns = 0
        self._begun = 0
        """What is left of a message that was written in part."""
        self._stuck = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._error: BaseException | None = None
        self.outbox = Outbox(self.write, max_bytes, max_age_ns, on_overflow)
        self.outbox.tick(int(self._loop.time() * 1e9))
        # Nothing goes out before the headers.
        self.outbox.pause()

    @property
    def unsent_bytes(self) -> int:
        """What left the outbox and waits for the peer's window."""
        return 0 if self._rest is None else len(self._rest)

    def write(self, payload: bytes) -> None:
        """Put a payload on the socket; pauses the outbox when it doesn't take all of it."""
        size = len(payload)
        h2, stream = self._h2, self._h2_stream
        if (
            size <= stream.outbound_flow_control_window
            and size <= h2.outbound_flow_control_window
            and self._write_ready.is_set()
            and not stream.closed
        ):
            h2.outbound_flow_control_window -= size
            stream.outbound_flow_control_window -= size
            self._transport.write(self._shared.of(payload, self._id, h2.max_outbound_frame_size))
            if not self._write_ready.is_set():
                self._wait()
        elif payload:
            self._hold(payload)
            self._wait()

    def _hold(self, payload: bytes) -> None:
        """Keep what the peer has no room for: it is not delivered yet, whoever counts."""
        outbox = self.outbox
        self._held_since_ns = int(self._loop.time() * 1e9)
        self._held_messages = count_messages(payload)
        outbox.messages -= self._held_messages
        if outbox.meter is not None and self._held_messages:
            self._held_counts = outbox.meter.queue([payload])
        self._keep(memoryview(payload))

    def _keep(self, rest: memoryview) -> None:
        self._rest = rest or None
        self.outbox.held_bytes = len(rest)
        if self._rest is None:
            self._settle(self._held_messages, 0)

    def _settle(self, delivered: int, dropped: int) -> None:
        """What was held has gone, or never will."""
        outbox, meter = self.outbox, self.outbox.meter
        outbox.messages += delivered
        outbox.dropped_messages += dropped
        if meter is not None:
            for letter in self._held_counts:
                waited_ns = int(self._loop.time() * 1e9) - self._held_since_ns
                meter.resume({letter: delivered}, waited_ns)
                meter.drop({letter: dropped})
        self._held_messages, self._held_counts = 0, {}

    def close(self) -> None:
        """Give up what is held."""
        rest, self._rest = self._rest, None
        if rest is not None:
            left = count_messages(bytes(rest[self._begun :])) + bool(self._begun)
            self.outbox.held_bytes = 0
            self._settle(max(self._held_messages - left, 0), min(left, self._held_messages))

    def held_ns(self) -> int:
        """For how long the peer has had no room."""
        return 0 if self._rest is None else int(self._loop.time() * 1e9) - self._held_since_ns

    def tick(self, now: float) -> None:
        """Once a second: the age of what waits."""
        self.outbox.tick(int(now * 1e9))
        if self.held_ns() > self._max_age_ns:
            self.outbox.overflow()

    def _wait(self) -> None:
        self.outbox.pause()
        self._stuck.set()

    def end(self, error: BaseException | None) -> None:
        """Make `run` end, with an error or without."""
        if self._error is None:
            self._error = error or _Ended()
        self._stuck.set()
        self._stream.window_updated.set()  # one event to wait for costs less than two

    async def run(self) -> None:
        """Write what waits whenever the peer takes more, until `end`.

        Raises:
            BaseException: the one that `end` was given.
        """
        self._wait()
        while True:
            await self._stuck.wait()
            if self._error is not None:
                if isinstance(self._error, _Ended):
                    return
                raise self._error
            if not self._write_ready.is_set():
                await self._until(self._write_ready)
                continue
            if self._rest is not None and not self._write_some():
                self._stream.window_updated.clear()
                await self._stream.window_updated.wait()
                continue
            self._stuck.clear()
            self.outbox.resume(int(self._loop.time() * 1e9))
            if not self.outbox.paused:
                self._on_drained()

    def _write_some(self) -> bool:
        """Write of the rest what the window allows; whether all is written."""
        h2, stream = self._h2, self._h2_stream
        while (rest := self._rest) is not None and not stream.closed:
            room = min(stream.outbound_flow_control_window, h2.outbound_flow_control_window)
            size = self._next_bytes(rest, room) if room > 0 else 0
            if not size:
                break
            h2.outbound_flow_control_window -= size
            stream.outbound_flow_control_window -= size
            self._transport.write(data_frames(rest[:size], self._id, h2.max_outbound_frame_size))
            self._keep(rest[size:])
        return self._rest is None

    def _next_bytes(self, rest: memoryview, room: int) -> int:
        """How much to write now: whole messages, so that a call that is cut ends between two.

        One that may never fit has to go in parts. A quarter of the window always comes to fit: a
        peer that has read everything gives the window back before half of it is used up.
        """
        if not self._begun:
            size = whole_messages(rest, room)
            if size:
                return size
            message = message_bytes(rest)
            window = min(self._h2.remote_settings.initial_window_size, _CONNECTION_WINDOW_BYTES)
            if message <= window // 4:
                return 0
            self._begun = message
        size = min(room, self._begun)
        self._begun -= size
        return size

    async def _until(self, event: asyncio.Event) -> None:
        """Wait until the peer may take more, or this ends."""
        ended = self._stuck
        ended.clear()
        waits = [asyncio.ensure_future(one.wait()) for one in (event, ended)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            ended.set()


class _Ended(Exception):
    """`end` without an error."""
