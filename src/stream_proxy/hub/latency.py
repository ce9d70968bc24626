"""HOT PATH (`Latency.observe`). How long messages took, as counts in buckets of growing width.

The same integers give a histogram since the start and quantiles of the last minutes. The bucket
edges are the preferred numbers R20 (ISO 3): twenty a decade, each about 12 % above the last, with
1, 2 and 5 among them, so that a coarse histogram is an exact sum of fine buckets.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import nan

_R20 = (
    *(100, 112, 125, 140, 160, 180, 200, 224, 250, 280),
    *(315, 355, 400, 450, 500, 560, 630, 710, 800, 900),
)
_DECADES = 8

EDGES_NS = tuple(step * 10**decade for decade in range(1, 1 + _DECADES) for step in _R20)
"""Upper edges of the buckets, each belonging to its bucket: 1 µs to 90 s. One bucket more takes
the rest."""

_PLACES = {edge: place for place, edge in enumerate(EDGES_NS)}


class Latency:
    """Durations of messages, counted; told nothing of any clock.

    Attributes:
        count: messages since the start.
        sum_ns: their durations together.
    """

    __slots__ = ("_current", "_earlier", "_previous", "count", "sum_ns")

    def __init__(self) -> None:
        self._current = _empty()
        self._previous = _empty()
        self._earlier = _empty()
        """All windows before the current one, together."""
        self.count = 0
        self.sum_ns = 0

    def observe(self, elapsed_ns: int, messages: int = 1) -> None:
        """Count messages that took as long as each other, such as those of one write.

        A negative duration counts as none: two machines' clocks differ, and a sum must not fall.
        """
        if elapsed_ns < 0:
            elapsed_ns = 0
        self._current[bisect_left(EDGES_NS, elapsed_ns)] += messages
        self.count += messages
        self.sum_ns += elapsed_ns * messages

    def rotate(self) -> None:
        """Begin a new window; quantiles speak of the current and the previous one."""
        self._earlier = _added(self._earlier, self._current)
        self._previous, self._current = self._current, _empty()

    def quantiles_seconds(self, fractions: Sequence[float]) -> list[float]:
        """The durations below which these fractions of the last two windows' messages lie.

        Interpolated within a bucket, so at most 15 % off. NaN if there were no messages.
        """
        counts = _added(self._previous, self._current)
        messages = sum(counts)
        return [_quantile_ns(counts, fraction * messages) / 1e9 for fraction in fractions]

    def up_to_ns(self, edges_ns: Iterable[int]) -> list[int]:
        """How many messages since the start took no longer than each of these.

        Raises:
            KeyError: one of them is none of `EDGES_NS`.
        """
        counts = list(accumulate(_added(self._earlier, self._current)))
        return [counts[_PLACES[edge]] for edge in edges_ns]

    @classmethod
    def together(cls, parts: Iterable[Latency]) -> Latency:
        """The sum of several, such as all feeds'; the parts stay as they are."""
        whole = cls()
        for part in parts:
            whole._current = _added(whole._current, part._current)
            whole._previous = _added(whole._previous, part._previous)
            whole._earlier = _added(whole._earlier, part._earlier)
            whole.count += part.count
            whole.sum_ns += part.sum_ns
        return whole


def _empty() -> list[int]:
    return [0] * (len(EDGES_NS) + 1)


def _added(left: list[int], right: list[int]) -> list[int]:
    return [a + b for a, b in zip(left, right, strict=True)]


def _quantile_ns(counts: list[int], rank: float) -> float:
    below = 0
    for index, messages in enumerate(counts):
        if messages and below + messages >= rank:
            lower = EDGES_NS[index - 1] if index else 0
            upper = EDGES_NS[index] if index < len(EDGES_NS) else lower
            return lower + (upper - lower) * (rank - below) / messages
        below += messages
    return nan
