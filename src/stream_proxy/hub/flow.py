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


def add(counts: Counts, more: Mapping[str, int]) -> None:
    """Add in place."""
    for kind, number in more.items():
        counts[kind] = counts.get(kind, 0) + number


class Flow:
    """One protocol's consumers of one feed.

    Attributes:
        consumers: how many are subscribed to anything.
        offered: received messages, each times the consumers there were.
        routed: those of them that somebody's subscription covers.
        queued, resumed, dropped: routed ones that met a full socket, and what became of them.
        conflated: merged into a newer one.
    """

    __slots__ = ("conflated", "consumers", "dropped", "offered", "queued", "resumed", "routed")

    def __init__(self) -> None:
        self.consumers = 0
        self.offered: Counts = {}
        self.routed: Counts = {}
        self.queued: Counts = {}
        self.resumed: Counts = {}
        self.dropped: Counts = {}
        self.conflated: Counts = {}

    def offer(self, received: Mapping[str, int]) -> None:
        """Count a batch for everybody, wanted or not."""
        for kind, number in received.items():
            self.offered[kind] = self.offered.get(kind, 0) + number * self.consumers

    def route(self, received: Mapping[str, int], consumers: int) -> None:
        """Count a batch that so many consumers get whole."""
        for kind, number in received.items():
            self.routed[kind] = self.routed.get(kind, 0) + number * consumers

    def aside(self, counts: Mapping[str, int]) -> None:
        """Count messages that one consumer gets out of turn, such as last values."""
        add(self.offered, counts)
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
            kind: queued - self.resumed.get(kind, 0) - self.dropped.get(kind, 0)
            for kind, queued in self.queued.items()
        }


class Meter:
    """Counts what a slow consumer's outbox does, for all outboxes of one shape.

    Args:
        classify: tells how many messages of each type are in some frames.
        latency: hears how long what waited took.
    """

    __slots__ = ("_classify", "_counts", "_frames", "_latency", "begun_ns", "behind", "flow")

    def __init__(
        self, flow: Flow, classify: Callable[[Sequence[bytes]], Counts], latency: Latency
    ) -> None:
        self.flow = flow
        self.begun_ns = 0
        """When the batch that is being written was received, monotonic."""
        self.behind = 0
        """Messages of the current batch that were queued."""
        self._classify = classify
        self._latency = latency
        self._frames: Sequence[bytes] = ()
        self._counts: Counts = {}

    def count(self, frames: Sequence[bytes]) -> Counts:
        """How many messages of each type; asked again for the same frames, it remembers."""
        if frames is not self._frames:
            self._frames, self._counts = frames, self._classify(frames)
        return self._counts

    def queue(self, frames: Sequence[bytes]) -> Counts:
        """Frames wait, or are dropped at once; give what is in them."""
        counts = self.count(frames)
        add(self.flow.queued, counts)
        self.behind += sum(counts.values())
        return counts

    def resume(self, counts: Counts, waited_ns: int) -> None:
        """Frames that waited were written."""
        add(self.flow.resumed, counts)
        self._latency.observe(waited_ns, sum(counts.values()))

    def drop(self, counts: Counts) -> None:
        add(self.flow.dropped, counts)

    def forget(self) -> None:
        """The batch is over: its frames need not be kept."""
        self._frames, self._counts = (), {}
