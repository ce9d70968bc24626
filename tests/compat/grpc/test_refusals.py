"""Why gRPC calls are refused or end: the right status, the cause and the cure, in time."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest

from harness.grpc_calls import GrpcClient, Refusal, grpc_client
from harness.order_ledger import addresses
from harness.proxies import running_app
from harness.simulated import SimulatorProcess, simulator
from stream_proxy.app import App
from stream_proxy.model.time import to_timestamp
from stream_proxy.wire.alpaca.codes import ERROR_CODES
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb

CONTRACTS = ("A261218C00100000", "AAPL261218C00200000")


@contextlib.asynccontextmanager
async def proxied(
    alpaca: SimulatorProcess, **settings: Any
) -> AsyncIterator[tuple[App, GrpcClient]]:
    async with (
        running_app(alpaca.streams, feed="iex", **settings) as app,
        grpc_client(app.grpc_address) as client,
    ):
        yield app, client


@pytest.fixture(scope="module")
def alpaca() -> Iterator[SimulatorProcess]:
    with simulator("--symbols", "5", "--symbol-limit", "3") as running:
        yield running


async def refused(client: GrpcClient, method: str, **request: Any) -> Refusal:
    async with client.stream(method, **request) as call:
        return await call.refused()


async def test_requests_that_cannot_be(alpaca: SimulatorProcess) -> None:
    more = addresses(alpaca) | {"feeds": ["iex", "indicative"], "orders": "on"}
    async with proxied(alpaca, **more) as (_, client):
        for symbol in ("aapl", "", "A B", "*.X", "X" * 31, "Ä"):
            end = await refused(client, "StreamQuotes", symbols=["AAPL", symbol])
            assert (end.code, end.reason) == ("INVALID_ARGUMENT", "INVALID_SYMBOL"), symbol
            assert end.more.get("symbol", "") == symbol and repr(symbol) in end.text

        end = await refused(client, "StreamOptionQuotes", symbols=["AAPL"])
        assert (end.code, end.more["symbol"]) == ("INVALID_ARGUMENT", "AAPL")
        assert "AAPL261218C00200000" in end.text, "says what a contract is called"
        end = await refused(client, "StreamOptionQuotes")
        assert (end.code, end.reason) == ("INVALID_ARGUMENT", "NO_WILDCARD")

        end = await refused(client, "StreamQuotes", feed="opra")
        assert (end.code, end.reason) == ("INVALID_ARGUMENT", "UNKNOWN_FEED")
        for method, request in (("StreamQuotes", {"feed": "sip"}), ("StreamCryptoQuotes", {})):
            end = await refused(client, method, **request)
            assert (end.code, end.reason) == ("FAILED_PRECONDITION", "FEED_NOT_CONFIGURED")
            assert "STREAM_PROXY_FEEDS" in end.more["cure"]

        end = await refused(client, "StreamOrderUpdates", account="nobody")
        assert (end.code, end.reason) == ("INVALID_ARGUMENT", "NO_ACCOUNT")
        assert "nobody" in end.text
        end = await refused(client, "StreamOrderUpdates", account="live")
        assert (end.code, end.reason) == ("FAILED_PRECONDITION", "ACCOUNT_NOT_CONFIGURED")
        assert "ALPACA_LIVE_API_KEY" in end.text
        end = await refused(client, "StreamOrderUpdates", since="oldest", from_sequence=1)
        assert (end.code, end.reason) == ("INVALID_ARGUMENT", "TWO_POSITIONS")


async def test_what_alpaca_refuses_is_told_to_who_asked(alpaca: SimulatorProcess) -> None:
    async with proxied(alpaca) as (_, client), client.stream("StreamTrades") as bystander:
        await bystander.begun()
        end = await refused(client, "StreamQuotes", symbols=["AAPL", "MSFT", "N0PE!"])
        assert (end.code, end.reason) == ("INVALID_ARGUMENT", "ALPACA_400")
        assert end.more["symbols"] == "N0PE!" and "N0PE!" in end.text

        end = await refused(client, "StreamQuotes", symbols=["AAPL", "MSFT", "AMZN", "TSLA"])
        assert (end.code, end.reason) == ("RESOURCE_EXHAUSTED", "ALPACA_405")
        assert end.more["cure"] == ERROR_CODES[405].cure
        assert ERROR_CODES[405].text in end.text

        async with client.stream("StreamQuotes", symbols=["AAPL"]) as call:
            await call.until(lambda: call.items, "room that the refused did not take")
        known = len(bystander.items)
        await bystander.until(lambda: len(bystander.items) > known, "more trades")


@pytest.mark.parametrize("code", [402, 409])
async def test_an_account_that_alpaca_refuses(alpaca: SimulatorProcess, code: int) -> None:
    """Before the call, and in the middle of it."""
    await alpaca.fault("refuse_auth", code=code)
    async with proxied(alpaca) as (_, client):
        end = await refused(client, "StreamQuotes", symbols=["AAPL"])
        assert (end.code, end.reason) == ("FAILED_PRECONDITION", f"ALPACA_{code}")
        assert end.more["cure"] == ERROR_CODES[code].cure
        assert await client.healthy("iex") == "NOT_SERVING"
    async with proxied(alpaca) as (app, client):
        async with client.stream("StreamQuotes", symbols=["AAPL"]) as call:
            await call.until(lambda: call.items)
            await alpaca.fault("refuse_auth", code=code)
            await alpaca.fault("drop", feed="iex")
            end = await call.refused()
        assert (end.code, end.reason) == ("FAILED_PRECONDITION", f"ALPACA_{code}")
        assert not app.grpc.outlet.calls


async def test_options_by_underlying(alpaca: SimulatorProcess) -> None:
    """``A`` is Agilent, and not the beginning of ``AAPL``."""
    async with proxied(alpaca, **addresses(alpaca)) as (_, client):
        end = await refused(client, "StreamOptionTrades", underlyings=["A"])
        assert (end.code, end.reason) == ("FAILED_PRECONDITION", "NO_CONTRACTS")
        async with client.stream("StreamOptionTrades", symbols=CONTRACTS) as both:
            await both.begun()
            async with client.stream("StreamOptionTrades", underlyings=["A"]) as agilent:
                await agilent.begun()
                trades = [
                    {
                        "T": "t", "S": contract, "t": to_timestamp(turn), "p": 1.5, "s": turn,
                        "x": "C", "c": "I",
                    }
                    for turn in range(1, 4)
                    for contract in CONTRACTS
                ]  # fmt: skip
                payload = msgspec.msgpack.encode(trades)
                await alpaca.order("/frames", feed="indicative", payload_hex=payload.hex())

                def sizes(call: Any, symbol: str) -> list[int]:
                    return [i.trade.size for i in call.items if i.trade.symbol == symbol]

                for contract in CONTRACTS:
                    await both.until(lambda name=contract: sizes(both, name) == [1, 2, 3])  # type: ignore[misc]
                await agilent.until(lambda: sizes(agilent, CONTRACTS[0]) == [1, 2, 3])
                assert {item.trade.symbol for item in agilent.items} == {CONTRACTS[0]}


async def test_all_contracts_of_an_underlying_that_rest_lists() -> None:
    with simulator("--rate", "500") as alpaca:
        listed = {name for name in alpaca.get("/symbols/indicative") if name.startswith("AAPL")}
        async with (
            proxied(alpaca, **addresses(alpaca)) as (app, client),
            client.stream("StreamOptionQuotes", underlyings=["AAPL"]) as call,
        ):
            await call.until(lambda: len(call.items) >= 20)
            (handler,) = app.handlers.values()
            assert set(handler.demand.wanted().symbols("quotes")) == listed
    assert len(listed) > 50
    assert {item.quote.symbol for item in call.items} <= listed


async def test_gaps_and_their_ends_are_told_to_who_asked() -> None:
    with simulator("--rate", "300", "--slot-seconds", "0") as alpaca:
        async with (
            proxied(alpaca) as (_, client),
            client.stream("StreamQuotes", symbols=["AAPL"], notices=True) as call,
            client.stream("StreamQuotes", symbols=["AAPL"]) as silent,
        ):
            await call.until(lambda: len(call.items) > 5)
            await alpaca.fault("drop", feed="iex")
            await call.until(lambda: len(call.notices) >= 3, "all notices")
            known = len(call.items)
            await call.until(lambda: len(call.items) > known, "the rest of the stream")
            await silent.until(lambda: len(silent.items) >= len(call.items))
    position, gap, resumed = call.notices
    assert (position.kind, gap.kind, resumed.kind) == (
        pb.NOTICE_KIND_POSITION,
        pb.NOTICE_KIND_GAP,
        pb.NOTICE_KIND_RESUMED,
    )
    assert call.responses[0].notice == position
    assert gap.since.ToNanoseconds() == resumed.since.ToNanoseconds() > 0
    assert resumed.until.ToNanoseconds() > resumed.since.ToNanoseconds()
    assert not gap.HasField("until") and gap.text and resumed.text
    # In their place: what they name is what came before them.
    for place, response in enumerate(call.responses):
        if response.HasField("notice"):
            before = [0] + [r.sequence for r in call.responses[:place] if r.sequence]
            after = [r.sequence for r in call.responses[place:] if r.sequence]
            assert before[-1] <= response.notice.sequence < after[0]
            assert response.notice.epoch == call.items[-1].epoch
    sequences = [item.sequence for item in call.items]
    assert sequences == sorted(set(sequences))
    assert not silent.notices


async def test_what_a_caller_sends_is_echoed_in_part(alpaca: SimulatorProcess) -> None:
    """Long texts make long headers, which take seconds to compress and are not read anyway."""
    long = "A" * 200_000
    async with proxied(alpaca) as (_, client):
        for method, request in (
            ("StreamQuotes", {"feed": long}),
            ("StreamQuotes", {"slow_policy": long}),
            ("StreamQuotes", {"symbols": [long]}),
            ("StreamOptionQuotes", {"symbols": [long]}),
            ("StreamOptionQuotes", {"underlyings": [long]}),
            ("StreamOrderUpdates", {"account": long}),
            ("StreamOrderUpdates", {"since": long}),
        ):
            end = await refused(client, method, **request)
            assert len(end.text) < 1000
            assert all(len(value) < 400 for value in end.more.values())


async def test_a_crowd_of_underlyings_is_refused(alpaca: SimulatorProcess) -> None:
    """Each is asked for over REST, and what may be asked there is counted by the account."""
    async with proxied(alpaca) as (_, client):
        many = [f"A{number}" for number in range(100)]
        end = await refused(client, "StreamOptionQuotes", underlyings=many)
        assert end.reason == "TOO_MANY_UNDERLYINGS"
        end = await refused(client, "StreamOptionQuotes", underlyings=["AAPL,MSFT&x=1"])
        assert end.reason == "INVALID_SYMBOL"
