"""HOT PATH. One consumer's way out: straight to its socket, or a bounded queue while it is slow.

While the socket takes what is written, nothing is kept here. Once it is full (the transport says
``pause``), frames wait in the outbox until ``resume``; the bound is in bytes, and in the age of
the oldest frame. The frames are shared between consumers, so a queued frame costs a reference,
but each consumer is charged its full size: a bound that holds for whatever others do.

A consumer whose policy is to get less rather than nothing leaves this path: from `conflate` to
`follow` its outbox takes messages instead of frames, and reduces what waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from stream_proxy.hub.conflation import Conflation, Message, Ready
from stream_proxy.hub.flow import Counts, Meter, Waiting


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
    merged_messages: int
    waiting_since_ns: int | None


Frame: TypeAlias = Any
"""Bytes for the socket; while the outbox conflates, a `Message`."""

Finish: TypeAlias = Callable[[Sequence[Message]], tuple[list[bytes], Sequence[Message]]]
"""Makes frames of messages that leave, and gives those that are in them: some can't be said to
everybody."""

_PORTION_BYTES = 64 * 1024
"""What leaves at once while messages wait: what was given to the socket can't become less."""

_BEHIND = 4
"""A consumer is told to be behind when a fourth of its bound waits."""

_NOTHING: Counts = {}


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
        "_clock_ns",
        "_conflation",
        "_conflation_meter",
        "_enqueued",
        "_finish",
        "_marks",
        "_now_ns",
        "_on_overflow",
        "_paused",
        "_queue",
        "_queued_bytes",
        "_urgent",
        "_write",
        "bytes",
        "closed",
        "dropped_messages",
        "frames",
        "held_bytes",
        "max_age_ns",
        "max_bytes",
        "merged_messages",
        "messages",
        "meter",
        "on_behind",
        "peak_queued_bytes",
        "queues",
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
        self._queue: deque[Waiting] = deque()
        self._enqueued = 0
        """Frames that ever waited."""
        self._marks: deque[tuple[int, int]] = deque()
        """The time of ticks while frames wait, and how many had been queued before."""
        self._queued_bytes = 0
        self._urgent: list[bytes] = []
        self._now_ns = 0
        self._paused = False
        self.queues = False
        """Whether what is offered goes anywhere else than to the socket."""
        self._conflation: Conflation | None = None
        self._finish: Finish
        self._clock_ns: Callable[[], int]
        self._conflation_meter: Meter
        self.max_bytes = max_bytes
        self.max_age_ns = max_age_ns
        self.on_behind: Callable[[], None] = _nobody_cares
        """Called when the socket is full, and when a good part of the bound waits; like
        ``on_overflow`` it must not change who is subscribed."""
        self.held_bytes = 0
        """What was taken from here and still waits for its peer; it counts against the bound."""
        self.meter: Meter | None = None
        """Counts by class what doesn't go straight to the socket; set by the hub."""
        self.closed = False
        self.messages = 0
        self.frames = 0
        self.bytes = 0
        self.dropped_messages = 0
        self.merged_messages = 0
        self.peak_queued_bytes = 0

    def offer(self, frames: Sequence[Frame], messages: int) -> None:
        """Take the frames that carry this many messages, or overflow."""
        if self.queues or self.closed:
            self._enqueue(frames, messages)
            return
        self.messages += messages
        for index, frame in enumerate(frames):
            if self.queues:
                # The socket filled up between two frames of one batch.
                self._enqueue_rest(frames[index:])
                return
            self.frames += 1
            self.bytes += len(frame)
            self._write(frame)

    def control(self, frame: bytes) -> None:
        """Take a frame that must keep its place but isn't data: acknowledgements, errors."""
        self.offer((frame,), 0)

    def urgent(self, frame: bytes) -> None:
        """Take a frame about the stream itself, which goes before everything that waits."""
        if self.closed:
            return
        if self._paused:
            self._urgent.append(frame)
            self._queued_bytes += len(frame)
        else:
            self.bytes += len(frame)
            self._write(frame)

    @property
    def urgent_waits(self) -> bool:
        """Whether what was urgent wasn't written yet."""
        return bool(self._urgent)

    def _enqueue_rest(self, frames: Sequence[bytes]) -> None:
        rest = sum(self.meter.count(frames).values()) if self.meter is not None else 0
        self.messages -= rest
        self._enqueue(frames, rest)

    def _enqueue(self, frames: Sequence[Frame], messages: int) -> None:
        if self._conflation is not None and not self.closed:
            self._reduce(self._conflation, frames, messages)
            return
        meter = self.meter if messages else None
        if meter is None:
            counts, size = _NOTHING, sum(map(len, frames))
        else:
            counts, size = meter.queue(frames), meter.size_bytes
        if self.closed or self._queued_bytes + self.held_bytes + size > self.max_bytes:
            self.dropped_messages += messages
            if meter is not None:
                meter.drop(counts)
            self.overflow()
            return
        if not self._queue:
            self._marks.append((self._now_ns, self._enqueued))
        if meter is None:
            self._queue.extend([(frame, 0, 0, ()) for frame in frames[:-1]])
            self._queue.append((frames[-1], messages, 0, ()))
        else:
            self._queue.extend(meter.waiting())
        self._enqueued += len(frames)
        self._queued_bytes += size
        if self._queued_bytes > self.peak_queued_bytes:
            self.peak_queued_bytes = self._queued_bytes
        if self._queued_bytes * _BEHIND > self.max_bytes >= (self._queued_bytes - size) * _BEHIND:
            self.on_behind()

    # A consumer that gets less

    def conflate(
        self,
        conflation: Conflation,
        finish: Finish,
        clock_ns: Callable[[], int],
        meter: Meter,
    ) -> None:
        """Take messages from now on, and let what waits become less.

        Args:
            clock_ns: monotonic; nobody else tells how long a message waited.
            meter: counts messages as well as frames.
        """
        self._conflation, self._finish, self._clock_ns = conflation, finish, clock_ns
        self._conflation_meter = meter
        self.queues = True

    def follow(self) -> None:
        """Take frames again; nothing may be left in the conflation."""
        assert not self._conflation
        self._conflation = None
        self.queues = self._paused

    def release(self, now_ns: int) -> int | None:
        """Write what only waited for its time; when the next is due, None if nothing is."""
        if self._conflation is None:
            return None
        due_ns = self._conflation.release(now_ns)
        self._drain()
        return due_ns

    def _reduce(self, conflation: Conflation, offered: Sequence[Frame], messages: int) -> None:
        now_ns, meter = self._clock_ns(), self._conflation_meter
        counts = meter.queue(offered) if messages else _NOTHING
        if offered and isinstance(offered[0], Message):
            merged, left_out = conflation.put(offered, now_ns)
            self.merged_messages += sum(merged.values())
            self.dropped_messages += sum(left_out.values())
            meter.merge(merged)
            meter.drop(left_out)
        else:
            for frame in offered[:-1]:
                conflation.place(Ready(frame, 0, _NOTHING, now_ns))
            conflation.place(Ready(offered[-1], messages, counts, now_ns))
        self._drain()
        if self.queued_bytes > self.max_bytes:
            self.overflow()
        elif self.queued_bytes > self.peak_queued_bytes:
            self.peak_queued_bytes = self.queued_bytes

    def _drain(self) -> None:
        """Write what has become of the messages, as far as the socket takes it."""
        conflation = self._conflation
        while conflation and not self._paused:
            now_ns = self._clock_ns()
            portion = conflation.take(_PORTION_BYTES, now_ns)
            if isinstance(portion, Ready):
                self._leave([portion.frame], portion.counts, portion.messages, portion.since_ns)
                continue
            frames, carried = self._finish(portion.messages)
            counts = count_kinds(carried)
            if len(carried) < len(portion.messages):
                self._lose(count_kinds(portion.messages), counts)
            self._leave(frames, counts, len(carried), portion.since_ns)

    def _leave(self, frames: Sequence[bytes], counts: Counts, messages: int, since_ns: int) -> None:
        self._conflation_meter.resume(counts, self._clock_ns() - since_ns)
        self.messages += messages
        self.frames += bool(messages)
        for frame in frames:
            self.bytes += len(frame)
            self._write(frame)

    def _lose(self, counts: Counts, carried: Counts) -> None:
        """Some can't be said in this consumer's codec."""
        lost = {kind: number - carried.get(kind, 0) for kind, number in counts.items()}
        self.dropped_messages += sum(lost.values())
        self._conflation_meter.drop(lost)

    def overflow(self) -> None:
        """Give up on this consumer: drop what waits and say so, once."""
        if self.closed:
            return
        self.close()
        self._on_overflow()

    def close(self) -> None:
        """Take nothing more; what waits is dropped and counted."""
        self.closed = True
        for _, messages, _, counts in self._queue:
            self.dropped_messages += messages
            if self.meter is not None:
                self.meter.drop(dict(counts))
        self._queue.clear()
        self._marks.clear()
        self._urgent.clear()
        self._queued_bytes = 0
        if self._conflation is not None:
            merged = self._conflation.clear()
            self.dropped_messages += sum(merged.values())
            self._conflation_meter.drop(merged)

    def pause(self) -> None:
        """The socket is full."""
        if not self._paused:
            self._paused = self.queues = True
            self.on_behind()

    def resume(self, now_ns: int = 0) -> None:
        """The socket takes bytes again: write what waits, in order.

        Args:
            now_ns: monotonic; tells how long it waited.
        """
        self._paused = False
        self.queues = self._conflation is not None
        while self._urgent and not self._paused:
            frame = self._urgent.pop(0)
            self._queued_bytes -= len(frame)
            self.bytes += len(frame)
            self._write(frame)
        queue = self._queue
        while queue and not self._paused:
            frame, messages, since_ns, counts = queue.popleft()
            if counts and self.meter is not None:
                self.meter.resume(dict(counts), now_ns - since_ns)
            self._queued_bytes -= len(frame)
            self.messages += messages
            self.frames += messages > 0
            self.bytes += len(frame)
            self._write(frame)
        if not queue:
            self._marks.clear()
        self._drain()

    def tick(self, now_ns: int) -> None:
        """Tell the time, about once a second; overflow when the oldest frame is too old."""
        self._now_ns = now_ns
        if self._queue:
            self._marks.append((now_ns, self._enqueued))
        since_ns = self.waiting_since_ns
        if since_ns is not None and now_ns - since_ns > self.max_age_ns:
            self.overflow()

    @property
    def waiting_since_ns(self) -> int | None:
        """Since when the oldest of what the socket doesn't take waits."""
        if self._queue:
            left, marks = self._enqueued - len(self._queue), self._marks
            while len(marks) > 1 and marks[1][1] <= left:
                marks.popleft()
            return marks[0][0]
        return self._conflation.since_ns if self._conflation is not None else None

    @property
    def queued_bytes(self) -> int:
        """What waits now."""
        waiting = self._queued_bytes + self.held_bytes
        return waiting if self._conflation is None else waiting + self._conflation.bytes

    @property
    def paused(self) -> bool:
        return self._paused

    def statistics(self) -> OutboxStatistics:
        return OutboxStatistics(
            messages=self.messages,
            frames=self.frames,
            bytes=self.bytes,
            queued_messages=sum(waiting[1] for waiting in self._queue)
            + (0 if self._conflation is None else self._conflation.messages),
            queued_bytes=self.queued_bytes,
            peak_queued_bytes=self.peak_queued_bytes,
            paused=self._paused,
            dropped_messages=self.dropped_messages,
            merged_messages=self.merged_messages,
            waiting_since_ns=self.waiting_since_ns,
        )


def count_kinds(messages: Sequence[Message]) -> Counts:
    """How many there are of each type."""
    kinds = [message[0] for message in messages]
    return {kind: kinds.count(kind) for kind in set(kinds)}


def _nobody_cares() -> None:
    """Nobody wants to know."""
