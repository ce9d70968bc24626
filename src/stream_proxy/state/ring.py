"""HOT PATH (`Ring.keep`). The recent messages of one feed, as one log with a place for each.

What is kept are whole frames, as they came: that costs one tuple a socket read, and no memory but
the frames' own. Who wants to go on somewhere reads them again; taking them apart a second time is
paid by who was away, not by those who listen.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

_ENTRY_BYTES = 300
"""What keeping a frame costs beside its bytes, about."""
_MOST_STRETCHES = 1000
"""Given at once."""
_LEAST_STRETCHES = 100
_MARK_NS = 1_000_000_000
_MARKS = 24 * 3600


class Stretch(NamedTuple):
    """Messages that came together, in upstream's codec.

    Attributes:
        first: the sequence of the first; the others follow.
        messages: how many there are.
        received_ns: wall clock.
        payloads: arrays that hold exactly these.
        back_filled: they were asked for afterwards, and are older than their place.
        kept_ns: monotonic.
    """

    first: int
    messages: int
    received_ns: int
    payloads: Sequence[bytes]
    back_filled: bool
    kept_ns: int


_Kept = tuple[int, int, int, Sequence[bytes], bool, int, int]
"""A stretch as a plain tuple, which is four times as fast to make, and what it costs."""


class Ring:
    """A bounded log.

    Args:
        max_bytes: so much is kept at the most; 0 keeps nothing.
        max_age_ns: nothing older is kept, once something newer comes, but for the last few: what
            came before a long silence tells what was missed in it.
    """

    __slots__ = ("_kept", "_marks", "_max_age_ns", "_max_bytes", "bytes", "last")

    def __init__(self, max_bytes: int, max_age_ns: int) -> None:
        self._max_bytes = max_bytes
        self._max_age_ns = max_age_ns
        self._kept: deque[_Kept] = deque()
        self._marks: deque[tuple[int, int]] = deque(maxlen=_MARKS)
        """About once a second: when which message came, longer than the messages are kept."""
        self.bytes = 0
        """What is kept, its cost included."""
        self.last = 0
        """The sequence of the newest message."""

    def keep(
        self,
        first: int,
        messages: int,
        received_ns: int,
        now_ns: int,
        payloads: Sequence[bytes],
        size: int,
        back_filled: bool = False,
    ) -> None:
        """Append messages, the next in sequence; forget what is too old or too much.

        Args:
            now_ns: monotonic.
            size: of the payloads, in bytes.
        """
        self.last = first + messages - 1
        marks = self._marks
        if not marks or received_ns - marks[-1][1] >= _MARK_NS or received_ns < marks[-1][1]:
            marks.append((first, received_ns))
        if not self._max_bytes:
            return
        size += _ENTRY_BYTES * len(payloads)
        kept = self._kept
        # Tuples of plain values all the way: the garbage collector lets go of them at its first
        # look. With lists in them, a full ring cost a tenth of a second at every full collection.
        frames = tuple(payloads)
        kept.append((first, messages, received_ns, frames, back_filled, now_ns, size))
        self.bytes += size
        oldest_ns = now_ns - self._max_age_ns
        while kept and (
            self.bytes > self._max_bytes
            or (kept[0][5] < oldest_ns and len(kept) > _LEAST_STRETCHES)
        ):
            self.bytes -= kept.popleft()[6]

    def newest(self, stretches: int) -> list[Stretch]:
        """What the stream brought last, newest first, as far as it is kept."""
        live = (Stretch(*one[:6]) for one in reversed(self._kept) if not one[4])
        return list(islice(live, stretches))

    @property
    def keeps(self) -> bool:
        """Whether anything is kept at all."""
        return self._max_bytes > 0

    @property
    def since_ns(self) -> int:
        """Since when everything is kept, monotonic; 0 from the very beginning."""
        kept = self._kept
        if not kept:
            return 1 << 62 if self.last else 0
        return kept[0][5] if kept[0][0] > 1 else 0

    def may_forget(self, sequence: int) -> bool:
        """Whether what came behind a message may be gone before long."""
        kept = self._kept
        if not kept or sequence >= self.last:
            return False
        is_old = kept[-1][5] - kept[0][5] > self._max_age_ns // 2
        is_full = self.bytes * 2 > self._max_bytes or is_old
        return is_full and (sequence - self.first) * 2 < self.last - self.first

    @property
    def first(self) -> int:
        """The sequence of the oldest message that is kept; one behind the newest if none is."""
        return self._kept[0][0] if self._kept else self.last + 1

    def holds(self, sequence: int) -> bool:
        """Whether everything behind this message is kept."""
        return self.first - 1 <= sequence <= self.last

    def after(self, sequence: int, messages: int) -> list[Stretch]:
        """The stretches behind a message, oldest first, with about so many messages.

        The first of them may begin before it. Empty if there is nothing newer.
        """
        kept = self._kept
        found: list[Stretch] = []
        start = max(bisect_right(kept, sequence + 1, key=_first_of) - 1, 0)
        # Not by index: each would be searched for anew from an end.
        for one in islice(kept, start, None):
            if messages <= 0 or len(found) == _MOST_STRETCHES:
                break
            if one[0] + one[1] > sequence + 1:
                found.append(Stretch(*one[:6]))
                messages -= one[1]
        return found

    def before(self, kept_ns: int) -> int:
        """The sequence behind which everything was kept at this instant (monotonic) or later."""
        index = bisect_left(self._kept, kept_ns, key=_kept_at)
        return self._kept[index][0] - 1 if index < len(self._kept) else self.last

    def time_at_or_before(self, sequence: int) -> int | None:
        """When a message came, or an instant shortly before; None if that isn't remembered."""
        index = bisect_right(self._marks, sequence, key=_first_of) - 1
        return self._marks[index][1] if index >= 0 else None

    def time_at_or_after(self, sequence: int) -> int | None:
        """When a message came, or an instant shortly after; None if the next is yet to come."""
        index = bisect_right(self._marks, sequence - 1, key=_first_of)
        return self._marks[index][1] if index < len(self._marks) else None


def _kept_at(kept: _Kept) -> int:
    return kept[5]


def _first_of(kept: tuple[int, ...] | _Kept) -> int:
    return kept[0]
