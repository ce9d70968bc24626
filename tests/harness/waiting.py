"""Wait for a condition instead of for a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_STEP_SECONDS = 0.01
_PATIENCE = 3
"""So many times as long as a test asks for: other tests run beside it, on the same two cores."""


async def eventually(
    condition: Callable[[], object], seconds: float = 10.0, what: str = ""
) -> None:
    """Return as soon as the condition holds; fail with its name when it never does."""
    seconds *= _PATIENCE
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what or condition}")
        await asyncio.sleep(_STEP_SECONDS)
