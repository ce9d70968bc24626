"""Calendar days of a market's time zone, as nanoseconds.

Computed once a day, so the calendar arithmetic of ``datetime`` is exact enough here: midnights
and opening bells fall on whole seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from stream_proxy.model.time import NS_PER_SECOND

NEW_YORK = ZoneInfo("America/New_York")
CHICAGO = ZoneInfo("America/Chicago")

_OPENING_BELL = time(9, 30)
_CLOSING_BELL = time(16, 0)
_SATURDAY = 5


@dataclass(frozen=True, slots=True)
class Day:
    """One local day and its regular trading hours, each as ``[start, end)``.

    Weekends have no regular hours. Holidays are not known here.
    """

    start_ns: int
    end_ns: int
    open_ns: int
    close_ns: int

    def is_regular(self, ns: int) -> bool:
        """Whether an instant lies in the regular trading hours."""
        return self.open_ns <= ns < self.close_ns


def day_of(ns: int, zone: ZoneInfo = NEW_YORK) -> Day:
    """The local day that an instant belongs to."""
    date = datetime.fromtimestamp(ns // NS_PER_SECOND, zone).date()

    def local_ns(days: int, at: time) -> int:
        moment = datetime.combine(date + timedelta(days=days), at, zone)
        return int(moment.timestamp()) * NS_PER_SECOND

    start_ns = local_ns(0, time())
    weekend = date.weekday() >= _SATURDAY
    return Day(
        start_ns=start_ns,
        end_ns=local_ns(1, time()),
        open_ns=start_ns if weekend else local_ns(0, _OPENING_BELL),
        close_ns=start_ns if weekend else local_ns(0, _CLOSING_BELL),
    )
