"""How often an account's REST may be asked: a token bucket shared by all who ask with its keys.

Trading and market data are asked with the same keys. Whoever waits is served in the order of
asking, so many pages of one never keep the other waiting for more than one turn each.
"""

from __future__ import annotations

import asyncio

_BURST = 20
"""Requests that don't wait for their turn: what catching up after a gap usually takes."""


class RequestBudget:
    """A token bucket; some may be taken at once, since Alpaca counts by the minute."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._next = 0.0

    async def take(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        start = max(self._next, now - _BURST / self._per_second)
        self._next = start + 1.0 / self._per_second
        if start > now:
            await asyncio.sleep(start - now)

    def empty(self, seconds: float) -> None:
        """Let nobody ask for so long."""
        self._next = max(self._next, asyncio.get_running_loop().time() + seconds)
