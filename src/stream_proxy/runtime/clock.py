"""Time as an argument: a clock that is passed in, so that tests turn it by hand.

Waiting goes through the event loop, whose own clock a test can replace as well.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where the program learns the time."""

    def now_ns(self) -> int:
        """Wall-clock nanoseconds since 1970; may jump."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that only grow: for time-outs and durations."""


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()
