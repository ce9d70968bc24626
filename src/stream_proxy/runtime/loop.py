"""The event loop: uvloop where it installs, signals that end the program, one way to run it."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's event loop, or None for asyncio's own (Windows)."""
    if sys.platform == "win32":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a program to its end."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main)


def raise_file_limit(wanted: int) -> int | None:
    """Allow this many open sockets, as far as the system lets us.

    The usual soft limit of 1,024 would stop not only consumers but also upstream's reconnects.
    Returns the limit in force, or None where the system has none to set (Windows).
    """
    try:
        import resource
    except ImportError:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    most = wanted if hard == unlimited else min(wanted, hard)
    if soft != unlimited and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return wanted if soft == unlimited else soft


def stop_on_signals(stop: asyncio.Event) -> None:
    """Let SIGINT and SIGTERM set the event; a second signal then does what it always does."""
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        stop.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, on_signal, number)
        except NotImplementedError:  # Windows' event loop
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
