"""How late the event loop is: the one figure that says whether anything in it took too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from stream_proxy.runtime.clock import Clock

_NS_PER_SECOND = 1_000_000_000


async def watch_stalls(
    clock: Clock, late: Callable[[int], None], every_seconds: float = 0.1
) -> None:
    """Ask to be woken again and again, until cancelled.

    Args:
        late: called each time with how much later than asked that was, in nanoseconds: about a
            millisecond while all is well, since that is how exact the loop's timers are.
    """
    while True:
        due_ns = clock.monotonic_ns() + int(every_seconds * _NS_PER_SECOND)
        await asyncio.sleep(every_seconds)
        late(max(0, clock.monotonic_ns() - due_ns))
