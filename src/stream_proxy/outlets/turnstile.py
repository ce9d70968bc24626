"""How fast newcomers are let in, so that a thousand who come back at once cost nobody a frame."""

from __future__ import annotations

_BURST_SECONDS = 0.1


class Turnstile:
    """Gives each newcomer the moment from which it is served.

    Args:
        per_second: so many at the most, beside a tenth of it at once.
    """

    __slots__ = ("_interval", "_next")

    def __init__(self, per_second: float) -> None:
        self._interval = 1.0 / per_second
        self._next = 0.0

    def wait_seconds(self, now: float) -> float:
        """How long the newcomer of this moment has to wait; each call is one newcomer."""
        start = max(self._next, now - _BURST_SECONDS)
        self._next = start + self._interval
        return max(start - now, 0.0)
