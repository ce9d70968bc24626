"""When a consumer counts as behind, when it has caught up, and when it is about to be cut.

Pure: it is told what its outbox shows and what time it is. Every border is two: one to enter and a
lower or later one to leave, so that nobody goes back and forth.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_MS = 1_000_000
_SECOND = 1_000 * _MS

BEHIND_NS = 100 * _MS
"""A consumer is behind when something has waited for so long without a moment in which all of it
was written; a batch that is larger than the socket's buffer isn't enough."""
BEHIND_SHARE = 0.25
"""Or when so much of the bound waits."""
CALM_NS = 1 * _SECOND
"""It has caught up when nothing had to wait for so long. Doubled each time that it falls behind
again soon."""
MOST_CALM_NS = 30 * _SECOND
WARN_SHARE, CLEAR_SHARE = 0.75, 0.5
"""Of the bytes or the age at which it is cut."""


class Turn(Enum):
    """What has changed."""

    BEHIND = "behind"
    CAUGHT_UP = "caught up"
    NEAR_CUT = "near cut"
    CLEAR = "clear"


@dataclass(frozen=True, slots=True)
class Load:
    """What an outbox shows.

    Attributes:
        waits: the socket is full, or something waits for it.
        bytes_share, age_share: how much of the bounds is used.
    """

    waits: bool
    bytes_share: float
    age_share: float


class Lag:
    """One consumer's state.

    Args:
        yields: whether it is one that gets less while it is behind.

    Attributes:
        behind: whether it gets less now.
        near_cut: whether it was warned.
    """

    def __init__(self, yields: bool) -> None:
        self._yields = yields
        self.behind = False
        self.near_cut = False
        self._waits_since_ns: int | None = None
        self._calm_since_ns: int | None = None
        self._calm_ns = CALM_NS
        self._caught_up_ns: int | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing can change before something has to wait again."""
        return not self.behind and not self.near_cut and self._waits_since_ns is None

    def filled_up(self, now_ns: int, already_waiting: bool) -> None:
        """The socket is full; ``already_waiting`` tells whether something was waiting before."""
        self._calm_since_ns = None
        if self._waits_since_ns is None or not already_waiting:
            self._waits_since_ns = now_ns

    def judge(self, now_ns: int, load: Load) -> list[Turn]:
        """Look again; give what has changed."""
        if load.waits:
            self._calm_since_ns = None
            self._waits_since_ns = now_ns if self._waits_since_ns is None else self._waits_since_ns
        else:
            self._waits_since_ns = None
            self._calm_since_ns = now_ns if self._calm_since_ns is None else self._calm_since_ns
        turns = [self._warned(load), self._moved(now_ns, load)]
        return [turn for turn in turns if turn is not None]

    def _moved(self, now_ns: int, load: Load) -> Turn | None:
        if not self.behind:
            since_ns = self._waits_since_ns
            long_enough = since_ns is not None and now_ns - since_ns >= BEHIND_NS
            if self._yields and load.waits and (long_enough or load.bytes_share >= BEHIND_SHARE):
                self._fall_behind(now_ns)
                return Turn.BEHIND
        elif self._calm_since_ns is not None and now_ns - self._calm_since_ns >= self._calm_ns:
            self.behind = False
            self._caught_up_ns = now_ns
            return Turn.CAUGHT_UP
        return None

    def _fall_behind(self, now_ns: int) -> None:
        self.behind = True
        again = self._caught_up_ns is not None and now_ns - self._caught_up_ns < 10 * self._calm_ns
        self._calm_ns = min(2 * self._calm_ns, MOST_CALM_NS) if again else CALM_NS

    def _warned(self, load: Load) -> Turn | None:
        share = max(load.bytes_share, load.age_share)
        if not self.near_cut and share >= WARN_SHARE:
            self.near_cut = True
            return Turn.NEAR_CUT
        if self.near_cut and share < CLEAR_SHARE:
            self.near_cut = False
            return Turn.CLEAR
        return None
