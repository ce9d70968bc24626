"""Which part of the trading day it is, feed by feed.

A day of the United States' markets, New York time: pre-market from 04:00, the regular session from
the exchange's opening to its close, post-market for four hours after that, and overnight trading
from 20:00 on the evening before to 04:00. A half day closes at 13:00, and everything after it
follows suit. Days without a session have no overnight trading before them either.
Source: SIP hours (CTA and UTP plans, 04:00 to 20:00), Blue Ocean ATS (Sunday to Thursday evening).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from zoneinfo import ZoneInfo

from stream_proxy.model.feeds import Feed
from stream_proxy.model.time import NS_PER_MINUTE, NS_PER_SECOND

_NS_PER_DAY = 24 * 60 * NS_PER_MINUTE
_POST_MARKET_NS = 4 * 60 * NS_PER_MINUTE
_PRE_MARKET_FROM = time(4)
_OVERNIGHT_FROM = time(20)
_NIGHT_FEEDS = frozenset({"boats", "overnight"})
DELAY_NS = {"delayed_sip": 15 * NS_PER_MINUTE}
"""What happens now reaches these feeds so much later."""


class Phase(Enum):
    """A part of the trading day."""

    CLOSED = "closed"
    PRE_MARKET = "pre-market"
    REGULAR = "regular"
    POST_MARKET = "post-market"
    OVERNIGHT = "overnight"
    ALWAYS = "always open"


_DAY = frozenset({Phase.PRE_MARKET, Phase.REGULAR, Phase.POST_MARKET})


@dataclass(frozen=True, slots=True)
class Period:
    """A phase and its limits, nanoseconds since 1970; ``to_ns`` is the first instant after it."""

    phase: Phase
    from_ns: int
    to_ns: int


@dataclass(frozen=True, slots=True)
class Session:
    """One day's regular session, by the exchange's calendar."""

    day: date
    opens_ns: int
    closes_ns: int


class Timeline:
    """The phases of many days, end to end.

    Args:
        sessions: in order, one a trading day.
    """

    def __init__(self, sessions: Iterable[Session] = ()) -> None:
        # Built here, and not with the module: reading the zone's rules takes a file.
        zone = ZoneInfo("America/New_York")
        self._periods: list[Period] = []
        for session in sessions:
            evening = _instant(session.day - timedelta(days=1), _OVERNIGHT_FROM, zone)
            morning = _instant(session.day, _PRE_MARKET_FROM, zone)
            opens, closes = session.opens_ns, session.closes_ns
            self._periods += (
                Period(Phase.OVERNIGHT, evening, morning),
                Period(Phase.PRE_MARKET, morning, opens),
                Period(Phase.REGULAR, opens, closes),
                Period(Phase.POST_MARKET, closes, closes + _POST_MARKET_NS),
            )
        self._starts = [period.from_ns for period in self._periods]

    def period(self, feed: Feed, now_ns: int) -> Period:
        """The period of this feed in which the instant lies.

        Past the known sessions everything but crypto, news and the test stream is closed.
        """
        if feed.always_open:
            return day_of(Phase.ALWAYS, now_ns)
        delay_ns = DELAY_NS.get(feed.name, 0)
        found = self._at(_open_phases(feed), now_ns - delay_ns)
        return Period(found.phase, found.from_ns + delay_ns, found.to_ns + delay_ns)

    def _at(self, phases: frozenset[Phase], now_ns: int) -> Period:
        index = bisect_right(self._starts, now_ns) - 1
        if index >= 0:
            period = self._periods[index]
            if now_ns < period.to_ns and period.phase in phases:
                return period
        earlier = map(self._periods.__getitem__, range(index, -1, -1))
        later = map(self._periods.__getitem__, range(index + 1, len(self._periods)))
        before = next((p.to_ns for p in earlier if p.phase in phases), 0)
        after = next((p.from_ns for p in later if p.phase in phases), 1 << 62)
        return Period(Phase.CLOSED, before, after)


def day_of(phase: Phase, now_ns: int) -> Period:
    """The whole day, by UTC, where there is nothing to divide it."""
    start_ns = now_ns - now_ns % _NS_PER_DAY
    return Period(phase, start_ns, start_ns + _NS_PER_DAY)


def _open_phases(feed: Feed) -> frozenset[Phase]:
    if feed.name in _NIGHT_FEEDS:
        return frozenset({Phase.OVERNIGHT})
    if feed.kind == "options":
        return frozenset({Phase.REGULAR})
    return _DAY


def _instant(day: date, at: time, zone: ZoneInfo) -> int:
    # 20:00 and 04:00 exist exactly once on every day: clocks change at 02:00.
    moment = datetime.combine(day, at, zone).astimezone(UTC)
    return int(moment.timestamp()) * NS_PER_SECOND
