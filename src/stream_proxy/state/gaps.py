"""The intervals in which messages may have been missed, and what became of each."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from stream_proxy.model.topics import SubscriptionSet

_KEPT = 1000
_OF_LATE = 20
_SAME_CLOCK_NS = 10_000_000
_SAME_NS = 1_000_000_000


class Filling(Enum):
    """How far what was missed has been asked for afterwards."""

    NOT = "not filled"
    UNDER_WAY = "being filled"
    PARTLY = "partly filled"
    WHOLE = "filled"


@dataclass(slots=True, eq=False)
class Gap:
    """From the last good message to the moment when upstream had confirmed everything again.

    Attributes:
        number: counts the feed's gaps, from 1.
        from_ns, to_ns: wall clock; ``to_ns`` is None while it lasts.
        after_sequence: the last message before it.
        until_sequence: the last message when it ended; what came in between may be incomplete.
        topics: what was subscribed, or wanted to be.
        whole_feed: whether the connection was gone, and not only some topics mute or damaged.
        last_news_sequence: the last message when its end or its filling was told.
        filling: whether it was filled from Alpaca's REST.
        filled: what was filled completely.
        messages: how many were found that had been missed.
        trouble: why not all could be filled; empty if nothing is wrong.
        began_ns, ended_ns: the same by the monotonic clock; None where that isn't known.
    """

    number: int
    from_ns: int
    to_ns: int | None
    why: str
    topics: SubscriptionSet
    after_sequence: int = 0
    until_sequence: int | None = None
    whole_feed: bool = False
    last_news_sequence: int = 0
    filling: Filling = Filling.NOT
    filled: SubscriptionSet = field(default_factory=SubscriptionSet)
    messages: int = 0
    trouble: str = ""
    began_ns: int | None = None
    ended_ns: int | None = None

    @property
    def missing(self) -> SubscriptionSet:
        """The topics of which messages may still be missing."""
        return self.topics - self.filled


class GapLog:
    """The gaps of one feed, newest last; the oldest are forgotten, but stay counted."""

    def __init__(self) -> None:
        self._gaps: deque[Gap] = deque(maxlen=_KEPT)
        self._open: Gap | None = None
        self.count = 0
        self.closed_ns = 0
        """The length of all that have ended, together."""
        self.back_filled = 0
        """Messages that were found afterwards, in all gaps."""
        self.forgotten_until_ns = 0
        """Gaps that ended before this instant may not be remembered."""

    def begin(
        self,
        from_ns: int,
        why: str,
        topics: SubscriptionSet,
        after_sequence: int = 0,
        *,
        now_ns: int | None = None,
        began_ns: int | None = None,
        whole_feed: bool = False,
    ) -> Gap | None:
        """Open a gap, or widen the open one; None where that holds all of it already.

        None begins within another of the same topics, unless the clock was set back since.

        Args:
            from_ns, now_ns: wall clock.
            began_ns: the instant of ``from_ns`` by the monotonic clock, if it is known.
        """
        from_ns, began_ns = self._behind_others(from_ns, began_ns, topics, now_ns)
        if self._open is not None:
            return self._widen(self._open, from_ns, began_ns, topics, whole_feed)
        self.count += 1
        self._open = Gap(
            self.count,
            from_ns,
            None,
            why,
            topics,
            after_sequence,
            whole_feed=whole_feed,
            began_ns=began_ns,
        )
        return self._open

    def _behind_others(
        self, from_ns: int, began_ns: int | None, topics: SubscriptionSet, now_ns: int | None
    ) -> tuple[int, int | None]:
        """The first instant from there on that no gap of late holds, by both clocks.

        One that is a moment only, such as a message that can't be read, doesn't make up for a
        silence before it.
        """
        for gap in list(self._gaps)[-_OF_LATE:]:
            assert gap.to_ns is not None
            is_past = now_ns is None or gap.to_ns <= now_ns
            if began_ns is not None and gap.ended_ns is not None and began_ns >= gap.ended_ns:
                continue  # the wall clock was set back to its time
            if is_past and gap.from_ns <= from_ns < gap.to_ns and not topics - gap.topics:
                if began_ns is not None:
                    # The wall clock may have been set within it.
                    by_wall_ns = began_ns + gap.to_ns - from_ns
                    began_ns = by_wall_ns if gap.ended_ns is None else gap.ended_ns
                from_ns = gap.to_ns
        return from_ns, began_ns

    @staticmethod
    def _widen(
        gap: Gap, from_ns: int, began_ns: int | None, topics: SubscriptionSet, whole_feed: bool
    ) -> Gap | None:
        if began_ns is None or gap.began_ns is None:
            is_earlier = from_ns < gap.from_ns
        else:
            # Not by the wall clock, which may have been set back meanwhile.
            is_earlier = began_ns < gap.began_ns
        if not is_earlier and not topics - gap.topics:
            return None
        if is_earlier:
            gap.from_ns, gap.began_ns = from_ns, began_ns
        gap.topics = gap.topics | topics
        gap.whole_feed |= whole_feed
        return gap

    def end(
        self, to_ns: int, until_sequence: int = 0, *, ended_ns: int | None = None
    ) -> Gap | None:
        """Close the open gap and give it; it holds all of its time, though the clock were set.

        Args:
            to_ns: wall clock.
            ended_ns: the same instant by the monotonic clock, if it is known.
        """
        gap = self._open
        if gap is None:
            return None
        from_ns = gap.from_ns
        lasted_ns = to_ns - from_ns
        if ended_ns is not None and gap.began_ns is not None:
            true_ns = ended_ns - gap.began_ns
            if abs(true_ns - lasted_ns) > _SAME_CLOCK_NS:
                lasted_ns = true_ns
        gap.from_ns, gap.to_ns = min(from_ns, to_ns, to_ns - lasted_ns), max(from_ns, to_ns)
        gap.to_ns = max(gap.to_ns, from_ns + lasted_ns)
        gap.ended_ns = ended_ns
        gap.until_sequence = gap.last_news_sequence = until_sequence
        self._open = None
        self._keep(gap)
        return gap

    def note(
        self, from_ns: int, to_ns: int, why: str, topics: SubscriptionSet, sequence: int
    ) -> Gap | None:
        """A gap that is over as soon as it is noticed; None where one is open already.

        What happens again and again within a second is one gap, which grows.
        """
        if self._open is not None:
            return None
        last = self._gaps[-1] if self._gaps else None
        if last is None or last.to_ns is None or last.why != why:
            pass
        elif last.filling is Filling.NOT and not last.trouble and from_ns - last.to_ns < _SAME_NS:
            self.closed_ns += to_ns - last.to_ns
            last.to_ns = to_ns
            last.until_sequence = last.last_news_sequence = sequence
            last.topics = last.topics | topics
            return last
        self.begin(from_ns, why, topics, sequence, now_ns=to_ns)
        return self.end(to_ns, sequence)

    def _keep(self, gap: Gap) -> None:
        assert gap.to_ns is not None
        self.closed_ns += gap.to_ns - gap.from_ns
        if len(self._gaps) == _KEPT:
            self.forgotten_until_ns = max(self.forgotten_until_ns, self._gaps[0].to_ns or 0)
        self._gaps.append(gap)

    @property
    def current(self) -> Gap | None:
        return self._open

    def recent(self) -> list[Gap]:
        """The closed gaps that are still remembered, and the open one."""
        return [*self._gaps, *([self._open] if self._open else [])]
