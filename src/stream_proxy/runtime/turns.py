"""Calls from another thread onto the event loop, a few milliseconds of them at a time.

``call_soon_threadsafe`` alone puts all of them into the loop's next turn: after a burst of ten
thousand, nobody's socket is read and no signal heard until the last one is done.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from threading import Lock

_LONGEST_NS = 5_000_000
"""Of one turn: as long as a batch of market data may take."""


class Turns:
    """Runs calls in the order in which they were posted."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[Callable[[], object]] = deque()
        self._lock = Lock()
        self._coming = False
        """Whether a turn is already asked for."""

    def post(self, call: Callable[[], object]) -> None:
        """Have something called on the loop; from any thread.

        Raises:
            RuntimeError: the loop is closed.
        """
        with self._lock:
            self._calls.append(call)
            asked, self._coming = self._coming, True
        if not asked:
            self._loop.call_soon_threadsafe(self._turn)

    def _turn(self) -> None:
        until_ns = time.monotonic_ns() + _LONGEST_NS
        try:
            while self._calls and time.monotonic_ns() < until_ns:
                self._calls.popleft()()
        finally:
            # Also behind a call that raised, which is the loop's affair.
            with self._lock:
                self._coming = bool(self._calls)
            if self._coming:
                self._loop.call_soon(self._turn)
