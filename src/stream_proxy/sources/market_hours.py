"""Whether silence means anything: is the market open?

The regular session of the New York Stock Exchange, from a kept exchange calendar: holidays, half
days and daylight time included. Outside of it a quiet feed is normal. Crypto and the test stream
never close; news, over-the-counter and overnight feeds are quiet by nature, so they are never
judged.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from stream_proxy.model.feeds import Feed
from stream_proxy.model.time import NS_PER_MINUTE, NS_PER_SECOND

_NEVER_JUDGED = {"otc", "boats", "overnight"}


class MarketHours(Protocol):
    """Tells whether a feed can be expected to speak."""

    def expects_data(self, feed: Feed, now_ns: int) -> bool: ...


class ExchangeMarketHours:
    """Market hours by the New York Stock Exchange's calendar, loaded on first use.

    Loading takes about a second and a half (the library brings pandas), so `load` belongs in a
    thread, at start and once a day.
    """

    def __init__(self) -> None:
        self._sessions: list[tuple[int, int]] = []

    def load(self, now_ns: int) -> None:
        """Read the sessions from a week ago to a year ahead."""
        import exchange_calendars

        now = datetime.fromtimestamp(now_ns / NS_PER_SECOND, UTC)
        first, last = now - timedelta(days=7), now + timedelta(days=300)
        calendar: Any = exchange_calendars.get_calendar(
            "XNYS", start=first.strftime("%Y-%m-%d"), end=last.strftime("%Y-%m-%d")
        )
        # Sources count in minutes: the first minute after the opening may still be silent.
        self._sessions = [
            (int(row.open.timestamp()) * NS_PER_SECOND, int(row.close.timestamp()) * NS_PER_SECOND)
            for row in calendar.schedule.itertuples()
        ]

    def expects_data(self, feed: Feed, now_ns: int) -> bool:
        """Whether a subscribed feed should be heard from now.

        Before `load` the answer is no for exchanges: better late than reconnecting for nothing.
        """
        if feed.kind == "news" or feed.name in _NEVER_JUDGED:
            return False
        return feed.always_open or self.regular_session(now_ns)

    def regular_session(self, now_ns: int) -> bool:
        """Whether the New York Stock Exchange's regular session is on, its first minute aside."""
        return any(opens + NS_PER_MINUTE <= now_ns < closes for opens, closes in self._sessions)

    def next_change(self, now_ns: int) -> tuple[str, int] | None:
        """What comes next and when: ("open" | "close", nanoseconds)."""
        for opens, closes in self._sessions:
            if now_ns < opens:
                return "open", opens
            if now_ns < closes:
                return "close", closes
        return None
