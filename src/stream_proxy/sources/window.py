"""A gap by the exchange's clock, by which REST is asked.

Ours may be wrong, and set at any moment; a delayed feed's is late by a quarter of an hour. So what
time it is there is found out, and a monotonic clock counts from there.
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
_AGREES_NS = 2 * NS_PER_SECOND
_ALIKE_NS = NS_PER_MINUTE
_LATEST_NS = 15 * NS_PER_MINUTE
"""No message that is sent as it happens is later than this."""
_STRETCHES = 16
_LAST_STRETCHES = 4
_OF_EACH = 3


def exchange_ns(handler: FeedHandler, now_ns: int, wall_ns: int, shown_ns: int | None) -> int:
    """What time it is at the exchange, for this feed.

    REST's answers tell it, and where our clock agrees with them, it more exactly. Messages may be
    late, and bear wrong times; but far behind all clocks they are those of another day, replayed,
    and before the first answer they know better than a clock that may be wrong.

    Args:
        now_ns: monotonic.
        wall_ns: what our clock shows.
        shown_ns: what Alpaca's shows, to a second; None before any answer.
    """
    reference_ns = wall_ns
    if shown_ns is not None and abs(wall_ns - shown_ns) > _AGREES_NS:
        reference_ns = shown_ns
    reference_ns -= DELAY_NS.get(handler.feed.name, 0)
    told_ns = told_by_messages_ns(handler, now_ns)
    if told_ns is None:
        return reference_ns
    ahead_ns = told_ns - reference_ns
    is_old = ahead_ns < -_LATEST_NS
    # No message comes before it happened, but for some that are wrong by much.
    is_behind = 0 < ahead_ns <= _ALIKE_NS or (shown_ns is None and ahead_ns > 0)
    return told_ns if is_old or is_behind else reference_ns


def told_by_messages_ns(handler: FeedHandler, now_ns: int) -> int | None:
    """What time it is at the exchange by what most of the last messages say; None without any.

    Each says that it was at least so late when it came. The latest of those that agree is right.
    """
    instants = sorted(_instants(handler, now_ns))
    if not instants:
        return None
    middle_ns = instants[len(instants) // 2]
    return max(one for one in instants if one - middle_ns <= _ALIKE_NS)


def _instants(handler: FeedHandler, now_ns: int) -> Iterator[int]:
    """What time it is by each of the last reads."""
    return (at_ns + now_ns - kept_ns for at_ns, kept_ns in _told(handler, _STRETCHES))


def _heard_ns(handler: FeedHandler) -> int | None:
    """When happened what came last; None if nothing did."""
    return max((at_ns for at_ns, _ in _told(handler, _LAST_STRETCHES)), default=None)


def _told(handler: FeedHandler, stretches: int) -> Iterator[tuple[int, int]]:
    """When the last message of each of the last reads happened, and when it came, monotonic."""
    for stretch in handler.ring.newest(stretches):
        types, _, items = handler.split(stretch.payloads[-1:])
        for kind, item in zip(
            reversed(types[-_OF_EACH:]), reversed(items[-_OF_EACH:]), strict=True
        ):
            if kind not in _LEADS_NS:
                continue
            try:
                at_ns = instant_of(handler.codec.decode_fields(item))
            except FrameDamaged:
                continue
            if at_ns is not None:
                yield at_ns + _LEADS_NS[kind], stretch.kept_ns
                break


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
        sure: whether anything else has told the time but our clock.
    """

    def __init__(
        self, handler: FeedHandler, wall_ns: int, now_ns: int, age_ns: int, *, clipped: bool
    ) -> None:
        self._handler = handler
        newest = handler.ring.newest(1)
        if newest and clipped:
            age_ns = min(age_ns, now_ns - newest[0].kept_ns + NS_PER_SECOND)
        age_ns = max(age_ns, 0)
        self._ahead_ns = 0
        """How far the exchange's clock is ahead of the monotonic one."""
        self.began_ns = now_ns - age_ns
        self.ended_ns = now_ns
        began_with_it = newest and newest[0].kept_ns >= self.began_ns - NS_PER_SECOND
        self._heard_ns = _heard_ns(handler) if clipped and began_with_it else None
        self._last = () if clipped else tuple(_told(handler, _LAST_STRETCHES))
        """Of a gap in a stream that goes on: the last messages tell how late it is."""
        self.look(now_ns, wall_ns, None)

    @property
    def from_ns(self) -> int:
        from_ns = self.began_ns + self._ahead_ns
        heard_ns = self._heard_ns
        if heard_ns is not None and from_ns - _LATEST_NS < heard_ns < from_ns:
            # The stream was late: what it brought last had happened long before.
            return heard_ns
        late_ns = min((self.at(kept_ns) - at_ns for at_ns, kept_ns in self._last), default=0)
        return from_ns - min(max(late_ns, 0), _LATEST_NS)

    @property
    def late_ns(self) -> int:
        """How late the stream was when it broke off."""
        return self.began_ns + self._ahead_ns - self.from_ns

    @property
    def to_ns(self) -> int:
        return self.ended_ns + self._ahead_ns

    def at(self, at_ns: int) -> int:
        """An instant of the monotonic clock by the exchange's."""
        return at_ns + self._ahead_ns

    def look(self, now_ns: int, wall_ns: int, shown_ns: int | None) -> None:
        """See what time it is by now; see `exchange_ns`."""
        handler = self._handler
        self._ahead_ns = exchange_ns(handler, now_ns, wall_ns, shown_ns) - now_ns
        self.sure = shown_ns is not None or told_by_messages_ns(handler, now_ns) is not None

    def widen(self, earlier_ns: int) -> None:
        """The gap began so much earlier than was known."""
        self.began_ns -= earlier_ns

    def end(self, now_ns: int) -> None:
        """The gap is over, monotonic."""
        self.ended_ns = now_ns
