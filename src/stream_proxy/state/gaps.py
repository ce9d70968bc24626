"""The intervals in which messages may have been missed, and how many of them there were."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Gap:
    """From the last good message to the moment when upstream had confirmed everything again.

    ``to_ns`` is None while it lasts; ``topics`` is how many topics were subscribed.
    """

    from_ns: int
    to_ns: int | None
    why: str
    topics: int


class GapLog:
    """The gaps of one feed, newest last; the oldest are forgotten, but stay counted."""

    def __init__(self) -> None:
        self._gaps: deque[Gap] = deque(maxlen=_KEPT)
        self._open: Gap | None = None
        self._last_end_ns = 0
        self.count = 0
        self.closed_ns = 0
        """The length of all that have ended, together."""

    def begin(self, from_ns: int, why: str, topics: int) -> None:
        """Open a gap; one that is open already goes on, and none reaches back into the last one."""
        if self._open is None:
            self._open = Gap(max(from_ns, self._last_end_ns), None, why, topics)
            self.count += 1

    def end(self, to_ns: int) -> Gap | None:
        """Close the open gap and give it."""
        if self._open is None:
            return None
        gap = Gap(self._open.from_ns, to_ns, self._open.why, self._open.topics)
        self._open = None
        self._last_end_ns = to_ns
        self.closed_ns += to_ns - gap.from_ns
        self._gaps.append(gap)
        return gap

    @property
    def current(self) -> Gap | None:
        return self._open

    def recent(self) -> list[Gap]:
        """The closed gaps that are still remembered, and the open one."""
        return [*self._gaps, *([self._open] if self._open else [])]
