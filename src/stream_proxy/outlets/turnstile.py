"""How fast newcomers are let in, so that a thousand who come back at once cost nobody a frame."""

from __future__ import annotations

_BURST_SECONDS = 0.1
_LONGEST_SECONDS = 5.0


class Turnstile:
    """Gives each newcomer the moment from which it is served.

    Args:
        per_second: so many at the most, beside a tenth of it at once.
    """

    __slots__ = ("_interval", "_next")

    def __init__(self, per_second: float) -> None:
        self._interval = 1.0 / per_second
        self._next = 0.0

    def wait_seconds(self, now: float) -> float | None:
        """How long the newcomer of this moment has to wait; each call is one newcomer.

        None says that it would be too long: clients give up, and come again behind those who are
        gone by then. It takes no place.
        """
        start = max(self._next, now - _BURST_SECONDS)
        if start - now > _LONGEST_SECONDS:
            return None
        self._next = start + self._interval
        return max(start - now, 0.0)
