"""Clients that ask for continuity: nothing is missing, nothing twice, and what is missing is told."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from msgspec.msgpack import Ext

from harness.consumers import consumer
from harness.follower import follower
from harness.proxies import running_app
from harness.recorder import recorder
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually
from stream_proxy.feed.upstream_status import UpstreamState
from stream_proxy.model.time import parse_rfc3339, timestamp_ns

EVERYTHING: dict[str, list[str]] = {"trades": ["*"], "quotes": ["*"]}
SOME: dict[str, list[str]] = {"trades": ["AAPL", "MSFT"], "quotes": ["AAPL"], "bars": ["*"]}


@pytest.fixture(scope="module")
def alpaca() -> Iterator[SimulatorProcess]:
    with simulator("--rate", "3000", "--symbols", "40") as process:
        yield process


def instant(message: dict[str, Any]) -> int:
    value = message["t"]
    return timestamp_ns(value) if isinstance(value, Ext) else parse_rfc3339(value)


def from_first_of(part: list[Any], whole: list[Any]) -> list[Any]:
    """What ``whole`` has from the first of ``part`` on, as much of it."""
    first = whole.index(part[0])
    return whole[first : first + len(part)]


@pytest.mark.parametrize("codec", ["json", "msgpack"])
@pytest.mark.parametrize("topics", [EVERYTHING, SOME], ids=["everything", "some"])
async def test_who_was_away_gets_exactly_the_rest(
    alpaca: SimulatorProcess, codec: str, topics: dict[str, list[str]]
) -> None:
    """Twice away in the middle of the stream: what it has is what one has who stayed."""
    async with running_app(alpaca.streams) as app:
        url = f"{app.addresses()[0]}/v2/iex"
        async with follower(url, codec) as stayed:
            await stayed.subscribe(**topics)
            had: list[dict[str, Any]] = []
            query = "continuity=1"
            for visit in range(3):
                before = len(stayed.data)
                async with follower(url, codec, query) as came:
                    await came.subscribe(**topics)
                    await eventually(lambda: bool(came.data) and came.position != "", 10)
                    much = len(came.data) + 200
                    await eventually(lambda n=much, c=came: len(c.data) > n, 15, "more")
                query = f"resume={came.position}"
                had += came.settled()
                await eventually(lambda n=before: len(stayed.data) > n + 600, 20, "time passes")
                assert came.own("position")[0].get("resumed", False) is (visit > 0)
            assert had == from_first_of(had, stayed.data)
            assert not stayed.own("gap")


async def test_a_plain_client_sees_nothing_new(alpaca: SimulatorProcess) -> None:
    """Beside one that is told, and over an interruption."""
    async with running_app(alpaca.streams) as app:
        url = f"{app.addresses()[0]}/v2/iex"
        async with consumer(url) as plain, follower(url) as told:
            await plain.subscribe(**EVERYTHING)
            await told.subscribe(**EVERYTHING)
            await eventually(lambda: plain.messages > 100 and len(told.data) > 100, 10)
            await alpaca.fault("drop", feed="iex")
            await eventually(lambda: len(told.own("gap")) >= 2, 15, "told")
            before = plain.messages
            await eventually(lambda: plain.messages > before + 100, 15, "data again")
            assert {kind for kind, _ in plain.counts} <= {"t", "q", "c", "x"}
            assert {c["T"] for c in plain.controls} == {"success", "subscription"}


async def test_a_gap_is_told_before_what_follows_it(alpaca: SimulatorProcess) -> None:
    async with running_app(alpaca.streams) as app:
        url = f"{app.addresses()[0]}/v2/iex"
        async with follower(url) as all_of_it, follower(url) as one, follower(url) as other:
            await all_of_it.subscribe(**EVERYTHING)
            await one.subscribe(quotes=["AAPL"])
            await other.subscribe(bars=["AAPL"])
            await eventually(lambda: len(all_of_it.data) > 500 and len(one.data) > 5, 10)
            await alpaca.fault("drop", feed="iex")
            state = app.handlers["iex"].upstream
            await eventually(lambda: state.interruptions > 0, 10, "noticed")
            before = len(all_of_it.data)
            await eventually(lambda: len(all_of_it.data) > before + 500, 15, "data again")
            opened, closed = all_of_it.own("gap")[:2]
            assert opened["id"] == closed["id"] and opened["to"] is None
            assert closed["to"] is not None and closed["from"] == opened["from"]
            assert opened["symbols"] == ["*"] and not opened["filled"]
            # Nothing came between the opening and the end of the gap but what came in it.
            place = all_of_it.told.index(opened)
            epoch_and_sequence = all_of_it.told[place - 1]
            assert epoch_and_sequence["T"] == "position"
            assert one.own("gap")[0]["channels"] == ["quotes"]
            assert other.own("gap")[0]["channels"] == ["bars"]


@pytest.mark.parametrize(
    ("position", "why"),
    [
        ("nonsense", "isn't <epoch>:<sequence>"),
        ("feedc0ffee00:12", "another epoch"),
        ("{epoch}:999999999", "in the future"),
        ("{epoch}:1", "are kept from"),
    ],
)
async def test_a_position_that_cannot_be_honoured(
    alpaca: SimulatorProcess, position: str, why: str
) -> None:
    """It is told why, what may be missing, and the last values."""
    async with running_app(alpaca.streams, ring_bytes=200_000) as app:
        url = f"{app.addresses()[0]}/v2/iex"
        async with follower(url) as first:
            await first.subscribe(**EVERYTHING)
            handler = app.handlers["iex"]
            await eventually(lambda: handler.ring.first > 2, 20, "the first are forgotten")
            query = f"resume={position.format(epoch=handler.epoch)}"
            async with follower(url, query=query) as late:
                await late.subscribe(quotes=["AAPL"])
                await eventually(lambda: len(late.data) > 0, 15, "a last value")
                begins, gap = late.told[0], late.told[1]
                assert (begins["T"], begins["resumed"]) == ("position", False)
                assert why in begins["why"]
                assert (gap["T"], gap["filled"], gap["symbols"]) == ("gap", False, ["*"])
                assert late.told[2]["T"] == "q"


async def test_an_open_gap_is_told_to_who_comes_into_it(alpaca: SimulatorProcess) -> None:
    async with running_app(alpaca.streams, consumer_acknowledgement_seconds=0.3) as app:
        url = f"{app.addresses()[0]}/v2/iex"
        async with follower(url) as first:
            await first.subscribe(**EVERYTHING)
            await alpaca.fault("refuse_upgrade", feed="iex", code=503, times=1000)
            await alpaca.fault("drop", feed="iex")
            handler = app.handlers["iex"]
            await eventually(lambda: handler.upstream.state is UpstreamState.RECONNECTING, 10)
            async with follower(url) as late:
                await late.subscribe(bars=["AAPL"])
                await eventually(lambda: bool(late.own("gap")), 10, "told")
                assert late.own("gap")[0]["to"] is None
                httpx.delete(alpaca.control + "/faults", trust_env=False).raise_for_status()
                await eventually(lambda: late.own("gap")[-1]["to"] is not None, 20, "over")


@pytest.mark.timeout(300)
async def test_away_for_long_at_full_speed() -> None:
    """Complete, in order, and caught up at once: ``AWAY_SECONDS`` and ``AWAY_RATE`` set how long."""
    seconds = float(os.environ.get("AWAY_SECONDS", "3"))
    rate = int(os.environ.get("AWAY_RATE", "5000"))
    with simulator("--rate", str(rate), "--symbols", "100", "--history-minutes", "0") as busy:
        async with running_app(busy.streams, feeds=["iex"]) as app:
            url = f"{app.addresses()[0]}/v2/iex"
            handler = app.handlers["iex"]
            # Somebody else keeps the feed going.
            async with recorder(url, "msgpack", EVERYTHING) as steady:
                async with follower(url, "msgpack") as first:
                    await first.subscribe(**EVERYTHING)
                    await eventually(lambda: len(first.data) > rate / 2, 30)
                until = time.monotonic() + seconds
                await eventually(lambda: time.monotonic() > until, seconds + 30)
                began, query = time.monotonic(), f"resume={first.position}"
                async with recorder(url, "msgpack", EVERYTHING, query) as again:
                    async with asyncio.timeout(60):
                        await again.live.wait()
                    took = time.monotonic() - began
                    until = time.monotonic() + 1
                    await eventually(lambda: time.monotonic() > until)
                    # What is behind the last position isn't numbered yet.
                    last = again.own("position")[-1]
                    settled = last["sequence"] - int(first.position.rpartition(":")[2])
                    found = again.items()[0][:settled]
                    # Each message of the feed was wanted, so their number says that none is missing.
                    assert len(found) == settled > seconds * rate / 2
                    expected = steady.items()[0]
                    start = expected.index(found[0])
                    assert found == expected[start : start + len(found)]
                    print(f"away {seconds:g} s at {rate}/s: caught up in {took:.2f} s")
                    until_position = f"{last['epoch']}:{last['sequence']}"
                    question = {"from": first.position, "to": until_position}
                    async with httpx.AsyncClient(
                        base_url=app.http_address, trust_env=False
                    ) as http:
                        answer = (await http.get("/v1/continuity", params=question)).json()
                    assert answer["complete"] and not answer["back_filled"]
            assert handler.gaps.count == 0


async def test_what_nobody_held_meanwhile_is_told(alpaca: SimulatorProcess) -> None:
    """The only one who wanted a topic was away for longer than it lingers upstream."""
    async with running_app(alpaca.streams, linger_seconds=0.05) as app:
        url = f"{app.addresses()[0]}/v2/iex"
        async with follower(url) as steady, follower(url) as first:
            await steady.subscribe(quotes=["MSFT"])
            await first.subscribe(trades=["AAPL"], quotes=["MSFT"])
            await eventually(lambda: len(first.data) > 5, 20)
            position = first.position
            await first.leave()
            handler = app.handlers["iex"]
            await eventually(lambda: not handler.demand.confirmed().symbols("trades"), 10)
            before = len(steady.data)
            await eventually(lambda: len(steady.data) > before + 5, 20)
            async with follower(url, query=f"resume={position}") as again:
                await again.subscribe(trades=["AAPL"], quotes=["MSFT"])
                await eventually(lambda: again.own("gap"), 10, "told")
                (gap,) = again.own("gap")
                assert (gap["id"], gap["symbols"], gap["filled"]) == (0, ["AAPL"], False)
                assert "nobody had asked" in gap["why"] and gap["from"] < gap["to"]


async def test_what_was_held_all_the_time_is_not_told(alpaca: SimulatorProcess) -> None:
    """Also when the position was told before anything came."""
    async with running_app(alpaca.streams, linger_seconds=30) as app:
        url = f"{app.addresses()[0]}/v2/iex"
        async with follower(url) as steady:
            await steady.subscribe(quotes=["MSFT"])
            await eventually(lambda: len(steady.data) > 5, 20)
            query = "continuity=1"
            for _ in range(4):
                async with follower(url, query=query) as client:
                    await client.subscribe(trades=["AAPL"], quotes=["MSFT"])
                    await eventually(lambda c=client: bool(c.own("position")), 10)
                    query = f"resume={client.position}"
                    assert not client.own("gap")
