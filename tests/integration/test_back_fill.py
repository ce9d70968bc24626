"""What was missed while upstream was away is asked for, and told to who wants to know.

``BACK_FILL_RATE``, ``BACK_FILL_AWAY_SECONDS`` and ``BACK_FILL_CONSUMERS`` make it larger: at 300
seconds a minute boundary, and several, lie within the gap. ``BACK_FILL_TICKS`` names a recording of
four symbols whose ticks are played with today's times.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Any

import httpx
import pytest
from msgspec.msgpack import Ext

from harness.consumers import consumer
from harness.follower import Follower, follower
from harness.proxies import running_app
from harness.recorder import Recorder, recorder
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually
from stream_proxy.app import App
from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.time import parse_rfc3339, timestamp_ns
from stream_proxy.simulator.market.tickers import tickers
from stream_proxy.sources.market_data_rest import MarketDataRest
from stream_proxy.sources.received import key_of
from stream_proxy.sources.request_budget import RequestBudget
from stream_proxy.wire.alpaca.requests import Credentials

RATE = int(os.environ.get("BACK_FILL_RATE", "2000"))
AWAY_SECONDS = float(os.environ.get("BACK_FILL_AWAY_SECONDS", "2"))
CONSUMERS = int(os.environ.get("BACK_FILL_CONSUMERS", "6"))
FOLLOWERS = 4
"""So many of them take everything apart at once; the others keep it for later."""
TICKS = os.environ.get("BACK_FILL_TICKS")
NAMES = ["SPY", "IBM", "AIG", "BAC"] if TICKS else list(tickers(30))
NAMED: dict[str, list[str]] = {"trades": NAMES, "quotes": NAMES[:1], "bars": NAMES}
COMPLETE: dict[str, list[str]] = {"trades": NAMES, "bars": NAMES}


@pytest.fixture(scope="module")
def alpaca() -> Iterator[SimulatorProcess]:
    market = ["--replay", TICKS, "--replay-now"] if TICKS else ["--symbols", str(len(NAMES))]
    market += ["--history-minutes", str(10 + int(AWAY_SECONDS / 60))]
    market += ["--history-megabytes", str(128 + int(RATE * AWAY_SECONDS / 2000))]
    with simulator("--rate", str(RATE), *market, "--slot-seconds=0.2") as process:
        yield process


@asynccontextmanager
async def filled_app(alpaca: SimulatorProcess, **settings: Any) -> AsyncIterator[App]:
    async with running_app(alpaca.streams, data_api_url=alpaca.control, **settings) as app:
        yield app


async def cut(alpaca: SimulatorProcess, app: App, seconds: float) -> None:
    """Take upstream away for so long."""
    handler = app.handlers["iex"]
    await alpaca.fault("refuse_upgrade", feed="iex", code=503, times=100_000)
    await alpaca.fault("drop", feed="iex")
    await eventually(lambda: handler.gaps.current is not None, 10, "noticed")
    until = time.monotonic() + seconds
    await eventually(lambda: time.monotonic() > until, seconds + 30, "away for long enough")
    await asyncio.to_thread(httpx.delete, alpaca.control + "/faults", trust_env=False)
    await eventually(lambda: handler.gaps.current is None, 30, "back")


def instant(message: dict[str, Any]) -> int:
    value = message["t"]
    return timestamp_ns(value) if isinstance(value, Ext) else parse_rfc3339(value)


def keys(messages: list[dict[str, Any]], kind: str, channel: str) -> Counter[Any]:
    return Counter(key_of(channel, m["S"], m, instant(m)) for m in messages if m["T"] == kind)


async def truth(
    alpaca: SimulatorProcess, channel: str, symbols: list[str], from_ns: int, to_ns: int
) -> Counter[Any]:
    """What really happened, by the simulator's memory of its market."""
    rest = MarketDataRest(
        alpaca.control,
        Credentials("PKTESTKEY", "a-secret-of-the-account"),
        FEEDS["iex"],
        budget=RequestBudget(60_000),
        random=Random(1),
    )
    found = Counter[Any]()
    ask = rest.trades if channel == "trades" else rest.bars
    async for page in ask(symbols, from_ns, to_ns):
        found.update(key_of(channel, symbol, item, instant(item)) for symbol, item in page.items)
    await rest.close()
    return found


def last_gap(client: Follower) -> dict[str, Any]:
    return client.own("gap")[-1]


async def check_certificate(app: App, symbols: list[str]) -> None:
    """It is complete for what was filled, and says what isn't."""
    async with httpx.AsyncClient(base_url=app.http_address, trust_env=False) as http:
        question = {"symbols": ",".join(symbols), "channels": "trades,bars"}
        answer = (await http.get("/v1/continuity", params=question)).json()
        assert [row["why"] for row in answer["missing"]] == ["nobody had asked for it here"] * len(
            answer["missing"]
        )
        answer = (await http.get("/v1/continuity", params={"symbols": NAMES[0]})).json()
        assert not answer["complete"]
        (lost,) = [row for row in answer["missing"] if row["gap"]]
        assert (lost["channels"], lost["symbols"]) == (["quotes"], NAMES[:1])
        assert "quotes are not asked for" in lost["why"]


def check_alike(recorders: list[Recorder]) -> None:
    """Who asked for the same got the same, from the gap on, each message once."""
    last = None
    for one in recorders:
        items, gaps = one.items()
        assert len(gaps) == 3
        since = items[gaps[0] :]
        assert len(set(since)) == len(since)
        if last is not None:
            both = min(len(since), len(last))
            assert both > RATE and since[:both] == last[:both]
        last = since


@pytest.mark.timeout(600 + int(4 * AWAY_SECONDS))
async def test_what_was_missed_comes_afterwards(alpaca: SimulatorProcess) -> None:
    """All trades and bars, each once, marked; and everybody hears of the gap, its end, its fill."""
    patience = 300 + AWAY_SECONDS  # all its consumers are in the proxy's process
    async with filled_app(alpaca, back_fill_seconds=patience) as app, AsyncExitStack() as stack:
        url = f"{app.addresses()[0]}/v2/iex"
        clients = [
            await stack.enter_async_context(follower(url, ("json", "msgpack")[n % 2]))
            for n in range(min(CONSUMERS, FOLLOWERS))
        ]
        recorders = [
            await stack.enter_async_context(recorder(url, ("json", "msgpack")[n % 2], COMPLETE))
            for n in range(CONSUMERS - len(clients))
        ]
        for number, client in enumerate(clients):
            await client.subscribe(**(NAMED if number % 3 else COMPLETE))
        plain = await stack.enter_async_context(consumer(url, keep=True))
        await plain.subscribe(trades=NAMES, bars=NAMES)
        await eventually(lambda: all(c.heard > RATE / 2 for c in clients), 60, "it flows")
        await cut(alpaca, app, AWAY_SECONDS)
        await eventually(
            lambda: all(last_gap(c)["filling"] != "not filled" for c in clients),
            60 + AWAY_SECONDS,
            "filled",
        )
        more = [client.heard + RATE // 2 for client in clients]
        await eventually(
            lambda: all(c.heard > n for c, n in zip(clients, more, strict=True)), 60, "more"
        )
        await check_certificate(app, sorted(clients[0].symbols))
    # Not before: the proxy is in this process, and to look through millions takes a while.
    check_gaps(clients)
    from_ns, to_ns = await check_trades(alpaca, clients)
    for codec in (0, 1):
        check_alike(recorders[codec::2])
    await check_bars(alpaca, clients[0], plain, from_ns, to_ns)


def check_gaps(clients: list[Follower]) -> None:
    """Opened, closed, filled; and quotes aren't asked for, which is said to who takes them."""
    for number, client in enumerate(clients):
        opened, closed, filled = client.own("gap")
        assert (opened["to"], closed["filling"]) == (None, "not filled")
        assert filled["filling"] == "partly filled"
        assert filled["filled"] is (number % 3 == 0)
        assert "quotes are not asked for" in filled["trouble"]
        # They come with trades, and nobody can say whether there were any.
        assert filled["unknown"] == ["corrections", "cancelErrors"]


async def check_trades(alpaca: SimulatorProcess, clients: list[Follower]) -> tuple[int, int]:
    """All of an interval that everybody has been there for, which is returned, each once."""
    trades = [[m for m in client.data if m["T"] == "t"] for client in clients]
    # Since when each was there, live: what happened shortly before may be asked for, too. And to a
    # moment before the end that all have reached.
    from_ns = max(min(instant(m) for m in one if not m.get("backfilled")) for one in trades)
    to_ns = sorted(map(instant, trades[0]))[-RATE // 10]
    expected = await truth(alpaca, "trades", sorted(clients[0].symbols), from_ns, to_ns)
    marked = [instant(message) for message in trades[0] if message.get("backfilled")]
    assert marked and marked == sorted(marked)
    for one in trades:
        assert max(keys(one, "t", "trades").values()) == 1
        in_time = [message for message in one if from_ns <= instant(message) <= to_ns]
        assert keys(in_time, "t", "trades") == expected
    print(f"{len(marked)} trades back-filled, of {len(trades[0])}")
    return from_ns, to_ns


async def check_bars(
    alpaca: SimulatorProcess, client: Follower, plain: Any, from_ns: int, to_ns: int
) -> None:
    """Each once, and who asks for nothing new has them all the same, unmarked, and no trades."""
    data = client.data
    bars = keys(data, "b", "bars")
    assert not bars or max(bars.values()) == 1
    late = [message for message in data if message["T"] == "b" and message.get("backfilled")]
    heard = plain.decoded()
    assert Counter(key_of("bars", m["S"], m, instant(m)) for m in heard if m["T"] == "b") == bars
    assert not any("backfilled" in message for message in heard)
    assert len(heard) < len(data)
    print(f"{len(late)} bars back-filled, of {bars.total()}")
    if AWAY_SECONDS > 60:
        minutes = {instant(message) for message in data if message["T"] == "b"}
        asked = await truth(alpaca, "bars", sorted(client.symbols), min(minutes), max(minutes))
        assert bars == asked and late
        assert min(minutes) - from_ns < 60e9 and to_ns - max(minutes) < 120e9
