"""What a consumer missed while it was away, from the ring, and then live without a seam.

It is handed out in portions, so that nobody else waits for it, and only as fast as the consumer
takes it: what is still to come stays in the ring. When a portion finds nothing newer, the consumer
is entered into the hub in the same step, so that no message can fall between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from stream_proxy.model.topics import WILDCARD, Channel, SubscriptionSet
from stream_proxy.state.ring import Ring, Stretch
from stream_proxy.wire.alpaca.codec import Splitter

PORTION = 4000
"""Messages that are looked at in one go: about a millisecond."""

Offer = Callable[[Sequence[Any], Sequence[int], Stretch], bool]
"""Takes the items that are wanted of a stretch, with their sequences; whether there is room for
more."""


class Resuming(Protocol):
    """Who is being served."""

    def lost(self, after: int, until: int) -> None:
        """What is between these two isn't kept any more; it goes on behind the second."""

    def live(self) -> None:
        """It has everything; from now on it gets what comes."""


class Replay:
    """Goes through the ring for one consumer.

    Args:
        after: the last message that it has.
        types: wire letter → channel.
        offer: takes what it missed.
        later: calls back soon, after others had their turn.
    """

    def __init__(
        self,
        ring: Ring,
        splitter: Splitter,
        types: Mapping[str, Channel],
        after: int,
        offer: Offer,
        who: Resuming,
        later: Callable[[Callable[[], None]], object],
    ) -> None:
        self.position = after
        self._wanted = wanted_of(SubscriptionSet(), types)
        self._ring = ring
        self._splitter = splitter
        self._types = types
        self._offer = offer
        self._who = who
        self._later = later
        self._scheduled = False
        self._stuck = False
        self._over = False

    def set_topics(self, topics: SubscriptionSet) -> None:
        """What the consumer wants from here on."""
        self._wanted = wanted_of(topics, self._types)

    def begin(self) -> None:
        """Start, or go on as soon as possible."""
        if not self._scheduled and not self._over:
            self._scheduled = True
            self._later(self._portion)

    def drained(self) -> None:
        """The consumer takes more."""
        if self._stuck:
            self._stuck = False
            self.begin()

    def stop(self) -> None:
        """The consumer is gone."""
        self._over = True

    def _portion(self) -> None:
        self._scheduled = False
        if self._over:
            return
        first = self._ring.first
        if self.position < first - 1:
            after, self.position = self.position, first - 1
            self._who.lost(after, self.position)
            if self._over:
                return
        stretches = self._ring.after(self.position, PORTION)
        for stretch in stretches:
            has_room = self._hand_out(stretch)
            self.position = stretch.first + stretch.messages - 1
            if self._over:
                return
            if not has_room:
                self._stuck = True
                return
        if self.position == self._ring.last:
            self._over = True
            self._who.live()
        else:
            self.begin()

    def _hand_out(self, stretch: Stretch) -> bool:
        types, symbols, items = self._splitter.split_all(stretch.payloads)
        known = max(self.position + 1 - stretch.first, 0)
        chosen = [
            index
            for index in range(known, len(items))
            if is_wanted(self._wanted, types[index], symbols[index])
        ]
        if not chosen:
            return True
        return self._offer(
            [items[index] for index in chosen],
            [stretch.first + index for index in chosen],
            stretch,
        )


_Wanted = tuple[dict[str, frozenset[str]], frozenset[str]]


def wanted_of(topics: SubscriptionSet, types: Mapping[str, Channel]) -> _Wanted:
    """For each wire letter the symbols that are wanted; and those wanted on any channel."""
    by_letter = {letter: frozenset(topics.symbols(channel)) for letter, channel in types.items()}
    return by_letter, frozenset[str]().union(*by_letter.values())


def is_wanted(wanted: _Wanted, kind: str, symbol: Any) -> bool:
    """Whether a message belongs to a consumer, by the hub's rules.

    ``symbol`` is a list of symbols for news. A type that this version doesn't know goes to
    whoever wants its symbol on any channel, and to all if it has none.
    """
    by_letter, of_any = wanted
    symbols = by_letter.get(kind, of_any)
    if not symbols:
        return False
    if WILDCARD in symbols:
        return True
    if isinstance(symbol, str):
        return symbol in symbols or (not symbol and kind not in by_letter)
    return not symbols.isdisjoint(symbol)
