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
        "max_bytes",
        "messages",
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
        self._queue: deque[tuple[bytes, int, int]] = deque()
        self._queued_bytes = 0
        self._max_age_ns = max_age_ns
        self._now_ns = 0
        self._paused = False
        self.max_bytes = max_bytes
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
        for frame in frames:
            self.frames += 1
            self.bytes += len(frame)
            if self._paused:
                # The socket filled up between two frames of one batch.
                self._enqueue((frame,), 0)
            else:
                self._write(frame)

    def control(self, frame: bytes) -> None:
        """Take a frame that must keep its place but isn't data: acknowledgements, errors."""
        self.offer((frame,), 0)

    def _enqueue(self, frames: Sequence[bytes], messages: int) -> None:
        if self.closed:
            self.dropped_messages += messages
            return
        size = sum(map(len, frames))
        if self._queued_bytes + size > self.max_bytes:
            self.dropped_messages += messages
            self.overflow()
            return
        for frame in frames[:-1]:
            self._queue.append((frame, 0, self._now_ns))
        self._queue.append((frames[-1], messages, self._now_ns))
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
        self.dropped_messages += sum(messages for _, messages, _ in self._queue)
        self._queue.clear()
        self._queued_bytes = 0

    def pause(self) -> None:
        """The socket is full."""
        self._paused = True

    def resume(self) -> None:
        """The socket takes bytes again: write what waits, in order."""
        self._paused = False
        queue = self._queue
        while queue and not self._paused:
            frame, messages, _ = queue.popleft()
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
    def paused(self) -> bool:
        return self._paused

    def statistics(self) -> OutboxStatistics:
        return OutboxStatistics(
            messages=self.messages,
            frames=self.frames,
            bytes=self.bytes,
            queued_messages=sum(messages for _, messages, _ in self._queue),
            queued_bytes=self._queued_bytes,
            peak_queued_bytes=self.peak_queued_bytes,
            paused=self._paused,
            dropped_messages=self.dropped_messages,
            waiting_since_ns=self._queue[0][2] if self._queue else None,
        )
