"""When to ping a socket, and what its pongs prove. Pure: time is an argument."""

from __future__ import annotations

from stream_proxy.model.time import NS_PER_SECOND

_PROMPT_NS = 2 * NS_PER_SECOND
"""A pong that takes longer is worth a word."""


class Pings:
    """The pings of one connection after another; all times are monotonic.

    Args:
        interval_seconds: between pings.
        patience_seconds: how long a pong may take.
    """

    def __init__(self, interval_seconds: float, patience_seconds: float) -> None:
        self._interval_ns = int(interval_seconds * NS_PER_SECOND)
        self._patience_ns = int(patience_seconds * NS_PER_SECOND)
        self._last_ns = 0
        self._asked_ns = 0
        self._awaited = False

    def opened(self, now_ns: int) -> None:
        """A new connection: the first ping is due an interval from now."""
        self._last_ns = self._asked_ns = now_ns
        self._awaited = False

    def sent(self, now_ns: int) -> None:
        """A ping went out; pongs don't say which ping they answer, so the oldest counts."""
        self._last_ns = now_ns
        if not self._awaited:
            self._awaited = True
            self._asked_ns = now_ns

    def ponged(self) -> None:
        self._awaited = False

    def due(self, now_ns: int) -> bool:
        """Whether it is time for the next ping."""
        return now_ns - self._last_ns >= self._interval_ns

    def overdue(self, now_ns: int) -> bool:
        """Whether a pong is missing for so long that the connection is half open."""
        return self._awaited and now_ns - self._asked_ns > self._patience_ns

    def slow(self, now_ns: int) -> bool:
        """Whether a pong is missing for longer than usual."""
        return self._awaited and now_ns - self._asked_ns > _PROMPT_NS

    @property
    def awaited(self) -> bool:
        """Whether a ping is without its pong."""
        return self._awaited

    def answered_since(self, instant_ns: int) -> bool:
        """Whether a ping that was sent at this instant or later has its pong.

        Then everything that upstream had sent before it has come, too.
        """
        return not self._awaited and self._asked_ns >= instant_ns
