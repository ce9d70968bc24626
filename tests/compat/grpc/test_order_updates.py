"""Order updates over gRPC, away and back: nothing lost, nothing twice, and every place that counts."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.grpc_calls import GrpcClient, Refusal, StreamingCall, grpc_client
from harness.order_ledger import addresses, buy, happened, settled
from harness.proxies import running_app
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually
from stream_proxy.app import App
from stream_proxy.model.time import parse_rfc3339
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb

AWAY = 12
"""How often a consumer goes away and comes back."""


@pytest.fixture(scope="module")
def alpaca() -> Iterator[SimulatorProcess]:
    with simulator("--slot-seconds", "0") as running:
        yield running


@pytest.fixture
def key(tmp_path: Path) -> str:
    """An account that nobody else has used."""
    return f"PK{tmp_path.name}"


@contextlib.asynccontextmanager
async def proxied(
    alpaca: SimulatorProcess, key: str, state_dir: Path
) -> AsyncIterator[tuple[App, GrpcClient]]:
    settings = addresses(alpaca) | {"key": key, "orders": "on", "state_dir": state_dir}
    async with running_app(alpaca.streams, **settings) as app:
        await eventually(lambda: app.desk.feeds["paper"].ready, 15, "ready")
        async with grpc_client(app.grpc_address) as client:
            yield app, client


def updates(client: GrpcClient, **request: Any) -> StreamingCall:
    return client.stream("StreamOrderUpdates", **request)


def ids(responses: list[Any]) -> list[str]:
    return [response.update.event_id for response in responses]


def ledger_ids(alpaca: SimulatorProcess, key: str) -> list[str]:
    return [event["event_id"] for event in happened(alpaca, key)]


@pytest.mark.parametrize("way", ["from_sequence", "since", "cursor"])
async def test_a_consumer_that_comes_and_goes(
    alpaca: SimulatorProcess, key: str, tmp_path: Path, way: str
) -> None:
    """While orders are placed all the time; the proxy, too, is started anew in the middle."""
    seen: list[Any] = []

    def place() -> dict[str, Any]:
        if way == "cursor":
            return {"cursor": "engine"}
        if not seen:
            return {"since": "oldest"}
        if way == "since":
            return {"since": seen[-1].update.event_id}
        return {"from_sequence": seen[-1].sequence + 1, "epoch": seen[-1].epoch}

    async def come_and_go(client: GrpcClient, times: int) -> None:
        for turn in range(times):
            async with updates(client, **place()) as call:
                most = 1 + turn % 5
                await call.until(lambda c=call, n=most: len(c.items) >= n)  # type: ignore[misc]
                taken = call.items[:most]
                seen.extend(taken)
                if way == "cursor":
                    done = {"cursor": "engine", "sequence": taken[-1].sequence}
                    answer = await client.ask("AcknowledgeOrderUpdates", **done)
                    assert answer.sequence == taken[-1].sequence

    async with proxied(alpaca, key, tmp_path) as (_, client):
        if way == "cursor":  # A new cursor begins where it is put, before the first order.
            async with updates(client, cursor="engine", notices=True) as call:
                await call.until(lambda: call.notices)
        await alpaca.order("/trading/chatter", account=key, rate=40)
        await come_and_go(client, AWAY)
    async with proxied(alpaca, key, tmp_path) as (app, client):
        await come_and_go(client, AWAY)
        await alpaca.order("/trading/chatter", account=key, rate=0)
        last = len(ledger_ids(alpaca, key))
        async with updates(client, **place()) as call:
            await call.until(lambda: len(seen) + len(call.items) >= last, "the rest")
            seen.extend(call.items)
        await eventually(lambda: not app.grpc.outlet.calls, 10, "everybody has left")
    assert ids(seen[:last]) == ledger_ids(alpaca, key)[:last]
    assert [response.sequence for response in seen] == list(range(1, len(seen) + 1))
    assert {(response.account, response.source) for response in seen} == {("paper", "paper")}


async def test_the_record_tells_what_the_stream_told(
    alpaca: SimulatorProcess, key: str, tmp_path: Path
) -> None:
    """To the last field."""
    async with proxied(alpaca, key, tmp_path) as (_, client), updates(client) as live:
        await live.begun()
        await buy(
            alpaca,
            key,
            type="limit",
            limit_price="1.00",
            order_class="oto",
            take_profit={"limit_price": "2.00"},
        )
        await buy(alpaca, key)
        await live.until(lambda: len(live.items) >= 5)
        async with updates(client, since="oldest") as replayed:
            await replayed.until(lambda: len(replayed.items) >= len(live.items))
            assert replayed.items == live.items
    assert [item.update.event_name for item in live.items] == [
        event["event"] for event in happened(alpaca, key)
    ]
    assert {item.update.event for item in live.items} == {
        pb.ORDER_EVENT_PENDING_NEW,
        pb.ORDER_EVENT_NEW,
        pb.ORDER_EVENT_FILL,
    }


async def test_places_in_the_record(alpaca: SimulatorProcess, key: str, tmp_path: Path) -> None:
    async with proxied(alpaca, key, tmp_path) as (app, client):
        await buy(alpaca, key)
        await settled(alpaca, 1, key)
        await buy(alpaca, key, symbol="MSFT")
        known = await settled(alpaca, 2, key)
        feed = app.desk.feeds["paper"]
        await eventually(lambda: feed.last_sequence == len(known), 10, "journalled")
        epoch, times = feed.state.epoch, [event["at"] for event in happened(alpaca, key)]
        for request, begins in (
            ({"since": "oldest"}, 0),
            ({"since": "now"}, len(known)),
            ({}, len(known)),
            ({"from_sequence": 3}, 2),
            ({"from_sequence": 3, "epoch": epoch}, 2),
            ({"since": "3"}, 3),
            ({"since": f"{epoch}:3"}, 3),
            ({"since": known[1]}, 2),
            ({"since": times[0]}, 0),
        ):
            async with updates(client, notices=True, **request) as call:
                expected = known[begins:]
                await call.until(lambda c=call, n=len(expected): len(c.items) == n and c.notices)  # type: ignore[misc]
                assert ids(call.items) == expected, request
                (position,) = call.notices
                assert position.kind == pb.NOTICE_KIND_POSITION
                assert (position.epoch, position.sequence) == (epoch, begins), request
                assert (await call.begun())["epoch"] == epoch
                assert call.responses[0].HasField("notice"), "told before the first update"

        async with updates(client, since="oldest", symbols=["MSFT"]) as call:
            await call.until(lambda: len(call.items) == 3)
            order = call.items[0].update.order
            assert {item.update.order.symbol for item in call.items} == {"MSFT"}
        async with updates(client, since="oldest", order_ids=[order.id]) as call:
            await call.until(lambda: len(call.items) == 3)
            assert {item.update.order.id for item in call.items} == {order.id}


async def test_places_that_cannot_be(alpaca: SimulatorProcess, key: str, tmp_path: Path) -> None:
    """The end says what is kept, and what to ask for instead."""
    async with proxied(alpaca, key, tmp_path) as (app, client):
        await buy(alpaca, key)
        count = len(await settled(alpaca, 1, key))
        feed = app.desk.feeds["paper"]
        await eventually(lambda: feed.last_sequence == count, 10, "journalled")
        for request in (
            {"from_sequence": count + 2},
            {"since": "7000"},
            {"since": "0123456789ab:1"},
            {"since": "01ARZ3NDEKTSV4RRFFQ69G5FAV"},
            {"since": "2020-01-01T00:00:00Z"},
            {"since": "oldest", "epoch": "another"},
            {"from_sequence": 1, "epoch": "another"},
        ):
            async with updates(client, **request) as call:
                end = await call.refused()
            assert (end.code, end.reason) == ("OUT_OF_RANGE", "POSITION_LOST"), request
            assert f"Kept are 1 to {count} of epoch {feed.state.epoch}" in end.text
            assert "since=oldest" in end.more["cure"]

        for nonsense in ("yesterday", "-1", "1.5", "0123456789ab:x"):
            async with updates(client, since=nonsense) as call:
                end = await call.refused()
            assert (end.code, end.reason) == ("INVALID_ARGUMENT", "NO_POSITION"), nonsense
            assert f"since={nonsense}" in end.text

        def acknowledge(**fields: Any) -> Any:
            return client.ask("AcknowledgeOrderUpdates", **fields)

        end = await acknowledge(sequence=1)
        assert isinstance(end, Refusal) and end.code == "INVALID_ARGUMENT"
        for fields in ({"sequence": count + 1}, {"sequence": 1, "epoch": "another"}):
            end = await acknowledge(cursor="mine", **fields)
            assert isinstance(end, Refusal) and end.code == "OUT_OF_RANGE", fields
        end = await acknowledge(cursor="mine", account="live", sequence=1)
        assert isinstance(end, Refusal) and end.code == "FAILED_PRECONDITION"
        assert (await acknowledge(cursor="mine", sequence=2)).sequence == 2
        assert (await acknowledge(cursor="mine", sequence=1)).sequence == 2, "it never goes back"


async def test_fills_that_the_stream_never_told(
    alpaca: SimulatorProcess, key: str, tmp_path: Path
) -> None:
    """What happens while the account's stream is away comes too, and says so."""
    async with proxied(alpaca, key, tmp_path) as (_, client), updates(client) as call:
        await call.begun()
        await buy(alpaca, key)
        await settled(alpaca, 1, key)
        await buy(alpaca, key, type="limit", limit_price="1.00")
        await call.until(lambda: len(call.items) == 5, "two orders")
        await alpaca.fault("fill_in_gap", account=key)
        await call.until(lambda: len(call.items) == 6, "the fill that nobody told")
        assert ids(call.items) == ledger_ids(alpaca, key)
        assert [item.back_filled for item in call.items] == [False] * 5 + [True]
        fill = call.items[-1].update
        assert (fill.event, fill.event_name) == (pb.ORDER_EVENT_FILL, "fill")
        event = happened(alpaca, key)[-1]
        assert fill.timestamp.ToNanoseconds() == parse_rfc3339(event["at"])
        await buy(alpaca, key)
        await call.until(lambda: len(call.items) == 9, "and on it goes")
        assert ids(call.items) == ledger_ids(alpaca, key)
