"""Since when each topic has been asked of upstream: what nobody asked for wasn't recorded.

Interruptions of the connection are not looked at here; those are gaps (``gaps.py``).
"""

from __future__ import annotations

from collections import deque

from stream_proxy.model.time import NS_PER_SECOND
from stream_proxy.model.topics import WILDCARD, Channel, SubscriptionSet, Symbol

_Topic = tuple[Channel, Symbol]
_SET_NS = NS_PER_SECOND
"""Clocks drift, and are corrected by less."""
_SPANS = 50
"""So many ended spans are remembered of a topic; older ones count as not asked for."""


class Coverage:
    """The spans in which upstream was asked for each topic of a feed."""

    def __init__(self) -> None:
        self._since: dict[_Topic, int] = {}
        self._spans: dict[_Topic, deque[tuple[int, int]]] = {}
        self._ended_ns: dict[_Topic, int] = {}
        """When the last span of a topic ended, monotonic."""
        self._clocks: tuple[int, int] | None = None
        """What both clocks showed when upstream confirmed something last."""
        self._twice: deque[tuple[int, int]] = deque(maxlen=_SPANS)
        """Intervals that our wall clock showed twice, as far as anything changed in them."""

    def hold(self, held: SubscriptionSet, wanted: SubscriptionSet, now_ns: int, at_ns: int) -> None:
        """Upstream confirmed a set.

        What it doesn't hold, though it did, is still covered if it is wanted: it is being asked for
        again, after an interruption.

        Args:
            now_ns, at_ns: wall clock, and monotonic.
        """
        self._look_at_clocks(now_ns, at_ns)
        since = self._since
        confirmed = set(held)
        for topic in confirmed - since.keys():
            since[topic] = now_ns
        for topic in since.keys() - confirmed:
            if topic not in wanted:
                span = since.pop(topic), now_ns
                self._spans.setdefault(topic, deque(maxlen=_SPANS)).append(span)
                self._ended_ns[topic] = at_ns

    def _look_at_clocks(self, now_ns: int, at_ns: int) -> None:
        if self._clocks is not None:
            expected_ns = self._clocks[0] + at_ns - self._clocks[1]
            if expected_ns - now_ns > _SET_NS:
                self._twice.append((now_ns - (at_ns - self._clocks[1]), expected_ns))
        self._clocks = now_ns, at_ns

    def since_ns(self, otherwise_ns: int) -> int:
        """Since when upstream has been asked for anything that it is asked for now."""
        return min(self._since.values(), default=otherwise_ns)

    def asked_since(self, at_ns: int) -> SubscriptionSet:
        """Everything that upstream was asked for at any time since then, monotonic."""
        ended = (topic for topic, ended_ns in self._ended_ns.items() if ended_ns >= at_ns)
        return SubscriptionSet.of([*self._since, *ended])

    def holes(
        self, topics: SubscriptionSet, from_ns: int, to_ns: int
    ) -> list[tuple[int, int, SubscriptionSet]]:
        """When upstream wasn't asked for some topics; those that lack the same are together."""
        alike: dict[tuple[int, int], list[_Topic]] = {}
        for channel, symbol in topics:
            for interval in self.uncovered(channel, symbol, from_ns, to_ns):
                alike.setdefault(interval, []).append((channel, symbol))
        return [
            (since_ns, until_ns, SubscriptionSet.of(lacking))
            for (since_ns, until_ns), lacking in sorted(alike.items(), key=lambda one: one[0])
        ]

    def uncovered(
        self, channel: Channel, symbol: Symbol, from_ns: int, to_ns: int
    ) -> list[tuple[int, int]]:
        """The parts of an interval in which this topic wasn't asked for, oldest first."""
        spans: list[tuple[int, int]] = []
        for topic in {(channel, symbol), (channel, WILDCARD)}:
            spans += self._spans.get(topic, ())
            if topic in self._since:
                spans.append((self._since[topic], to_ns))
        found: list[tuple[int, int]] = []
        if spans:
            # Which of the two times is meant nobody knows.
            found += [
                (max(one_ns, from_ns), min(other_ns, to_ns))
                for one_ns, other_ns in self._twice
                if max(one_ns, from_ns) < min(other_ns, to_ns)
            ]
        for since_ns, until_ns in sorted(spans):
            if from_ns >= to_ns:
                break
            if since_ns > from_ns:
                found.append((from_ns, min(since_ns, to_ns)))
            from_ns = max(from_ns, until_ns)
        if from_ns < to_ns:
            found.append((from_ns, to_ns))
        return found
