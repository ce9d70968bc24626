"""However it is asked, an account's REST is never asked more often in a minute than may be."""

from __future__ import annotations

import asyncio
from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation.virtual_time import VirtualLoop, run_virtually
from stream_proxy.sources.request_budget import RequestBudget


def asked_at(per_minute: int, waits: list[float], at_once: int) -> list[float]:
    """When so many at a time get their turn, with waits in between."""
    loop = VirtualLoop()
    times = list[float]()

    async def one(budget: RequestBudget) -> None:
        await budget.take()
        times.append(loop.time())

    async def main() -> None:
        budget = RequestBudget(per_minute)
        for wait in waits:
            await asyncio.sleep(wait)
            await asyncio.gather(*(one(budget) for _ in range(at_once)))

    run_virtually(loop, main())
    return times


def most_in_a_minute(times: list[float]) -> int:
    return max(
        bisect_left(times, begin + 60.0 - 1e-6) - number for number, begin in enumerate(times)
    )


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([1, 2, 10, 60, 200, 1000]),
    st.lists(st.floats(0, 90), min_size=1, max_size=12),
    st.integers(1, 60),
)
def test_never_more_than_the_limit_in_any_minute(
    per_minute: int, waits: list[float], at_once: int
) -> None:
    assert most_in_a_minute(asked_at(per_minute, waits, at_once)) <= per_minute


@pytest.mark.parametrize("per_minute", [10, 200, 1000])
def test_who_asks_without_pause_gets_most_of_it(per_minute: int) -> None:
    times = asked_at(per_minute, [0.0], 10 * per_minute)
    assert most_in_a_minute(times) <= per_minute
    assert len(times) / (times[-1] / 60 + 1) > 0.8 * per_minute


def test_a_few_do_not_wait() -> None:
    """A reconnect asks for some pages at once."""
    assert asked_at(200, [100.0], 20)[-1] == 100.0
