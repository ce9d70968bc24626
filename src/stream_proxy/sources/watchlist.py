"""The topics of a feed that are watched, and which of them are overdue.

Trades and quotes subscribed by name are watched symbol by symbol: the memory of last values shows
whether there is a new one. What comes under ``*``, and channels without such a memory, are watched
by their counters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from stream_proxy.model.feeds import Feed
from stream_proxy.model.time import NS_PER_SECOND
from stream_proxy.model.topics import WILDCARD, Channel, SubscriptionSet, Symbol
from stream_proxy.sources.arrival import Expectation, Slot
from stream_proxy.sources.halts import Halts
from stream_proxy.sources.liveness_advice import Advice, Ask, Reconnect, Resubscribe
from stream_proxy.sources.watched import Cure, Evidence, Watched

Topic: TypeAlias = tuple[Channel, Symbol]
LastValue: TypeAlias = Callable[[Channel, Symbol], object]
"""Gives the last message of a topic, the same object as long as there is no newer one."""

_REMEMBERED = ("quotes", "trades")
"""Channels whose last values are kept by symbol."""
_COUNTED = {"trades": "t", "quotes": "q", "orderbooks": "o", "bars": "b", "dailyBars": "d"}
"""Channels that speak by themselves, and the wire type that they are counted by."""
_AT_ONCE = 250
"""Topics looked at in one go, a fifth of a millisecond; more take turns."""
_WITNESSES = 1000
"""So many are enough to say how lively all of them are."""
_MOST_KNOWN = 20_000
_MOST_ASKED = 20
_ASK_EVERY_NS = 5 * NS_PER_SECOND
_SURE = 21.0
"""``exp(-21)`` is 8e-10."""
_DOUBTFUL = 7.0
"""``exp(-7)`` is 1e-3."""
_CLOCK_MARGIN_NS = 5 * NS_PER_SECOND


@dataclass(frozen=True, slots=True)
class MuteTopic:
    """A topic that is silent for longer than it ever is.

    Attributes:
        silent_ns: for how long.
        confirmed: REST has newer messages; otherwise nobody could be asked.
    """

    channel: Channel
    symbol: Symbol
    silent_ns: int
    confirmed: bool


class Watchlist:
    """What upstream holds for us, topic by topic.

    Args:
        floor_ns: the least patience with one topic.

    Attributes:
        held: what upstream said last that it sends.
    """

    def __init__(self, feed: Feed, halts: Halts, slot: Slot, floor_ns: int) -> None:
        self._feed = feed
        self._halts = halts
        self._floor_ns = floor_ns
        self._slot = slot
        self.held = SubscriptionSet()
        self._known: dict[Topic, Watched] = {}
        self._named: list[Watched] = []
        self._counted: list[tuple[Watched, str]] = []
        self._turn = 0
        self._overdue: dict[Topic, Watched] = {}
        self._asked: list[Watched] = []
        self._ask_after_ns = 0

    # What is held

    def hold(self, topics: SubscriptionSet, now_ns: int, last_value: LastValue) -> None:
        """Upstream said what it sends from now on."""
        before, self.held = self.held, topics
        if not before:
            self._asked = []
            self._overdue.clear()
        self._let_go(topics)
        for channel in topics.channels():
            symbols = topics.symbols(channel)
            if channel in _REMEMBERED and WILDCARD not in symbols:
                for symbol in symbols:
                    watched = self._watch((channel, symbol), now_ns)
                    if (channel, symbol) not in before:
                        watched.subscribe(now_ns)
                        watched.seen = last_value(channel, symbol)
                    self._named.append(watched)
            elif channel in _COUNTED:
                if WILDCARD not in symbols and set(before.symbols(channel)) - set(symbols):
                    # What is left may be much thinner.
                    self._known.pop((channel, WILDCARD), None)
                watched = self._watch((channel, WILDCARD), now_ns)
                if channel not in before.channels():
                    watched.subscribe(now_ns)
                    watched.seen = None
                self._counted.append((watched, _COUNTED[channel]))
        self._forget()

    def _watch(self, topic: Topic, now_ns: int) -> Watched:
        watched = self._known.get(topic)
        if watched is None:
            watched = self._known[topic] = Watched(*topic, self._slot, now_ns)
        if watched.arrivals.slot is not self._slot:
            watched.arrivals.enter(self._slot, now_ns)
        return watched

    def _forget(self) -> None:
        """Who comes back is still known, within reason."""
        if len(self._known) > _MOST_KNOWN:
            spare = [topic for topic in self._known if not self.held.covers(*topic)]
            for topic in spare[: len(self._known) - _MOST_KNOWN]:
                del self._known[topic]

    def lost(self) -> None:
        """The connection is gone."""
        self.held = SubscriptionSet()
        self._let_go(self.held)

    def _let_go(self, topics: SubscriptionSet) -> None:
        for watched in self._named:
            topic = watched.channel, watched.symbol
            if topic not in topics:
                watched.seen = None  # a message can keep its whole batch in memory
                self._overdue.pop(topic, None)
        for watched, _ in self._counted:
            if watched.channel not in topics.channels():
                self._overdue.pop((watched.channel, watched.symbol), None)
        self._named, self._counted = [], []

    def enter(self, slot: Slot, now_ns: int) -> None:
        """Another half hour begins."""
        self._slot = slot
        for watched, _ in self._counted:
            watched.arrivals.enter(slot, now_ns)

    def deaf(self, now_ns: int) -> None:
        """Nobody looked for a while: no silence up to now means anything."""
        for watched in self._known.values():
            watched.arrivals.restart(now_ns)

    # The look

    def look(
        self,
        now_ns: int,
        wall_ns: int,
        counts: Mapping[str, int],
        last_value: LastValue,
        lively: bool,
    ) -> None:
        """Note who spoke since the last look, and who is overdue."""
        for watched, kind in self._counted:
            number = counts.get(kind, 0)
            if number != watched.seen:
                if watched.seen is not None:
                    watched.heard(now_ns, now_ns + self._floor_ns)
                watched.seen = number
            elif now_ns >= watched.due_ns and watched.channel in _REMEMBERED:
                self._check(watched, now_ns, lively)
        self._look_at(self._next_named(), now_ns, wall_ns, last_value, lively)

    def _next_named(self) -> list[Watched]:
        named = self._named
        if len(named) <= _AT_ONCE:
            return named
        start = self._turn if self._turn < len(named) else 0
        self._turn = start + _AT_ONCE
        return named[start : self._turn]

    def _look_at(
        self,
        named: list[Watched],
        now_ns: int,
        wall_ns: int,
        last_value: LastValue,
        lively: bool,
    ) -> None:
        halted, slot = self._halts.symbols, self._slot
        due_ns = now_ns + self._floor_ns
        for watched in named:
            if watched.arrivals.slot is not slot:
                watched.arrivals.enter(slot, now_ns)
            value = last_value(watched.channel, watched.symbol)
            if value is not watched.seen:
                watched.seen = value
                if value is None:
                    continue  # forgotten, not sent
                if watched.symbol in halted:
                    self._halts.heard(watched.channel, watched.symbol, wall_ns)
                    watched.arrivals.restart(now_ns)
                watched.heard(now_ns, due_ns)
            elif now_ns >= watched.due_ns:
                if watched.symbol in halted:
                    watched.restart(now_ns)
                else:
                    self._check(watched, now_ns, lively)

    def _check(self, watched: Watched, now_ns: int, lively: bool) -> None:
        if watched.overdue(self._patience_ns(watched, lively), now_ns):
            self._overdue[watched.channel, watched.symbol] = watched

    def _patience_ns(self, watched: Watched, lively: bool) -> int | None:
        expected = watched.arrivals.expectation(lively)
        if expected is None:
            return None
        return max(self._floor_ns, int(expected.patience_seconds * NS_PER_SECOND))

    def patience_ns(self, topic: Topic, lively: bool) -> int | None:
        """How long a watched topic may be silent now; None when nobody knows."""
        watched = self._known.get(topic)
        return None if watched is None else self._patience_ns(watched, lively)

    def treat(self, now_ns: int) -> Advice | None:
        """What to do for the overdue topics, while others speak."""
        if not self._overdue:
            return None
        overdue = {topic: one for topic, one in self._overdue.items() if now_ns >= one.due_ns}
        self._overdue = overdue
        again: list[Watched] = []
        for topic, watched in [item for item in overdue.items() if item[1].missed]:
            del overdue[topic]
            cure = watched.cure(now_ns)
            if cure is Cure.RECONNECT:
                why = f"{topic[0]} of {topic[1]} are mute, also subscribed anew"
                return Reconnect(why, at_once=True)
            if cure is Cure.RESUBSCRIBE:
                again.append(watched)
        if again:
            silent_ns = now_ns - min(watched.arrivals.last_ns for watched in again)
            topics = SubscriptionSet.of((watched.channel, watched.symbol) for watched in again)
            return Resubscribe(topics, silent_ns)
        if not overdue or self._asked or now_ns < self._ask_after_ns:
            return None
        channel = next(iter(overdue))[0]
        self._asked = [one for (of, _), one in overdue.items() if of == channel][:_MOST_ASKED]
        for watched in self._asked:
            watched.cure(now_ns)
            del overdue[channel, watched.symbol]
        self._ask_after_ns = now_ns + _ASK_EVERY_NS
        return Ask(channel, tuple(watched.symbol for watched in self._asked))

    def answered(self, newer: Mapping[Symbol, bool] | None, now_ns: int) -> None:
        """REST has messages that we don't have, or not; None when nobody could be asked."""
        asked, self._asked = self._asked, []
        for watched in asked:
            of_it = newer
            if newer is not None and watched.symbol != WILDCARD:
                of_it = {symbol: it for symbol, it in newer.items() if symbol == watched.symbol}
            watched.answered(evidence(of_it), now_ns)

    def newer(
        self,
        channel: Channel,
        latest: Mapping[Symbol, int],
        happened: Callable[[Channel, Symbol], int],
        ahead_ns: int,
    ) -> dict[Symbol, bool]:
        """Which symbols have messages from after our last one, and from after we subscribed.

        Args:
            ahead_ns: how far the exchange's clock is ahead of the monotonic one.
        """
        found = {}
        for symbol, latest_ns in latest.items():
            watched = self._known.get((channel, symbol)) or self._known.get((channel, WILDCARD))
            since_ns = (watched.subscribed_ns if watched else 0) + ahead_ns
            newest_ns = max(happened(channel, symbol), since_ns + _CLOCK_MARGIN_NS)
            found[symbol] = latest_ns > newest_ns
        return found

    # All of them together

    def doubtful_seconds(self, lively: bool) -> float | None:
        """The silence of all topics that is unlikely; None when nobody knows."""
        together = self._rate(self._expected(lively))
        return _DOUBTFUL / together if together else None

    def patience_seconds(self, lively: bool) -> float | None:
        """The silence of all topics that is practically impossible; None when nobody knows.

        The least that one of them makes so, or all of them together: symbols count as independent,
        channels of one symbol don't.
        """
        expected = self._expected(lively)
        if not expected:
            return None
        return min(_SURE / self._rate(expected), *(one.patience_seconds for _, one in expected))

    @staticmethod
    def _rate(expected: list[tuple[Watched, Expectation]]) -> float:
        """Messages a second of all of them together, at the least; 0 when nobody knows."""
        rates: dict[Symbol, float] = {}
        for watched, one in expected:
            rates[watched.symbol] = max(1 / one.mean_seconds, rates.get(watched.symbol, 0.0))
        return max(rates.pop(WILDCARD, 0.0), sum(rates.values()))

    def witnesses(self, lively: bool) -> int:
        """How many symbols there are of which it is known how they speak; ``*`` is very many."""
        symbols: set[Symbol] = set()
        for watched, _ in self._expected(lively):
            symbols.update(self._symbols(watched))
        return _WITNESSES if WILDCARD in symbols else len(symbols)

    def _symbols(self, watched: Watched) -> tuple[Symbol, ...]:
        """What comes under a watched topic: a counter may stand for some symbols, or for all."""
        if watched.symbol == WILDCARD:
            return self.held.symbols(watched.channel)
        return (watched.symbol,)

    def _expected(self, lively: bool) -> list[tuple[Watched, Expectation]]:
        halted = self._halts.symbols.keys()
        found = []
        for watched in (*self._named[:_WITNESSES], *(one for one, _ in self._counted)):
            if not halted or not halted >= set(self._symbols(watched)):
                expected = watched.arrivals.expectation(lively)
                if expected is not None:
                    found.append((watched, expected))
        return found

    @property
    def all_halted(self) -> bool:
        """Whether everything is subscribed by name, and halted."""
        halted = self._halts.symbols.keys()
        watched = [*self._named, *(one for one, _ in self._counted)]
        return bool(watched) and all(halted >= set(self._symbols(one)) for one in watched)

    def question(self, lively: bool) -> Ask | None:
        """What to ask REST for all of them: the liveliest stand for the others."""
        for channel in _REMEMBERED:
            if (channel, WILDCARD) in self.held:
                return Ask(channel, (WILDCARD,))
            named = []
            for watched in self._named[:_WITNESSES]:
                if watched.channel == channel and watched.symbol not in self._halts.symbols:
                    expected = watched.arrivals.expectation(lively)
                    pause = float("inf") if expected is None else expected.mean_seconds
                    named.append((pause, watched.symbol))
            if named:
                return Ask(channel, tuple(symbol for _, symbol in sorted(named)[:_MOST_ASKED]))
        return None

    def mute_topics(self, now_ns: int) -> list[MuteTopic]:
        """The topics that are silent while they should not be."""
        return [
            MuteTopic(
                one.channel,
                one.symbol,
                now_ns - one.arrivals.last_ns,
                one.evidence is Evidence.NEWER,
            )
            for one in (*self._named, *(one for one, _ in self._counted))
            if one.evidence in (Evidence.NEWER, Evidence.UNKNOWN)
        ]


def evidence(newer: Mapping[Symbol, bool] | None) -> Evidence:
    """What the comparison with REST says about all that were asked for."""
    if not newer:
        return Evidence.UNKNOWN
    return Evidence.NEWER if any(newer.values()) else Evidence.NOTHING_NEW
