"""Alpaca's time, where our own clock is plainly off.

Up to when our record is complete is an instant by Alpaca's clock: its events are asked for and told
by it. A machine whose clock is minutes off, or jumps once, would ask for the wrong minutes and take
what it missed for seen. So Alpaca is asked for the time, too, and the answer is believed where it
contradicts our clock, the answer's way considered. Between two answers time goes on by our
monotonic clock, which doesn't jump.
Method: Cristian, "Probabilistic Clock Synchronization", 1989, sections 3 and 4.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from stream_proxy.model.time import NS_PER_SECOND
from stream_proxy.runtime.clock import Clock

CLOSE_NS = 200_000_000
"""So far apart clocks may be without being wrong: what compares instants allows for it."""
_WORTH_TELLING_NS = 2 * NS_PER_SECOND


class ServerTime(NamedTuple):
    """What a server said of its time.

    Attributes:
        now_ns: nanoseconds since 1970.
        within_ns: how far the truth may be from that, on either side.
    """

    now_ns: int
    within_ns: int


def told_by(ns: int) -> ServerTime:
    """Read a time that a server wrote.

    In whole seconds it is up to two behind the truth: one is cut off, and many servers write their
    ``Date`` once a second (uvicorn and nginx among them), so it may be another one old.
    """
    doubt_ns = 0 if ns % NS_PER_SECOND else NS_PER_SECOND
    return ServerTime(ns + doubt_ns, doubt_ns)


class ServerClock:
    """Tells Alpaca's time: ours, or ours corrected.

    Attributes:
        offset_ns: what is added to our clock; 0 while nothing contradicts it.
        doubt_ns: how far the truth may be from that, on either side; 0 while it is our clock's.
    """

    def __init__(self, clock: Clock, log: Any) -> None:
        self._clock = clock
        self._log = log
        self._told_apart = False
        self.offset_ns = 0
        self.doubt_ns = 0
        self._anchor_ns = clock.now_ns()
        self._anchored_ns = clock.monotonic_ns()

    def now_ns(self) -> int:
        """Alpaca's time now, nanoseconds since 1970."""
        return self.at(self._clock.monotonic_ns())

    def at(self, monotonic_ns: int) -> int:
        """Alpaca's time at an instant of our monotonic clock."""
        return self._anchor_ns + self.offset_ns + monotonic_ns - self._anchored_ns

    async def compare(self, ask: Callable[[], Awaitable[ServerTime | None]]) -> None:
        """Ask Alpaca for the time, and correct ours if the answer contradicts it.

        Raises whatever ``ask`` does; then, and with an answer that tells no time, what was known
        before holds.
        """
        asked_ns = self._clock.monotonic_ns()
        told = await ask()
        answered_ns = self._clock.monotonic_ns()
        # Read together, and anew each time: our clock may have jumped.
        self._anchor_ns, self._anchored_ns = self._clock.now_ns(), answered_ns
        if told is None:
            return
        trip_ns = answered_ns - asked_ns
        measured_ns = told.now_ns - (self._anchor_ns - trip_ns // 2)
        doubt_ns = trip_ns // 2 + told.within_ns + CLOSE_NS
        # An answer that was long on its way contradicts little, and so says little.
        for offset_ns in (self.offset_ns, 0, measured_ns):
            if abs(measured_ns - offset_ns) <= doubt_ns:
                self._believe(offset_ns, abs(measured_ns - offset_ns) + doubt_ns)
                break
        self._tell()

    def _believe(self, offset_ns: int, doubt_ns: int) -> None:
        if not offset_ns:
            doubt_ns = 0
        elif offset_ns == self.offset_ns:
            doubt_ns = min(doubt_ns, self.doubt_ns)
        self.offset_ns, self.doubt_ns = offset_ns, doubt_ns

    def _tell(self) -> None:
        apart = abs(self.offset_ns) > _WORTH_TELLING_NS
        if apart and not self._told_apart:
            self._log.warning(
                "trading.clock_apart",
                seconds=round(-self.offset_ns / NS_PER_SECOND, 1),
                meaning="our clock is so far ahead of Alpaca's (negative: behind); order updates "
                "are compared by Alpaca's time, whatever ours says",
                cure="let NTP keep this machine's clock: timedatectl set-ntp true",
            )
        elif self._told_apart and not apart:
            self._log.info("trading.clock_good")
        self._told_apart = apart
