"""Named instants in the life of the system, at which a fault can be told to strike.

Random times rarely fall between a commit and the news of it; a name always does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

UPSTREAM = (
    "connect asked",
    "connected",
    "authorized",
    "listening",
    "event happened",
    "event sent",
    "event arrived",
    "REST asked",
    "REST looked",
    "REST answered",
    "before a commit",
    "after a commit",
    "handed out",
    "joining",
)
CONSUMER = (
    "event arrived",
    "REST answered",
    "before a commit",
    "after a commit",
    "handed out",
    "joining",
    "joined",
    "offered",
    "acknowledged",
)


class Moments:
    """Who waits for which instant."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Callable[[], None]]] = {}
        self.seen: Counter[str] = Counter()
        self.struck: Counter[str] = Counter()

    def arm(self, name: str, strike: Callable[[], None]) -> None:
        """Call something the next time that this happens."""
        self._waiting.setdefault(name, []).append(strike)

    def disarm(self) -> None:
        self._waiting.clear()

    def passes(self, name: str) -> None:
        """This happens now."""
        self.seen[name] += 1
        for strike in self._waiting.pop(name, ()):
            self.struck[name] += 1
            strike()
