"""Goodbyes at the end, spread: who is told comes back at once, and so do all the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

_STEP_SECONDS = 0.05
_AT_ONCE = 50
"""So few cause no storm."""


async def say_goodbye(farewells: Sequence[Callable[[], None]], seconds: float) -> None:
    """Say them all within so many seconds, in equal portions; a few are said at once."""
    steps = max(seconds / _STEP_SECONDS, 1.0)
    portion = max(_AT_ONCE, int(len(farewells) / steps) + 1)
    for start in range(0, len(farewells), portion):
        if start:
            await asyncio.sleep(_STEP_SECONDS)
        for farewell in farewells[start : start + portion]:
            farewell()
