"""Whether silence means anything: what the exchange calendar says about now.

The regular sessions of the New York Stock Exchange, from a kept calendar: holidays, half days and
daylight time included; `market_phase.py` makes the day's phases of them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, runtime_checkable

from stream_proxy.model.feeds import Feed
from stream_proxy.model.time import NS_PER_MINUTE, NS_PER_SECOND
from stream_proxy.sources.market_phase import Period, Phase, Session, Timeline, day_of

_QUIET_BY_NATURE = frozenset({"otc", "boats", "overnight"})


class MarketHours(Protocol):
    """Tells whether a feed can be expected to speak."""

    def expects_data(self, feed: Feed, now_ns: int) -> bool: ...


@runtime_checkable
class PhasedMarketHours(Protocol):
    """Tells in which part of its day a feed is."""

    def period(self, feed: Feed, now_ns: int) -> Period: ...


class ExchangeMarketHours:
    """Market hours by the New York Stock Exchange's calendar.

    Loading takes about a second and a half (the library brings pandas), so `load` belongs in a
    thread, at start and once a day. Before it, exchanges count as closed: better late than
    reconnecting for nothing.
    """

    def __init__(self) -> None:
        self._sessions: list[Session] = []
        self._timeline = Timeline()

    def load(self, now_ns: int) -> None:
        """Read the sessions from a week ago to most of a year ahead."""
        import exchange_calendars

        now = datetime.fromtimestamp(now_ns / NS_PER_SECOND, UTC)
        first, last = now - timedelta(days=7), now + timedelta(days=300)
        calendar: Any = exchange_calendars.get_calendar(
            "XNYS", start=first.strftime("%Y-%m-%d"), end=last.strftime("%Y-%m-%d")
        )
        sessions = [
            Session(
                row.Index.date(),
                int(row.open.timestamp()) * NS_PER_SECOND,
                int(row.close.timestamp()) * NS_PER_SECOND,
            )
            for row in calendar.schedule.itertuples()
        ]
        self._timeline = Timeline(sessions)
        self._sessions = sessions

    def period(self, feed: Feed, now_ns: int) -> Period:
        """The part of the trading day in which this feed is."""
        return self._timeline.period(feed, now_ns)

    def expects_data(self, feed: Feed, now_ns: int) -> bool:
        """Whether a subscribed feed should be heard from now, nothing else being known of it."""
        return is_lively(feed, self.period(feed, now_ns), now_ns)

    def next_change(self, now_ns: int) -> tuple[str, int] | None:
        """When the regular session comes or ends next: ("open" | "close", nanoseconds)."""
        for session in self._sessions:
            if now_ns < session.opens_ns:
                return "open", session.opens_ns
            if now_ns < session.closes_ns:
                return "close", session.closes_ns
        return None


def period_of(hours: MarketHours, feed: Feed, now_ns: int) -> Period:
    """The period of a feed, also by hours that only know open and closed."""
    if isinstance(hours, PhasedMarketHours):
        return hours.period(feed, now_ns)
    phase = Phase.ALWAYS if hours.expects_data(feed, now_ns) else Phase.CLOSED
    return day_of(phase, now_ns)


def is_lively(feed: Feed, period: Period, now_ns: int) -> bool:
    """Whether this feed speaks all the time in this period, its first minute aside.

    Crypto and the test stream always do. News, over-the-counter and overnight feeds never do, and
    what is outside the regular session may be quiet.
    """
    if feed.kind == "news" or feed.name in _QUIET_BY_NATURE:
        return False
    if period.phase is Phase.ALWAYS:
        return True
    return period.phase is Phase.REGULAR and now_ns >= period.from_ns + NS_PER_MINUTE
