"""The simulator's market-data REST as Alpaca documents it: paths, parameters, refusals, limits."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import connect

from harness.waiting import eventually
from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.time import NS_PER_SECOND, rfc3339

from .trading_bench import Bench, Reply, bench

OPTIONS = {"history_minutes": 5.0, "rate": 2000.0, "symbols": 4, "past_minutes": 3.0}
AGES_AGO = "start=2020-01-01"


@pytest.fixture
async def alpaca() -> AsyncIterator[Bench]:
    async with bench(**OPTIONS) as made:
        yield made


async def get(alpaca: Bench, path: str, **wishes: Any) -> Any:
    reply: Reply = await alpaca.call("GET", path, **wishes)
    assert reply.status == 200, reply.body
    return reply.body


async def still(alpaca: Bench, feed: str) -> None:
    """Let a market live for a while, then stand still, so that answers can be compared."""
    endpoint = alpaca.simulator.endpoint(FEEDS[feed])
    endpoint.begin()
    had = endpoint.generated
    await eventually(lambda: endpoint.generated > had + 500)
    await alpaca.call("POST", "/hold")


async def test_one_symbol_in_the_path(alpaca: Bench) -> None:
    """It says the same as among others, in the shape for one."""
    await still(alpaca, "iex")
    for channel in ("trades", "quotes", "bars"):
        asked = f"{AGES_AGO}&feed=iex&limit=10000&timeframe=1Min"
        many = await get(alpaca, f"/v2/stocks/{channel}?symbols=AAPL,MSFT&{asked}")
        one = await get(alpaca, f"/v2/stocks/AAPL/{channel}?{asked}")
        assert one == {
            channel: many[channel]["AAPL"],
            "symbol": "AAPL",
            "next_page_token": None,
        }
        assert one[channel]
        latest = await get(alpaca, f"/v2/stocks/AAPL/{channel}/latest?feed=iex")
        assert latest == {"symbol": "AAPL", channel[:-1]: one[channel][-1]}
    snapshot = await get(alpaca, "/v2/stocks/AAPL/snapshot?feed=iex")
    snapshots = await get(alpaca, "/v2/stocks/snapshots?symbols=AAPL,NOSUCH&feed=iex")
    assert snapshots == {"AAPL": {k: v for k, v in snapshot.items() if k != "symbol"}}
    assert set(snapshots["AAPL"]) == {"latestTrade", "latestQuote", "minuteBar", "dailyBar"}
    empty = await get(alpaca, f"/v2/stocks/NOSUCH/trades?{AGES_AGO}&feed=iex")
    assert empty == {"trades": None, "symbol": "NOSUCH", "next_page_token": None}
    missing = await alpaca.call("GET", "/v2/stocks/NOSUCH/trades/latest?feed=iex")
    assert (missing.status, missing.body) == (404, {"message": "no trade found for NOSUCH"})


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("feed=iex", "symbols is required"),
        ("symbols=A_B", "invalid symbol: A_B"),
        ("symbols=AAPL&limit=0", "invalid limit: 0 (1 to 10000)"),
        ("symbols=AAPL&limit=10001", "invalid limit: 10001 (1 to 10000)"),
        ("symbols=AAPL&start=yesterday", "invalid start: yesterday"),
        ("symbols=AAPL&start=2026-01-02&end=2026-01-01", "end should not be before start"),
        ("symbols=AAPL&sort=down", "invalid sort: down"),
        ("symbols=AAPL&feed=delayed_sip", "invalid feed: delayed_sip"),
        ("symbols=AAPL&page_token=AAPL", "invalid page_token"),
        ("symbols=AAPL&page_token=TVNGVHwyMDI2LTAxLTAxVDAwOjAwOjAwWnwx", "invalid page_token"),
    ],
)
async def test_a_question_that_cant_be_meant(alpaca: Bench, query: str, message: str) -> None:
    reply = await alpaca.call("GET", f"/v2/stocks/trades?{query}")
    assert (reply.status, reply.body) == (400, {"message": message})


@pytest.mark.parametrize(
    ("timeframe", "accepted"),
    [
        *(("1Min", True), ("59T", True), ("4Hour", True), ("1D", True)),
        *(("60Min", False), ("24H", False), ("2Day", False), ("0Min", False), ("", False)),
    ],
)
async def test_timeframes(alpaca: Bench, timeframe: str, accepted: bool) -> None:
    path = f"/v2/stocks/bars?symbols=AAPL&feed=iex&{AGES_AGO}&timeframe={timeframe}"
    reply = await alpaca.call("GET", path)
    assert reply.status == (200 if accepted else 400)


async def test_who_asks_and_how_often() -> None:
    async with bench(**OPTIONS, accounts={"PK1": "S"}, data_rate_limit=2) as alpaca:
        path = "/v2/stocks/trades?symbols=AAPL"
        for key, secret in ((None, ""), ("PK1", "wrong"), ("PK2", "S")):
            reply = await alpaca.call("GET", path, key=key, secret=secret)
            assert (reply.status, reply.body) == (403, {"message": "forbidden."})
        left = [(await alpaca.call("GET", path)).headers["x-ratelimit-remaining"] for _ in "ab"]
        refused = await alpaca.call("GET", path)
        if left == ["1", "0"]:  # else a new minute began meanwhile
            assert (refused.status, refused.body) == (429, {"message": "too many requests."})
            assert 1 <= int(refused.headers["retry-after"]) <= 60
            assert refused.headers["x-ratelimit-limit"] == "2"
        calls = await get(alpaca, "/market-data/calls")
        assert sum(calls.values()) == 6 and calls["/v2/stocks/trades 403"] == 3


async def test_a_plan_without_the_consolidated_tape() -> None:
    """Its REST is 15 minutes behind, and without a feed it is asked for IEX."""
    async with bench(**OPTIONS, denied_feeds=frozenset({"sip"})) as alpaca:
        now = rfc3339(alpaca.simulator.clock.now_ns() - 5 * NS_PER_SECOND)
        asked = f"/v2/stocks/trades?symbols=AAPL&{AGES_AGO}"
        refused = await alpaca.call("GET", f"{asked}&feed=sip&end={now}")
        assert (refused.status, refused.body) == (
            403,
            {"message": "subscription does not permit querying recent SIP data"},
        )
        latest = await alpaca.call("GET", "/v2/stocks/trades/latest?symbols=AAPL&feed=sip")
        assert latest.status == 403
        old = f"{asked}&feed=sip&end=2026-01-01"
        assert (await get(alpaca, old))["trades"] == {}
        assert (await get(alpaca, f"{asked}&feed=sip"))["trades"] == {}
        assert (await get(alpaca, asked))["trades"]
        assert "iex" in alpaca.simulator.endpoints


async def test_what_a_mute_stream_withheld_is_there(alpaca: Bench) -> None:
    """The truth is what the market did, not what anybody heard; and it goes on without anybody."""
    async with connect(alpaca.streams + "/v2/iex", proxy=None, close_timeout=0.1) as socket:
        await socket.send(json.dumps({"action": "auth", "key": "k", "secret": "s"}))
        await socket.send(json.dumps({"action": "subscribe", "trades": ["AAPL"]}))
        (record,) = await _records(alpaca)
        await eventually(lambda: record.messages > 20)
        await alpaca.fault("mute", feed="iex", seconds=60)
        heard = record.messages
        await eventually(lambda: record.withheld > 20)
    endpoint = alpaca.simulator.endpoints["iex"]
    left = endpoint.generated
    await eventually(lambda: endpoint.generated > left + 500)
    path = f"/v2/stocks/AAPL/trades?feed=iex&limit=10000&{AGES_AGO}"
    ids = sorted(trade["i"] for trade in (await get(alpaca, path))["trades"])
    assert len(ids) == len(set(ids)) > heard + record.withheld
    # Corrections take some ids, too.
    assert len(ids) > 0.97 * (ids[-1] - ids[0])


async def _records(alpaca: Bench) -> list[Any]:
    await eventually(lambda: alpaca.simulator.ledger.connections)
    return alpaca.simulator.ledger.connections


async def test_it_can_be_turned_off() -> None:
    async with bench(**OPTIONS | {"history_minutes": 0.0}) as alpaca:
        reply = await alpaca.call("GET", "/v2/stocks/trades?symbols=AAPL&feed=iex")
        assert (reply.status, "--history-minutes" in reply.body["message"]) == (501, True)
        assert not alpaca.simulator.endpoints["iex"].watched


async def test_as_fast_as_readers_take_it_nothing_is_kept() -> None:
    async with bench(**OPTIONS | {"rate": 0.0}) as alpaca:
        path = f"/v2/stocks/trades?symbols=AAPL&feed=iex&{AGES_AGO}"
        assert (await get(alpaca, path))["trades"] == {}
        assert not alpaca.simulator.endpoints["iex"].watched
