"""An event loop whose time jumps: when nothing is ready, it is the next timer's hour.

Nothing sleeps and nothing is polled, so that hours pass in seconds, and the same program takes the
same steps in the same order every time. Idea: FoundationDB's simulation, as told in "FoundationDB:
A Distributed Unbundled Transactional Key Value Store", SIGMOD 2021, section 4.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

START_NS = 1_772_000_000_000_000_000
"""When every simulated world begins, nanoseconds since 1970: a trading day in February 2026."""


class NothingLeftToHappen(Exception):
    """Somebody waits, and nothing is planned that could end it."""


class _Turner(selectors.SelectSelector):
    """Stands where the loop asks the system for news: lets time pass instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise NothingLeftToHappen("everybody waits for somebody else")
        self.now += max(timeout, 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs callbacks as any loop does, by its own time in seconds since its beginning."""

    def __init__(self) -> None:
        self._turner = _Turner()
        super().__init__(self._turner)

    def time(self) -> float:
        return self._turner.now

    def skip(self, seconds: float) -> None:
        """Let time pass in which nothing happens: whatever was due in it happens right after."""
        self._turner.now += seconds


class VirtualClock:
    """The product's clock on a virtual loop.

    Args:
        ahead_ns: how far this clock is ahead of the others.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ahead_ns: int = 0) -> None:
        self._loop = loop
        self._ahead_ns = ahead_ns

    def now_ns(self) -> int:
        return START_NS + self._ahead_ns + round(self._loop.time() * 1e9)

    def jump(self, ns: int) -> None:
        """Set the clock forward, or back."""
        self._ahead_ns += ns

    def monotonic_ns(self) -> int:
        return round(self._loop.time() * 1e9)


def run_virtually(loop: VirtualLoop, main: Coroutine[Any, Any, T]) -> T:
    """Run to the end, and leave nothing behind."""
    try:
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            with contextlib.suppress(NothingLeftToHappen):
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
