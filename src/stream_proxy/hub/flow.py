"""What became of each class of message, per protocol. Plain integers, read by whoever asks.

For every class and protocol: received x consumers = delivered + filtered + conflated + dropped +
what waits in outboxes. While sockets take what is written, a batch costs a few additions; which
classes a queued frame holds is only looked at when somebody is slow, once for all who share it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from stream_proxy.hub.latency import Latency

Counts = dict[str, int]
"""Messages by their wire type."""

Waiting = tuple[bytes, int, int, tuple[tuple[str, int], ...]]
"""A frame that waits, the messages that end with it, when they were received (monotonic), and its
messages by type.

One for all who wait for it; tuples of what holds nothing, since the garbage collector leaves these
alone: with a tuple of its own for each consumer and dictionaries in them, a hundred stalled
consumers made pauses of 0.1 s.
"""


def add(counts: Counts, more: Mapping[str, int]) -> None:
    """Add in place."""
    for kind, number in more.items():
        counts[kind] = counts.get(kind, 0) + number


class Flow:
    """One protocol's consumers of one feed.

    Args:
        received: what the feed counts all its messages in.

    Attributes:
        consumers: how many are subscribed to anything.
        routed: messages times the consumers whose subscriptions cover them.
        queued, resumed, dropped: routed ones that met a full socket, and what became of them.
        conflated: of these, merged into a newer one.
    """

    __slots__ = (
        "_offered",
        "_received",
        "_settled",
        "conflated",
        "consumers",
        "dropped",
        "queued",
        "resumed",
        "routed",
    )

    def __init__(self, received: Counts) -> None:
        self.consumers = 0
        self._received = received
        self._settled: Counts = {}
        """What had been received when a consumer came or went last."""
        self._offered: Counts = {}
        """Up to then."""
        self.routed: Counts = {}
        self.queued: Counts = {}
        self.resumed: Counts = {}
        self.dropped: Counts = {}
        self.conflated: Counts = {}

    @property
    def offered(self) -> Counts:
        """Received messages, each times the consumers there were, whether they wanted it or not.

        Multiplied out when it is asked for: nothing is paid for it per batch.
        """
        offered = dict(self._offered)
        for kind, number in self._received.items():
            new = (number - self._settled.get(kind, 0)) * self.consumers
            offered[kind] = offered.get(kind, 0) + new
        return offered

    def change(self, consumers: int) -> None:
        """So many more consumers, or fewer, from now on."""
        self._offered = self.offered
        self._settled = dict(self._received)
        self.consumers += consumers

    def route(self, received: Mapping[str, int], consumers: int) -> None:
        """Count a batch that so many consumers get whole."""
        for kind, number in received.items():
            self.routed[kind] = self.routed.get(kind, 0) + number * consumers

    def aside(self, counts: Mapping[str, int]) -> None:
        """Count messages that one consumer gets out of turn, such as last values."""
        add(self._offered, counts)
        add(self.routed, counts)

    def lose(self, counts: Mapping[str, int]) -> None:
        """Count routed messages that can't be said in this protocol."""
        add(self.queued, counts)
        add(self.dropped, counts)

    def delivered(self) -> Counts:
        """Written to sockets."""
        return {
            kind: routed - self.queued.get(kind, 0) + self.resumed.get(kind, 0)
            for kind, routed in self.routed.items()
        }

    def filtered(self) -> Counts:
        """Not asked for."""
        return {kind: offered - self.routed.get(kind, 0) for kind, offered in self.offered.items()}

    def waiting(self) -> Counts:
        """In outboxes now."""
        return {
            kind: queued
            - self.resumed.get(kind, 0)
            - self.dropped.get(kind, 0)
            - self.conflated.get(kind, 0)
            for kind, queued in self.queued.items()
        }


class Batch:
    """The batch that is being written.

    Attributes:
        begun_ns: when it was received, monotonic.
        behind: how many deliveries of it had to wait.
    """

    __slots__ = ("begun_ns", "behind")

    def __init__(self) -> None:
        self.begun_ns = 0
        self.behind = 0


class Meter:
    """Counts what a slow consumer's outbox does, for all outboxes of one shape.

    Args:
        batch: the feed's.
        classify: tells how many messages of each type are in some frames.
        latency: hears how long what waited took.
    """

    __slots__ = (
        "_classify",
        "_counts",
        "_frames",
        "_latency",
        "_messages",
        "_waiting",
        "batch",
        "flow",
        "size_bytes",
    )

    def __init__(
        self,
        flow: Flow,
        batch: Batch,
        classify: Callable[[Sequence[bytes]], Counts],
        latency: Latency,
    ) -> None:
        self.flow = flow
        self.batch = batch
        self._classify = classify
        self._latency = latency
        self._frames: Sequence[bytes] = ()
        self._counts: Counts = {}
        self._messages = 0
        self._waiting: Sequence[Waiting] = ()
        self.size_bytes = 0
        """Of the frames that were asked for last."""

    def count(self, frames: Sequence[bytes]) -> Counts:
        """How many messages of each type; asked again for the same frames, it remembers."""
        if frames is not self._frames:
            self._look_at(frames)
        return self._counts

    def _look_at(self, frames: Sequence[bytes]) -> None:
        self._frames, self._counts = frames, self._classify(frames)
        self._messages = sum(self._counts.values())
        self._waiting = ()
        self.size_bytes = sum(map(len, frames))

    def queue(self, frames: Sequence[bytes]) -> Counts:
        """Frames wait, or are dropped at once; give what is in them.

        Called for each consumer that is behind: what all of them share is remembered, and nothing
        is called.
        """
        if frames is not self._frames:
            self._look_at(frames)
        queued = self.flow.queued
        for kind, number in self._counts.items():
            queued[kind] = queued.get(kind, 0) + number
        self.batch.behind += self._messages
        return self._counts

    def waiting(self) -> Sequence[Waiting]:
        """The frames that were asked for last, as they wait."""
        if not self._waiting:
            *others, last = self._frames
            counts = tuple(self._counts.items())
            waits = (last, self._messages, self.batch.begun_ns, counts)
            self._waiting = [*((frame, 0, 0, ()) for frame in others), waits]
        return self._waiting

    def resume(self, counts: Counts, waited_ns: int) -> None:
        """Frames that waited were written."""
        add(self.flow.resumed, counts)
        self._latency.observe(waited_ns, sum(counts.values()))

    def drop(self, counts: Counts) -> None:
        add(self.flow.dropped, counts)

    def merge(self, counts: Counts) -> None:
        """Others stand for them."""
        add(self.flow.conflated, counts)

    def forget(self) -> None:
        """The batch is over: its frames need not be kept."""
        self._frames, self._counts, self._waiting = (), {}, ()
