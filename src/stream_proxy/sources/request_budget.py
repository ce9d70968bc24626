"""How often an account's REST may be asked: a token bucket shared by all who ask with its keys.

Trading and market data are asked with the same keys. Whoever waits is served in the order of
asking, so many pages of one never keep the other waiting for more than one turn each.
"""

from __future__ import annotations

import asyncio

_MOST_AT_ONCE = 20
"""Requests that don't wait for their turn: what catching up after a gap usually takes."""
_SHARE_AT_ONCE = 10
"""One in so many is given to them at the most."""


class RequestBudget:
    """A token bucket; some may be taken at once, since Alpaca counts by the minute.

    Args:
        per_minute: so many at the most in any minute, those that are taken at once included.
    """

    def __init__(self, per_minute: int) -> None:
        at_once = min(_MOST_AT_ONCE, per_minute // _SHARE_AT_ONCE)
        self._interval = 60.0 / (per_minute - at_once)
        self._saved = at_once * self._interval
        self._next = 0.0

    async def take(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        start = max(self._next, now - self._saved)
        self._next = start + self._interval
        if start > now:
            await asyncio.sleep(start - now)

    def empty(self, seconds: float) -> None:
        """Let nobody ask for so long."""
        self._next = max(self._next, asyncio.get_running_loop().time() + seconds)
