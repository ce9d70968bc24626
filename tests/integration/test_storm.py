"""Everybody comes back at once, or all the time: nobody else notices, and nothing is left behind.

``STORM_CLIENTS`` and ``LEAK_CYCLES`` make it larger.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.consumers import consumer
from harness.passer_by import PasserBy, half_a_handshake
from harness.proxies import ProxyProcess, proxy_process, running_app
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually
from stream_proxy.outlets.connection import ServedConnection
from stream_proxy.outlets.farewell import say_goodbye
from stream_proxy.outlets.turnstile import Turnstile

CLIENTS = int(os.environ.get("STORM_CLIENTS", "1000"))
CYCLES = int(os.environ.get("LEAK_CYCLES", "1500"))
PATH = "/v2/iex"
WAYS = ("clean", "reset", "end", "half")
SYMBOLS = ["AAPL", "MSFT", "NVDA"]
MOST_GROWTH_BYTES = 2 << 20


@pytest.fixture(scope="module")
def alpaca() -> Iterator[SimulatorProcess]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * CLIENTS)), hard))
    with simulator("--rate", "300", "--symbols", "10") as process:
        yield process


async def come(address: str) -> PasserBy:
    client = await PasserBy.arrive(address, PATH)
    await client.subscribe(trades=SYMBOLS, quotes=SYMBOLS)
    return client


@pytest.mark.timeout(240)
async def test_a_thousand_come_back_at_once(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    """One subscribe upstream for all, and who was there all the time loses nothing."""
    variables = {"STREAM_PROXY_LINGER_SECONDS": "0.2"}
    with proxy_process(alpaca.streams, tmp_path, "--feeds", "iex", **variables) as proxy:
        address = proxy.addresses[0]
        async with consumer(address + PATH, "msgpack") as steady:
            await steady.subscribe(bars=["*"], trades=["AMZN"], quotes=["AMZN"])
            for _ in range(2):
                before = (await upstream(alpaca))["subscribes"]
                clients = await asyncio.gather(*(come(address) for _ in range(CLIENTS)))
                assert (await upstream(alpaca))["subscribes"] == before + 1
                for client in clients:
                    await client.leave("reset")
                await shows(alpaca, lambda record: "AAPL" not in record["topics"]["trades"])
            heard = steady.messages
            await eventually(lambda: steady.messages > heard + 20, 20, "it flows")
            record = await upstream(alpaca)
            assert steady.closed is None and record["errors"] == []


async def upstream(alpaca: SimulatorProcess) -> dict[str, Any]:
    """The one connection's page in the simulator's ledger."""
    connections = (await alpaca.ledger())["connections"]
    (record,) = [one for one in connections if one["feed"] == "iex" and not one["closed_ns"]]
    return dict(record)


async def shows(alpaca: SimulatorProcess, holds: Any) -> None:
    deadline = time.monotonic() + 20
    while not holds(await upstream(alpaca)):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def pass_by(address: str, number: int) -> None:
    """One visit, of one of the ways to come and go."""
    how = WAYS[number % len(WAYS)]
    if how == "half":
        await half_a_handshake(address)
        return
    client = await PasserBy.arrive(address, PATH)
    if number % 3:
        await client.subscribe(quotes=[f"S{number % 50}"])
    await client.leave(how)


async def visits(address: str, first: int, count: int) -> None:
    """So many, a few at a time."""
    for start in range(first, first + count, 20):
        last = min(start + 20, first + count)
        await asyncio.gather(*(pass_by(address, n) for n in range(start, last)))


def resident_bytes(proxy: ProxyProcess) -> int:
    pages = int(Path(f"/proc/{proxy.process.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def steady_memory(proxy: ProxyProcess) -> Callable[[], bool]:
    """A condition: for a second and a half, memory has been what it was."""
    last, since = 0, time.monotonic()

    def is_steady() -> bool:
        nonlocal last, since
        now = resident_bytes(proxy)
        if abs(now - last) > 64 * 1024:
            last, since = now, time.monotonic()
        return time.monotonic() - since > 1.5

    return is_steady


def open_files(proxy: ProxyProcess) -> int:
    return len(os.listdir(f"/proc/{proxy.process.pid}/fd"))


@pytest.mark.timeout(600)
async def test_visitors_leave_nothing_in_the_process(
    alpaca: SimulatorProcess, tmp_path: Path
) -> None:
    """No descriptor, and no more memory in the second half than may be."""
    # What the ring keeps grows by design.
    variables = {"STREAM_PROXY_RING_BYTES": "0"}
    with proxy_process(alpaca.streams, tmp_path, "--feeds", "iex", **variables) as proxy:
        address = proxy.addresses[0]
        await visits(address, 0, 300)
        # The exchange calendar comes beside the start, and is large.
        await eventually(steady_memory(proxy), 30, "all is loaded")
        await eventually(lambda: open_files(proxy) < 60, 20, "they are gone")
        files = open_files(proxy)
        await visits(address, 300, CYCLES // 2)
        half = resident_bytes(proxy)
        await visits(address, 300 + CYCLES // 2, CYCLES // 2)
        growth = resident_bytes(proxy) - half
        await eventually(lambda: open_files(proxy) <= files, 20, "all sockets are closed")
        assert growth < MOST_GROWTH_BYTES
        print(f"{CYCLES} visits: {growth / 1024:.0f} KiB more in the second half")


async def test_visitors_leave_no_object_and_no_task(alpaca: SimulatorProcess) -> None:
    """Counted in the proxy's own process, by type."""
    async with running_app(alpaca.streams, feeds=["iex"]) as app:
        address = app.addresses()[0]

        def ours() -> Counter[str]:
            gc.collect()
            return Counter(
                type(one).__qualname__
                for one in gc.get_objects()
                if str(type(one).__module__).startswith("stream_proxy")
            )

        def left() -> int:
            gc.collect()
            # Other tests' servers live on in this process: FastAPI caches what they were made of.
            return sum(
                isinstance(one, ServedConnection) and one.outlet is app.outlet
                for one in gc.get_objects()
            )

        async def gone() -> None:
            await eventually(lambda: not app.outlet.connections, 20, "all are gone")
            handler = app.handlers["iex"]
            await eventually(lambda: not handler.demand.wanted(), 20, "nobody wants anything")
            await eventually(lambda: not left(), 30, "no connection is left")

        await visits(address, 0, 60)
        await gone()
        before, tasks = ours(), len(asyncio.all_tasks())
        await visits(address, 60, 400)
        await gone()
        await eventually(lambda: len(asyncio.all_tasks()) <= tasks, 10, "all tasks have ended")
        after = ours()
        grown = {name: n - before[name] for name, n in after.items() if n > before[name] + 5}
        # One of each feed, not of each visitor.
        assert not {name: n for name, n in grown.items() if n > 60}, grown


def test_newcomers_are_let_in_one_after_the_other() -> None:
    turnstile = Turnstile(100)
    waits = [turnstile.wait_seconds(5.0) for _ in range(111)]
    assert waits[:11] == [0.0] * 11
    assert waits[-1] == pytest.approx(1.0)
    assert waits == sorted(waits)
    assert turnstile.wait_seconds(7.0) == 0.0


async def test_goodbyes_are_spread() -> None:
    """A few at once; many over the time that there is."""
    loop = asyncio.get_running_loop()
    said: list[float] = []
    await say_goodbye([lambda: said.append(loop.time())] * 50, 10)
    assert len(said) == 50 and said[-1] - said[0] < 0.05
    said.clear()
    await say_goodbye([lambda: said.append(loop.time())] * 1000, 0.4)
    assert len(said) == 1000 and said[-1] - said[0] > 0.2
    assert max(Counter(said).values()) <= 1000 / 7
