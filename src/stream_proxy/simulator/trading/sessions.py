"""When orders may trade: sessions, auctions, and when a time in force ends.

Sessions are those of New York weekdays; holidays are not known here (see ``market.days``).
Unless the simulator keeps market hours, stocks and options trade at any time, but auctions and
the end of a trading day still come when they come.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from stream_proxy.model.time import NS_PER_MINUTE, NS_PER_SECOND
from stream_proxy.simulator.market.days import NEW_YORK, day_of

_NS_PER_HOUR = 60 * NS_PER_MINUTE
_NS_PER_DAY = 24 * _NS_PER_HOUR
_EXTENDED_BEFORE_NS = 330 * NS_PER_MINUTE  # from 4:00
_EXTENDED_AFTER_NS = 4 * _NS_PER_HOUR  # until 20:00
_GTC_DAYS = 90
_OPENING_BELL, _CLOSING_BELL = time(9, 30), time(16, 0)
_SATURDAY = 5

AUCTION_CUT_OFF_NS = {"opg": 2 * NS_PER_MINUTE, "cls": 10 * NS_PER_MINUTE}
"""How long before an auction its orders must be in: 9:28 and 15:50 (Alpaca, "Time in Force")."""
_QUEUED_FROM_NS = 3 * _NS_PER_HOUR
"""From 19:00, three hours after the close, orders for the next day's auctions are taken again."""


@dataclass(frozen=True, slots=True)
class Session:
    """The regular hours of one trading day, as ``[open, close)``."""

    open_ns: int
    close_ns: int


def sessions_from(now_ns: int) -> Iterator[Session]:
    """The session of today, if today has one, and all that follow."""
    at_ns = now_ns
    while True:
        day = day_of(at_ns)
        if day.close_ns > day.open_ns:
            yield Session(day.open_ns, day.close_ns)
        at_ns = day.end_ns


def is_open(now_ns: int, extended: bool = False) -> bool:
    session = next(sessions_from(now_ns))
    before, after = (_EXTENDED_BEFORE_NS, _EXTENDED_AFTER_NS) if extended else (0, 0)
    return session.open_ns - before <= now_ns < session.close_ns + after


def next_open(now_ns: int) -> int:
    return next(s.open_ns for s in sessions_from(now_ns) if s.open_ns > now_ns)


def next_close(now_ns: int) -> int:
    return next(s.close_ns for s in sessions_from(now_ns) if s.close_ns > now_ns)


def expiry(time_in_force: str, extended: bool, now_ns: int) -> int:
    """When an order that comes now ends by itself; 0 for never."""
    match time_in_force:
        case "day":
            late = _EXTENDED_AFTER_NS if extended else 0
            return next(
                s.close_ns + late for s in sessions_from(now_ns) if s.close_ns + late > now_ns
            )
        case "gtc":
            return now_ns - now_ns % NS_PER_SECOND + _GTC_DAYS * _NS_PER_DAY
        case _:
            return 0


def auction(time_in_force: str, now_ns: int) -> int:
    """The instant of the auction that an ``opg`` or ``cls`` order is for; 0 for other orders."""
    match time_in_force:
        case "opg":
            return next_open(now_ns)
        case "cls":
            return next_close(now_ns)
        case _:
            return 0


def too_late_for_auction(time_in_force: str, now_ns: int) -> bool:
    """Whether the order came after the cut-off, but before the next day's orders are taken."""
    cut_off_ns = AUCTION_CUT_OFF_NS.get(time_in_force)
    if cut_off_ns is None:
        return False
    for session in sessions_from(now_ns - _NS_PER_DAY):
        auction_ns = session.open_ns if time_in_force == "opg" else session.close_ns
        if auction_ns - cut_off_ns > now_ns:
            return False
        if now_ns < session.close_ns + _QUEUED_FROM_NS:
            return True
    return False


def calendar(first: date, last: date) -> list[dict[str, str]]:
    """Trading days between two dates, both included, in the shape of ``GET /v2/calendar``."""
    days = []
    day = first
    while day <= last:
        if day.weekday() < _SATURDAY:
            days.append(
                {
                    "date": day.isoformat(),
                    "open": f"{_OPENING_BELL:%H:%M}",
                    "close": f"{_CLOSING_BELL:%H:%M}",
                    "session_open": "0400",
                    "session_close": "2000",
                    "settlement_date": _next_weekday(day).isoformat(),
                }
            )
        day += timedelta(days=1)
    return days


def _next_weekday(day: date) -> date:
    day += timedelta(days=1)
    while day.weekday() >= _SATURDAY:
        day += timedelta(days=1)
    return day


def new_york_time(ns: int) -> str:
    """An instant with New York's offset, as the clock endpoint writes it."""
    moment = datetime.fromtimestamp(ns // NS_PER_SECOND, UTC).astimezone(NEW_YORK)
    return moment.isoformat()


def new_york_date(ns: int) -> date:
    return datetime.fromtimestamp(ns // NS_PER_SECOND, NEW_YORK).date()
