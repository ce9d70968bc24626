"""How long a subscribed, open feed may be silent before its connection is taken for mute.

A flat timer is wrong twice: too short for one thin symbol, too long for the whole tape. So the
patience follows the longest pause that this subscription has had while the market was open.
Pure: time is an argument.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from stream_proxy.model.time import NS_PER_SECOND
from stream_proxy.model.topics import Channel

_TICKING = frozenset({"trades", "quotes", "orderbooks"})
_BY_THE_MINUTE = frozenset({"bars", "dailyBars"})


@dataclass(slots=True)
class Silence:
    """Judges pauses.

    Args:
        shortest_seconds: the least patience, for busy subscriptions.
        longest_seconds: the patience while nothing is known yet, and the most there is.
    """

    shortest_seconds: float
    longest_seconds: float
    _longest_pause_ns: int = 0
    _heard: int = 0
    _last_ns: int = 0
    _fruitless: int = field(default=0)

    def subscribed(self, now_ns: int) -> None:
        """Start to listen: a new connection or a new set."""
        self._last_ns = now_ns

    def narrowed(self, now_ns: int) -> None:
        """The subscription lost topics: what is left may be much thinner, so learn anew."""
        self._heard = 0
        self._longest_pause_ns = 0
        self._last_ns = now_ns

    def heard(self, now_ns: int) -> None:
        """Data came, at this tick of the watch."""
        self._longest_pause_ns = max(self._longest_pause_ns, now_ns - self._last_ns)
        self._heard += 1
        self._last_ns = now_ns
        self._fruitless = 0

    def quiet(self, now_ns: int) -> None:
        """No data can be expected now (market closed, nothing subscribed): don't count it."""
        self._last_ns = now_ns

    def gave_up(self) -> None:
        """The connection was made again because of silence; be more patient with the next."""
        self._fruitless += 1

    def is_mute(self, now_ns: int, channels: Collection[Channel]) -> bool:
        """Whether the pause is longer than this subscription ever makes."""
        return now_ns - self._last_ns > self.patience_ns(channels)

    def patience_ns(self, channels: Collection[Channel]) -> int:
        """How long the pause may be; statuses and the like may be silent for ever."""
        longest = int(self.longest_seconds * NS_PER_SECOND)
        if not _TICKING.isdisjoint(channels):
            if self._heard < 20:
                patience = longest
            else:
                floor = int(self.shortest_seconds * NS_PER_SECOND)
                patience = min(longest, max(floor, 3 * self._longest_pause_ns))
        elif not _BY_THE_MINUTE.isdisjoint(channels):
            patience = longest
        else:
            return 1 << 62
        return patience << min(self._fruitless, 6)
