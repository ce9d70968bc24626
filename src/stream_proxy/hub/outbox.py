"""HOT PATH. One consumer's way out: straight to its socket, or a bounded queue while it is slow.

While the socket takes what is written, nothing is kept here. Once it is full (the transport says
``pause``), frames wait in the outbox until ``resume``; the bound is in bytes, and in the age of
the oldest frame. The frames are shared between consumers, so a queued frame costs a reference,
but each consumer is charged its full size: a bound that holds for whatever others do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stream_proxy.hub.flow import Counts, Meter


@dataclass(frozen=True, slots=True)
class OutboxStatistics:
    """What one consumer got, and what waits for it.

    ``waiting_since_ns`` is the time of the last `Outbox.tick` before the oldest of what waits was
    queued; None when nothing waits.
    """

    messages: int
    frames: int
    bytes: int
    queued_messages: int
    queued_bytes: int
    peak_queued_bytes: int
    paused: bool
    dropped_messages: int
    waiting_since_ns: int | None


_NOTHING: Counts = {}
_Waiting = tuple[bytes, int, int, Counts, int]
"""Frame, the messages that end with it, the time of the last tick, its messages by type, and when
they were received."""


class Outbox:
    """A bounded queue in front of one socket.

    Args:
        write: puts bytes on the socket; must not block.
        max_bytes: bytes that may wait; more is an overflow.
        max_age_ns: how long the oldest frame may wait, judged at each `tick`.
        on_overflow: called once, when a frame would exceed the bound. The queue is emptied first
            (counted as dropped), and nothing more is taken. It may be called in the middle of
            a flush, so it must not change who is subscribed; it may schedule that.
    """

    __slots__ = (
        "_max_age_ns",
        "_now_ns",
        "_on_overflow",
        "_paused",
        "_queue",
        "_queued_bytes",
        "_write",
        "bytes",
        "closed",
        "dropped_messages",
        "frames",
        "held_bytes",
        "max_bytes",
        "messages",
        "meter",
        "peak_queued_bytes",
    )

    def __init__(
        self,
        write: Callable[[bytes], object],
        max_bytes: int,
        max_age_ns: int,
        on_overflow: Callable[[], None],
    ) -> None:
        self._write = write
        self._on_overflow = on_overflow
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._max_age_ns = max_age_ns
        self._now_ns = 0
        self._paused = False
        self.max_bytes = max_bytes
        self.held_bytes = 0
        """What was taken from here and still waits for its peer; it counts against the bound."""
        self.meter: Meter | None = None
        """Counts by class what doesn't go straight to the socket; set by the hub."""
        self.closed = False
        self.messages = 0
        self.frames = 0
        self.bytes = 0
        self.dropped_messages = 0
        self.peak_queued_bytes = 0

    def offer(self, frames: Sequence[bytes], messages: int) -> None:
        """Take the frames that carry this many messages, or overflow."""
        if self._paused or self.closed:
            self._enqueue(frames, messages)
            return
        self.messages += messages
        for index, frame in enumerate(frames):
            if self._paused:
                # The socket filled up between two frames of one batch.
                self._enqueue_rest(frames[index:])
                return
            self.frames += 1
            self.bytes += len(frame)
            self._write(frame)

    def control(self, frame: bytes) -> None:
        """Take a frame that must keep its place but isn't data: acknowledgements, errors."""
        self.offer((frame,), 0)

    def _enqueue_rest(self, frames: Sequence[bytes]) -> None:
        rest = sum(self.meter.count(frames).values()) if self.meter is not None else 0
        self.messages -= rest
        self._enqueue(frames, rest)

    def _enqueue(self, frames: Sequence[bytes], messages: int) -> None:
        meter = self.meter if messages else None
        counts = meter.queue(frames) if meter is not None else _NOTHING
        size = sum(map(len, frames))
        if self.closed or self._queued_bytes + self.held_bytes + size > self.max_bytes:
            self.dropped_messages += messages
            if meter is not None:
                meter.drop(counts)
            self.overflow()
            return
        since_ns = meter.batch.begun_ns if meter is not None else 0
        for frame in frames[:-1]:
            self._queue.append((frame, 0, self._now_ns, _NOTHING, 0))
        self._queue.append((frames[-1], messages, self._now_ns, counts, since_ns))
        self._queued_bytes += size
        if self._queued_bytes > self.peak_queued_bytes:
            self.peak_queued_bytes = self._queued_bytes

    def overflow(self) -> None:
        """Give up on this consumer: drop what waits and say so, once."""
        if self.closed:
            return
        self.close()
        self._on_overflow()

    def close(self) -> None:
        """Take nothing more; what waits is dropped and counted."""
        self.closed = True
        for _, messages, _, counts, _ in self._queue:
            self.dropped_messages += messages
            if self.meter is not None:
                self.meter.drop(counts)
        self._queue.clear()
        self._queued_bytes = 0

    def pause(self) -> None:
        """The socket is full."""
        self._paused = True

    def resume(self, now_ns: int = 0) -> None:
        """The socket takes bytes again: write what waits, in order.

        Args:
            now_ns: monotonic; tells how long it waited.
        """
        self._paused = False
        queue = self._queue
        while queue and not self._paused:
            frame, messages, _, counts, since_ns = queue.popleft()
            if counts and self.meter is not None:
                self.meter.resume(counts, now_ns - since_ns)
            self._queued_bytes -= len(frame)
            self.messages += messages
            self.frames += messages > 0
            self.bytes += len(frame)
            self._write(frame)

    def tick(self, now_ns: int) -> None:
        """Tell the time, about once a second; overflow when the oldest frame is too old."""
        self._now_ns = now_ns
        if self._queue and now_ns - self._queue[0][2] > self._max_age_ns:
            self.overflow()

    @property
    def queued_bytes(self) -> int:
        """What waits now."""
        return self._queued_bytes + self.held_bytes

    @property
    def paused(self) -> bool:
        return self._paused

    def statistics(self) -> OutboxStatistics:
        return OutboxStatistics(
            messages=self.messages,
            frames=self.frames,
            bytes=self.bytes,
            queued_messages=sum(waiting[1] for waiting in self._queue),
            queued_bytes=self.queued_bytes,
            peak_queued_bytes=self.peak_queued_bytes,
            paused=self._paused,
            dropped_messages=self.dropped_messages,
            waiting_since_ns=self._queue[0][2] if self._queue else None,
        )
