"""Calls from another thread: in order, all of them, and never so many that the loop stands still."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from harness.waiting import eventually
from stream_proxy.runtime.turns import Turns


def from_a_thread(work: Any) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


async def test_others_get_their_turn_between_long_calls() -> None:
    loop = asyncio.get_running_loop()
    turns, order = Turns(loop), list[object]()

    def call(number: int) -> None:
        time.sleep(0.006)  # longer than a turn
        order.append(number)
        loop.call_soon(order.append, f"behind {number}")

    from_a_thread(lambda: [turns.post(lambda n=n: call(n)) for n in range(3)])  # type: ignore[misc]
    await eventually(lambda: len(order) == 6)
    assert order == [0, "behind 0", 1, "behind 1", 2, "behind 2"]


async def test_short_calls_share_a_turn_and_keep_their_order() -> None:
    loop = asyncio.get_running_loop()
    turns, got, turned = Turns(loop), list[int](), 0

    def turn() -> None:
        nonlocal turned
        turned += 1
        if len(got) < 10_000:
            loop.call_soon(turn)

    from_a_thread(lambda: [turns.post(lambda n=n: got.append(n)) for n in range(10_000)])  # type: ignore[misc]
    turn()
    await eventually(lambda: len(got) == 10_000)
    assert got == list(range(10_000))
    assert turned < 1000


async def test_what_is_posted_during_a_turn_comes_too() -> None:
    turns, got = Turns(asyncio.get_running_loop()), list[int]()
    for _ in range(3):
        turns.post(lambda: turns.post(lambda: got.append(1)))
    await eventually(lambda: len(got) == 3)
    turns.post(lambda: got.append(2))
    await eventually(lambda: got == [1, 1, 1, 2])


async def test_a_call_that_fails_holds_up_nobody() -> None:
    loop = asyncio.get_running_loop()
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))
    turns, got = Turns(loop), list[int]()
    turns.post(lambda: 1 // 0)
    turns.post(lambda: got.append(1))
    await eventually(lambda: got == [1])
    (context,) = told
    assert isinstance(context["exception"], ZeroDivisionError)
