"""A gap by the exchange's clock, by which REST is asked.

Ours may be wrong, and set at any moment; a delayed feed's is late by a quarter of an hour. So an
interval isn't taken from our wall clock: ticks say what time it is, and a monotonic clock counts
from there.
"""

from __future__ import annotations

from collections.abc import Iterator

from stream_proxy.feed.handler import FeedHandler
from stream_proxy.model.time import NS_PER_MINUTE, NS_PER_SECOND
from stream_proxy.sources.instant import instant_of
from stream_proxy.sources.market_phase import DELAY_NS
from stream_proxy.wire.alpaca.codec import FrameDamaged

_LEADS_NS = {"t": 0, "q": 0, "o": 0, "s": 0, "l": 0, "b": NS_PER_MINUTE}
"""Types that are sent as soon as they happen. A bar's time is its beginning."""
_STRETCHES = 16
_OF_EACH = 3


def exchange_ns(handler: FeedHandler, now_ns: int, shown_ns: int) -> int:
    """What time it is at the exchange, for this feed: by messages, or else by another clock.

    Args:
        now_ns: monotonic.
        shown_ns: what that clock shows.
    """
    told_ns = told_by_messages_ns(handler, now_ns)
    return shown_ns - DELAY_NS.get(handler.feed.name, 0) if told_ns is None else told_ns


def told_by_messages_ns(handler: FeedHandler, now_ns: int) -> int | None:
    """What time it is at the exchange, as far as what came last can tell; None if nothing did.

    Each message says that it was at least so late when it came. The second latest is believed: of
    messages some are late, and now and then one bears a time that is yet to come.

    Args:
        now_ns: monotonic.
    """
    instants = sorted(_instants(handler, now_ns), reverse=True)
    if len(instants) > 2:
        return instants[1]
    return instants[0] if instants else None


def _instants(handler: FeedHandler, now_ns: int) -> Iterator[int]:
    for stretch in handler.ring.newest(_STRETCHES):
        types, _, items = handler.split(stretch.payloads[-1:])
        for kind, item in zip(types[-_OF_EACH:], items[-_OF_EACH:], strict=True):
            if kind not in _LEADS_NS:
                continue
            try:
                at_ns = instant_of(handler.codec.decode_fields(item))
            except FrameDamaged:
                continue
            if at_ns is not None:
                yield at_ns + _LEADS_NS[kind] + now_ns - stretch.kept_ns


class Window:
    """From when to when, by the exchange's clock.

    Args:
        wall_ns, now_ns: this moment by our wall clock, and monotonic.
        age_ns: how long ago the gap began, by our clock.
        clipped: whether nothing at all can have come in the gap, so that it can't be older than
            the silence.

    Attributes:
        from_ns, to_ns: the interval.
        began_ns, ended_ns: the same, monotonic.
        sure: whether a message has told the time, or an answer; else our clock is believed.
    """

    def __init__(
        self, handler: FeedHandler, wall_ns: int, now_ns: int, age_ns: int, *, clipped: bool
    ) -> None:
        self._handler = handler
        newest = handler.ring.newest(1)
        if newest and clipped:
            age_ns = min(age_ns, now_ns - newest[0].kept_ns + NS_PER_SECOND)
        age_ns = max(age_ns, 0)
        self._delay_ns = DELAY_NS.get(handler.feed.name, 0)
        self._ahead_ns = wall_ns - self._delay_ns - now_ns
        """How far the exchange's clock is ahead of the monotonic one."""
        self.began_ns = now_ns - age_ns
        self.ended_ns = now_ns
        # Articles bear the times of their changes, and where nothing is kept, nothing can tell.
        self._asks = handler.ring.keeps and handler.feed.kind != "news"
        self._told = False
        self.sure = not self._asks
        self.look(now_ns)

    @property
    def from_ns(self) -> int:
        return self.began_ns + self._ahead_ns

    @property
    def to_ns(self) -> int:
        return self.ended_ns + self._ahead_ns

    def at(self, at_ns: int) -> int:
        """An instant of the monotonic clock by the exchange's."""
        return at_ns + self._ahead_ns

    def look(self, now_ns: int, shown_ns: int | None = None) -> None:
        """See what time it is by what has come in the meantime.

        Args:
            shown_ns: what a clock of Alpaca's shows, to the second. It helps where nothing came.
        """
        if not self._asks:
            return
        known_ns = told_by_messages_ns(self._handler, now_ns)
        if known_ns is not None:
            ahead_ns = known_ns - now_ns
            self._ahead_ns = max(self._ahead_ns, ahead_ns) if self._told else ahead_ns
            self._told = self.sure = True
        elif shown_ns is not None:
            self._ahead_ns = shown_ns - self._delay_ns - now_ns
            self.sure = True

    def widen(self, earlier_ns: int) -> None:
        """The gap began so much earlier than was known."""
        self.began_ns -= earlier_ns

    def end(self, now_ns: int) -> None:
        """The gap is over, monotonic."""
        self.ended_ns = now_ns
