"""Clients that read too slowly, on real sockets: what they get by their policy, and are told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from harness.consumers import TestConsumer, consumer
from harness.grpc_calls import StreamingCall
from harness.proxies import running_app
from harness.simulated import SimulatorProcess, simulator
from harness.slow_client import SlowClient, slow_client
from harness.waiting import eventually
from stream_proxy.app import App
from stream_proxy.outlets.market_data import MarketDataDialog
from stream_proxy.outlets.slow import SlowConsumer
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb

OUTBOX_BYTES = 4 << 20
TOPICS = {"trades": ["*"], "quotes": ["*"], "bars": ["*"], "statuses": ["*"]}


@pytest.fixture
def alpaca() -> Iterator[SimulatorProcess]:
    with simulator("--hold", "--rate", "20000", "--symbols", "30") as process:
        yield process


def watch_of(app: App, policy: str) -> SlowConsumer:
    """What watches over the one client with this policy."""
    watches = [
        c.dialog.slow for c in app.outlet.connections if isinstance(c.dialog, MarketDataDialog)
    ]
    (found,) = [one for one in watches if one is not None and str(one.policy) == policy]
    return found


async def steady(fast: TestConsumer) -> None:
    """Wait until a client that keeps up gets no more."""
    while True:
        seen = fast.messages
        await asyncio.sleep(0.2)
        if seen and fast.messages == seen:
            return


def check_conflated(slow: SlowClient, whole: list[dict[str, Any]]) -> int:
    """All but quotes complete and in order, the quotes that matter in their place; how many quotes
    are missing."""
    assert {"t", "s", "q"} <= {message["T"] for message in whole}
    got = slow.data
    assert [m for m in got if m["T"] != "q"] == [m for m in whole if m["T"] != "q"]
    expected: dict[str, Any] = {}
    newest: dict[str, Any] = {}
    before = iter(got)
    for message in whole:
        # Before each other message the symbol's newest quote must have come.
        if message["T"] == "q":
            expected[message["S"]] = message
            continue
        for seen in before:
            if seen["T"] == "q":
                newest[seen["S"]] = seen
            elif seen == message:
                break
        assert newest.get(message["S"]) == expected.get(message["S"])
    last = {m["S"]: m for m in got if m["T"] == "q"}
    assert last == {m["S"]: m for m in whole if m["T"] == "q"}, "the last value always arrives"
    return len(whole) - len(got)


@pytest.mark.parametrize("codec", ["msgpack", "json"])
async def test_conflating_and_back(alpaca: SimulatorProcess, codec: str) -> None:
    """One that doesn't read for a while: nothing but quotes is missing, and it is told how many.

    Its memory is bounded, and who reads beside it has every byte of what Alpaca sent.
    """
    async with running_app(alpaca.streams, feeds="sip", outbox_bytes=OUTBOX_BYTES) as app:
        url = f"{app.addresses()[0]}/v2/sip"
        async with (
            consumer(url, codec, keep=True) as fast,
            slow_client(f"{url}?continuity=1&slow=conflate", codec) as slow,
        ):
            await fast.subscribe(**TOPICS)
            await slow.subscribe(**TOPICS)
            watch = watch_of(app, "conflate")
            await alpaca.order("/start")
            await eventually(lambda: watch.state == "conflating", 30, "it is behind")
            outbox = watch._outbox
            merged = outbox.merged_messages
            await eventually(lambda: outbox.merged_messages > merged + 20_000, 30, "merging")
            told = await slow.read_until("lag", state="conflating")
            assert told["policy"] == "conflate"
            await slow.read_until("lag", state="live", seconds=60)
            await alpaca.order("/hold")
            reading = asyncio.create_task(slow.read_to_the_end(60))
            await steady(fast)
            sequence = app.handlers["sip"].sequence
            await eventually(
                lambda: (slow.own("position") or [{}])[-1].get("sequence") == sequence, 20
            )
            reading.cancel()
            missing = check_conflated(slow, fast.decoded())
            lags = slow.own("lag")
            ends = [lag for lag in lags if lag["state"] == "live"]
            assert missing == sum(lag["merged"] for lag in ends) == outbox.merged_messages > 20_000
            assert ends[0]["oldest_ms"] > 100
            assert all(lag["left_out"] == 0 for lag in lags)
            assert outbox.peak_queued_bytes <= OUTBOX_BYTES
            assert outbox.dropped_messages == 0
            (record,) = (await alpaca.ledger())["connections"]
            assert fast.messages == record["messages"]
            assert fast.checksum % (1 << 64) == record["checksum"] or codec == "json"
            flow = app.handlers["sip"].hub.flows["websocket"]
            assert flow.conflated == {"q": missing}
            parts = [flow.delivered(), flow.conflated, flow.dropped, flow.waiting()]
            assert sum(sum(part.values()) for part in parts) == 2 * record["messages"]


async def test_bars_only_and_back(alpaca: SimulatorProcess) -> None:
    async with running_app(alpaca.streams, feeds="sip", outbox_bytes=OUTBOX_BYTES) as app:
        url = f"{app.addresses()[0]}/v2/sip"
        async with (
            consumer(url, keep=True) as fast,
            slow_client(f"{url}?continuity=1", "json", Stream_Proxy_Slow="bars") as slow,
        ):
            await fast.subscribe(**TOPICS)
            await slow.subscribe(**TOPICS)
            watch = watch_of(app, "bars")
            await alpaca.order("/start")
            await eventually(lambda: watch.state == "bars_only", 30, "it is behind")
            dropped = watch._outbox.dropped_messages
            await eventually(lambda: watch._outbox.dropped_messages > dropped + 20_000, 30)
            end = await slow.read_until("lag", state="live", seconds=60)
            await slow.read_until("t")
            await alpaca.order("/hold")
            reading = asyncio.create_task(slow.read_to_the_end(60))
            await steady(fast)
            await eventually(lambda: slow.of("tq")[-1:] == _last(fast, "tq"), 20, "all is back")
            reading.cancel()
            whole = fast.decoded()
            got, wanted = ([m for m in one if m["T"] not in "tq"] for one in (slow.data, whole))
            assert got == wanted
            assert end["left_out"] == len(whole) - len(slow.data) > 20_000


def _last(fast: TestConsumer, kinds: str) -> list[dict[str, Any]]:
    return [message for message in fast.decoded() if message["T"] in kinds][-1:]


def quotes(
    grpc_channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...] = (), **fields: Any
) -> Any:
    """A call for all quotes, which nobody reads yet."""
    method = grpc_channel.unary_stream(
        "/cream.v1.StreamProxyService/StreamQuotes",
        request_serializer=pb.StreamQuotesRequest.SerializeToString,
        response_deserializer=pb.StreamQuotesResponse.FromString,
    )
    return method(pb.StreamQuotesRequest(feed="sip", **fields), metadata=metadata)


async def test_a_grpc_call_conflates(alpaca: SimulatorProcess) -> None:
    """By its request; told in notices, first in line, with the last quote of each symbol right."""
    async with (
        running_app(alpaca.streams, feeds="sip", outbox_bytes=OUTBOX_BYTES) as app,
        consumer(f"{app.addresses()[0]}/v2/sip", keep=True) as fast,
        grpc.aio.insecure_channel(app.grpc_address) as grpc_channel,
    ):
        await fast.subscribe(quotes=["*"])
        call = quotes(grpc_channel, notices=True, slow_policy="conflate")
        await call.initial_metadata()
        (served,) = app.grpc.outlet.calls
        await alpaca.order("/start")
        await eventually(lambda: served.outbox.merged_messages > 20_000, 30, "merging")
        row = served.status(0)
        assert (row.slow_policy, row.gets) == ("conflate", "conflating")
        async with StreamingCall(call) as reader:
            await reader.until(lambda: len(reader.items) > 1000, "it reads again")
            await alpaca.order("/hold")
            await steady(fast)
            await reader.until(lambda: any("caught up" in n.text for n in reader.notices), "live")
            assert served.status(0).gets == "live"
            sequences = {item.sequence for item in reader.items}
            assert len(sequences) == len(reader.items)
            assert max(sequences) == app.handlers["sip"].sequence
            slow = [n for n in reader.notices if n.kind == pb.NOTICE_KIND_SLOW]
            assert slow[0].HasField("since") and not slow[0].HasField("until")
            assert slow[-1].HasField("until")
            lost = slow[-1].messages_lost
            assert lost == served.outbox.merged_messages == fast.messages - len(sequences)
            by_symbol: dict[str, list[int]] = {}
            for item in reader.items:
                by_symbol.setdefault(item.quote.symbol, []).append(item.sequence)
            assert all(mine == sorted(mine) for mine in by_symbol.values())
            last = {item.quote.symbol: item.quote.bid_price for item in reader.items}
            assert last == {m["S"]: m["bp"] for m in fast.decoded()}


async def test_close_codes(alpaca: SimulatorProcess) -> None:
    """Alpaca's error first, then 1008; for who asked for continuity, whether to come back."""
    tokens = [{"name": "one", "key": "k", "secret": "s" * 16}]
    settings: dict[str, Any] = {"outbox_bytes": 1 << 20, "access_tokens": tokens}
    async with running_app(alpaca.streams, feeds="sip", **settings) as app:
        url = f"{app.addresses()[0]}/v2/sip"
        credentials = {"key": "k", "secret": "s" * 16}
        async with (
            slow_client(url, **credentials) as plain,
            slow_client(f"{url}?continuity=1", **credentials) as told,
        ):
            for one in (plain, told):
                await one.subscribe(**TOPICS)
            await alpaca.order("/start")
            await eventually(lambda: app.outlet.counts.slow_consumers == 2, 60, "both are cut")
            for one in (plain, told):
                await one.read_to_the_end()
                assert one.own("error") == [{"T": "error", "code": 407, "msg": "slow client"}]
            assert (plain.close_code, told.close_code) == (1008, 4408)
        for query, code in (("", 1008), ("?continuity=1", 4500)):
            async with consumer(url + query, authenticate=False) as wrong:
                await wrong.say(action="auth", key="k", secret="wrong")
                assert (await wrong.control("error"))["code"] == 402
                await eventually(lambda c=wrong: c.closed is not None)
                assert wrong.closed is not None and wrong.closed.rcvd is not None
                assert wrong.closed.rcvd.code == code


async def test_who_chooses(alpaca: SimulatorProcess) -> None:
    """The query, else the header, else the token, else the setting; all of it in `/status`."""
    tokens = [
        {"name": "one", "key": "one", "secret": "s" * 16},
        {"name": "two", "key": "two", "secret": "s" * 16, "slow": "sample=500"},
    ]
    settings: dict[str, Any] = {"access_tokens": tokens, "slow_policy": "bars"}
    async with running_app(alpaca.streams, feeds="sip", **settings) as app:
        url = f"{app.addresses()[0]}/v2/sip"
        for expected, token, query, headers in (
            ("bars", "one", "", {}),
            ("sample=500", "two", "", {}),
            ("conflate", "two", "", {"Stream_Proxy_Slow": "conflate"}),
            ("disconnect", "two", "?slow=disconnect", {"Stream_Proxy_Slow": "conflate"}),
            ("sample=250", "one", "?slow=sample=250", {}),
        ):
            async with slow_client(url + query, key=token, secret="s" * 16, **headers):
                (row,) = app.outlet.consumer_statuses(0)
                assert (row.slow_policy, row.gets) == (expected, "live")
            await eventually(lambda: not app.outlet.connections)
        async with grpc.aio.insecure_channel(app.grpc_address) as calls:
            shown = (("apca-api-key-id", "two"), ("apca-api-secret-key", "s" * 16))
            for expected, wanted, metadata in (
                ("sample=500", "", ()),
                ("conflate", "", (("stream-proxy-slow", "conflate"),)),
                ("bars", "bars", (("stream-proxy-slow", "conflate"),)),
            ):
                begun = quotes(calls, (*shown, *metadata), slow_policy=wanted)
                async with StreamingCall(begun) as call:
                    await call.begun()
                    (row,) = app.grpc.outlet.consumer_statuses(0)
                    assert row.slow_policy == expected
                await eventually(lambda: not app.grpc.outlet.calls)
            async with StreamingCall(quotes(calls, shown, slow_policy="conflated")) as call:
                answer = await call.refused()
                assert (answer.code, answer.reason) == ("INVALID_ARGUMENT", "UNKNOWN_POLICY")
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"{url}?slow=sample", proxy=None)
        assert refused.value.response.status_code == 400
        assert b"conflate, bars, or sample=<ms>" in (refused.value.response.body or b"")
