"""Does a feed live? Closed, quiet, halted, one mute symbol, or a mute feed: which, and what to do.

`look` is called a few times a second with counters and last values that are kept anyway; nothing is
done per message. It compares each silence with what is usual at that time of the day and gives at
most one piece of advice, which `liveness_monitor.py` carries out. How false alarms are bounded is
told in ``docs/liveness.md``. Pure: time is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum

from stream_proxy.model.feeds import Feed
from stream_proxy.model.time import NS_PER_MINUTE, NS_PER_SECOND
from stream_proxy.model.topics import WILDCARD, Channel, SubscriptionSet, Symbol
from stream_proxy.sources.arrival import Pauses, slot_of
from stream_proxy.sources.halts import Halt, Halts
from stream_proxy.sources.liveness_advice import Advice, Ask, Reconnect
from stream_proxy.sources.market_hours import is_lively
from stream_proxy.sources.market_phase import Period, Phase
from stream_proxy.sources.watched import Evidence
from stream_proxy.sources.watchlist import LastValue, MuteTopic, Watchlist, evidence

_DENSE = frozenset({"quotes", "orderbooks"})
"""Channels that are hardly ever silent for minutes while there is trading."""
_TOPIC_FLOOR = 6
"""A single topic gets so many times the least patience of a whole feed."""
_TIMES_LONGEST = 3
_TIMES_LONGEST_TO_ASK = 1.5
_ENOUGH_TO_ASK = 20
"""Pauses of the whole feed."""
_CONFIRM_NS = 2 * NS_PER_SECOND
_DEAF_NS = 5 * NS_PER_SECOND
"""Not having looked for longer, we don't know who is to blame for the silence."""
_FLOWING_NS = 2 * NS_PER_SECOND
_MARGIN_NS = NS_PER_MINUTE
"""Around the beginning and the end of a phase nothing is judged: clocks differ."""
_LOOK_AGAIN_NS = NS_PER_MINUTE
_MOST_DOUBTS = 6


class Condition(Enum):
    """How a feed is, in a word."""

    IDLE = "idle"
    """Not connected, or nothing subscribed."""
    CLOSED = "closed"
    FLOWING = "flowing"
    QUIET = "quiet"
    HALTED = "halted"
    """All that is subscribed is halted."""
    MUTE = "mute"
    HALF_OPEN = "half open"
    """Silent, and a ping is without its pong."""


class Liveness:
    """Judges one feed.

    Args:
        shortest_seconds: the least patience with a whole feed, however busy it was.
        longest_seconds: the patience with a feed of which too little is known.

    Attributes:
        period: the part of the trading day at the last look.
        unanswered: whether a ping waits for its pong; set by whoever pings.
    """

    def __init__(self, feed: Feed, shortest_seconds: float, longest_seconds: float) -> None:
        self._feed = feed
        self._floor_ns = int(shortest_seconds * NS_PER_SECOND)
        self._unlearned_ns = int(longest_seconds * NS_PER_SECOND)
        self.period = Period(Phase.CLOSED, 0, 1 << 62)
        self.unanswered = False
        self._halts = Halts()
        self._slot = slot_of(self.period, 0)
        self._watchlist = Watchlist(feed, self._halts, self._slot, _TOPIC_FLOOR * self._floor_ns)
        self._pauses = Pauses()
        self._messages: int | None = None
        self._looked_ns = 0
        self._last_ns = 0
        self._due_ns = 0
        self._doubts = 0
        self._asked_for_all = False
        self._mute_why = ""
        self._act_ns = 0
        """When to act upon it."""

    # What is told to it

    def hold(self, topics: SubscriptionSet, now_ns: int, last_value: LastValue) -> None:
        """Upstream said what it sends from now on."""
        if not self._watchlist.held:
            self._last_ns = self._looked_ns = now_ns
            self._messages = None
            self._asked_for_all = False
        self._due_ns = 0
        self._watchlist.hold(topics, now_ns, last_value)

    def lost(self) -> None:
        """The connection is gone."""
        self._watchlist.lost()
        self._halts.interrupted()
        if self._mute_why:
            # If the next connection is as silent, it may be the market: don't flap.
            self._doubts = min(self._doubts + 1, _MOST_DOUBTS)
            self._mute_why = ""

    def status(self, message: Mapping[str, object], wall_ns: int) -> None:
        """A status (``s``) or a price band (``l``) passed by."""
        self._halts.tell(message, wall_ns)

    def look(
        self,
        now_ns: int,
        wall_ns: int,
        period: Period,
        messages: int,
        counts: Mapping[str, int],
        last_value: LastValue,
    ) -> Advice | None:
        """See what came since the last look, and say what is to be done.

        Args:
            now_ns: monotonic.
            wall_ns: the wall clock.
            messages: the feed's messages so far.
            counts: the same by wire type.
        """
        self._enter(period, now_ns, wall_ns)
        if now_ns - self._looked_ns > _DEAF_NS:
            # The machine slept, or the loop was blocked.
            self._last_ns = now_ns
            self._watchlist.deaf(now_ns)
        self._looked_ns = now_ns
        if messages != self._messages:
            if self._messages is not None:
                self._heard(now_ns)
            self._messages = messages
        self._watchlist.look(now_ns, wall_ns, counts, last_value, self._lively)
        if not self._watchlist.held or not self._judged(wall_ns):
            return None
        if now_ns - self._last_ns >= self._floor_ns:
            return self._judge_all(now_ns)
        return None if self._asked_for_all else self._watchlist.treat(now_ns)

    def _enter(self, period: Period, now_ns: int, wall_ns: int) -> None:
        """Note what time it is."""
        self.period = period
        slot = slot_of(period, wall_ns)
        if slot == self._slot:
            return
        if slot[0] is self._slot[0]:
            self._pauses.fade(0.5)
        else:
            self._pauses = Pauses()
            self._last_ns = now_ns
            self._doubts = 0
            self._mute_why = ""
        self._slot = slot
        self._due_ns = 0
        self._watchlist.enter(slot, now_ns)

    def _heard(self, now_ns: int) -> None:
        self._pauses.add((now_ns - self._last_ns) / NS_PER_SECOND)
        self._last_ns = now_ns
        self._due_ns = 0
        self._doubts = 0
        self._mute_why = ""

    # The judgement

    @property
    def _lively(self) -> bool:
        return is_lively(self._feed, self.period, self.period.from_ns + _MARGIN_NS)

    def _judged(self, wall_ns: int) -> bool:
        """Whether silence says anything now."""
        period = self.period
        if period.phase is Phase.CLOSED or self._feed.kind == "news":
            return False
        if period.phase is Phase.ALWAYS:
            return True
        return period.from_ns + _MARGIN_NS <= wall_ns < period.to_ns - _MARGIN_NS

    def patience_ns(self) -> int | None:
        """How long the feed as a whole may be silent now; None when nobody knows.

        No pause is held against it that is not much longer than those it has had.
        """
        known = self._watchlist.patience_seconds(self._lively)
        if known is not None:
            seconds = max(known, _TIMES_LONGEST * self._pauses.longest)
            return max(self._floor_ns, int(seconds * NS_PER_SECOND))
        if self._lively and not self._watchlist.all_halted:
            return self._unlearned_ns
        return None

    def _asking_ns(self, patience_ns: int) -> int:
        """How long the feed may be silent before REST is asked: to ask is no harm."""
        doubtful, longest = self._watchlist.doubtful_seconds(self._lively), self._pauses.longest
        if doubtful is not None:
            seconds = max(doubtful, _TIMES_LONGEST_TO_ASK * longest)
        elif self._pauses.count >= _ENOUGH_TO_ASK:
            # Little is known of any topic, but already how the whole feed goes.
            seconds = _TIMES_LONGEST * longest
        else:
            return patience_ns
        return min(patience_ns, max(self._floor_ns, int(seconds * NS_PER_SECOND)))

    def _judge_all(self, now_ns: int) -> Advice | None:
        """Nothing at all came for a while."""
        if self._mute_why:
            return Reconnect(self._mute_why) if now_ns >= self._act_ns else None
        if now_ns < self._due_ns or self._asked_for_all:
            return None
        patience_ns = self.patience_ns()
        if patience_ns is None:
            self._due_ns = now_ns + _LOOK_AGAIN_NS
            return None
        question = self._watchlist.question(self._lively)
        wait_ns = patience_ns if question is None else self._asking_ns(patience_ns)
        self._due_ns = self._last_ns + (wait_ns << self._doubts)
        if now_ns < self._due_ns:
            return None
        if question is None:
            return self._conclude(Evidence.UNKNOWN, now_ns)
        self._asked_for_all = True
        return question

    def answered(
        self,
        ask: Ask,
        latest: Mapping[Symbol, int] | None,
        happened: Callable[[Channel, Symbol], int],
        now_ns: int,
        exchange_ns: int,
    ) -> None:
        """Hear what REST has.

        Args:
            latest: when each symbol's latest message happened; None when nobody could be asked.
            happened: the same for the last message that we got, 0 without one.
            exchange_ns: what time it is there, for this feed.
        """
        newer = None
        if latest is not None:
            newer = self._watchlist.newer(ask.channel, latest, happened, exchange_ns - now_ns)
        if not self._asked_for_all:
            self._watchlist.answered(newer, now_ns)
            return
        self._asked_for_all = False
        if now_ns - self._last_ns >= self._floor_ns:
            self._conclude(evidence(newer), now_ns)

    def _conclude(self, found: Evidence, now_ns: int) -> Reconnect | None:
        """The whole feed is silent beyond its patience."""
        silent_ns = now_ns - self._last_ns
        patience_ns = self.patience_ns() or 0
        is_unusual = silent_ns >= patience_ns << self._doubts
        if found is Evidence.UNKNOWN and not is_unusual:
            self._due_ns = self._last_ns + (patience_ns << self._doubts)
            return None
        telling = found is Evidence.UNKNOWN and self._is_telling(silent_ns)
        if found is Evidence.NEWER or telling:
            # What REST has already may still be on its way to us.
            self._act_ns = now_ns if is_unusual else now_ns + _CONFIRM_NS
            phase = self.period.phase.value
            self._mute_why = (
                f"connected but mute for {silent_ns / NS_PER_SECOND:.0f} s (market phase: {phase})"
            )
            return Reconnect(self._mute_why) if is_unusual else None
        if found is Evidence.NOTHING_NEW:
            self._doubts = min(self._doubts + 1, _MOST_DOUBTS)
        wait_ns = min(self._floor_ns << self._doubts, _LOOK_AGAIN_NS)
        self._due_ns = now_ns + (_LOOK_AGAIN_NS if found is Evidence.UNKNOWN else wait_ns)
        return None

    def _is_telling(self, silent_ns: int) -> bool:
        """Whether the silence alone is reason enough, where nobody can be asked.

        One or two symbols may be halted, for five minutes as a rule, without our being told.
        """
        witnesses = self._watchlist.witnesses(self._lively)
        if witnesses > 2:
            return True
        if silent_ns < self._unlearned_ns << self._doubts:
            return False
        held = self._watchlist.held
        dense = not _DENSE.isdisjoint(held.channels()) or ("trades", WILDCARD) in held
        return witnesses > 0 or dense

    # For the status page

    def condition(self, now_ns: int) -> Condition:
        """How the feed is, in a word."""
        if not self._watchlist.held:
            return Condition.IDLE
        if now_ns - self._last_ns < _FLOWING_NS:
            return Condition.FLOWING
        if self.unanswered:
            return Condition.HALF_OPEN
        if self._mute_why:
            return Condition.MUTE
        if self.period.phase is Phase.CLOSED:
            return Condition.CLOSED
        return Condition.HALTED if self._watchlist.all_halted else Condition.QUIET

    @property
    def halted(self) -> Mapping[Symbol, Halt]:
        """The halted symbols, as far as statuses or price bands are subscribed."""
        return self._halts.symbols

    def topic_patience_ns(self, channel: Channel, symbol: Symbol) -> int | None:
        """How long one topic may be silent now; None when nobody knows, or it isn't watched."""
        return self._watchlist.patience_ns((channel, symbol), self._lively)

    def mute_topics(self, now_ns: int) -> list[MuteTopic]:
        """The topics that are silent while they should not be."""
        return self._watchlist.mute_topics(now_ns)
