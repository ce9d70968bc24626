"""`/metrics` over HTTP: who may read it, in which form, and what faults do to the numbers."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from harness.consumers import consumer
from harness.grpc_calls import grpc_client
from harness.order_client import OrderClient
from harness.order_ledger import addresses, buy, settled
from harness.proxies import QUICK, running_app
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually
from stream_proxy.app import App
from stream_proxy.config.schema import Settings
from stream_proxy.errors import AddressInUse
from stream_proxy.feed.upstream_status import UpstreamState
from stream_proxy.runtime.clock import SystemClock
from stream_proxy.runtime.stall import watch_stalls
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb

TOKENS = [
    {"name": "bots", "key": "bots-key", "secret": "the-secret-of-the-bots"},
    {"name": "desk", "key": "desk-key", "secret": "the-secret-of-the-desk"},
]

FATES = ("delivered_total", "filtered_total", "conflated_total", "dropped_total", "waiting")


@pytest.fixture(scope="module")
def alpaca() -> Iterator[SimulatorProcess]:
    with simulator("--rate", "200", "--symbols", "5", "--slot-seconds", "1") as running:
        yield running


@asynccontextmanager
async def asked(app: App) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=app.metrics_address, trust_env=False) as client:
        yield client


async def value(app: App, name: str, **labels: str) -> float:
    """The value of the one series that has these labels, and perhaps more."""
    async with asked(app) as client:
        text = (await client.get("/metrics")).text
    (found,) = [
        sample.value
        for metric in read_text(text)
        for sample in metric.samples
        if sample.name == f"alpaca_proxy_{name}" and labels.items() <= sample.labels.items()
    ]
    return float(found)


async def test_the_form_is_what_the_reader_asks_for(alpaca: SimulatorProcess) -> None:
    async with running_app(alpaca.streams, orders="off") as app, asked(app) as client:
        plain = await client.get("/metrics", headers={"Accept": "*/*", "Accept-Encoding": ""})
        assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert "content-encoding" not in plain.headers
        assert {metric.name for metric in read_text(plain.text)} > {"alpaca_proxy_consumers"}
        accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
        negotiated = await client.get(
            "/metrics", headers={"Accept": accept, "Accept-Encoding": "gzip"}
        )
        assert negotiated.headers["content-type"].startswith("application/openmetrics-text")
        assert negotiated.headers["content-encoding"] == "gzip"
        assert {m.name for m in read_openmetrics(negotiated.text)} > {"alpaca_proxy_consumers"}


async def test_the_port_of_health_shows_them_too(alpaca: SimulatorProcess) -> None:
    """Where earlier programs of this kind have them."""
    async with (
        running_app(alpaca.streams) as app,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        there = await http.get(f"{app.http_address}/metrics")
        assert there.status_code == 200
        assert "alpaca_proxy_messages_received_total" in there.text


async def test_a_form_that_is_none_gets_the_plain_one(alpaca: SimulatorProcess) -> None:
    """Nonsense in a header is no reason for a traceback."""
    async with running_app(alpaca.streams) as app, httpx.AsyncClient(trust_env=False) as http:
        for accept in ("application/openmetrics-text; version=abc", ";;;", "q=x"):
            answer = await http.get(f"{app.metrics_address}/metrics", headers={"Accept": accept})
            assert answer.status_code == 200
            assert "alpaca_proxy" in answer.text


async def test_strangers_are_refused(alpaca: SimulatorProcess) -> None:
    """A page that rebinds its name, or of another origin, reads nothing."""
    async with running_app(alpaca.streams, orders="off") as app, asked(app) as client:
        for host in ("evil.example", "evil.example:9090", "localhost.evil.example"):
            refused = await client.get("/metrics", headers={"Host": host})
            assert (refused.status_code, "alpaca_proxy" in refused.text) == (421, False)
        refused = await client.get("/metrics", headers={"Origin": "https://evil.example"})
        assert (refused.status_code, "alpaca_proxy" in refused.text) == (403, False)
        assert (await client.get("/")).text == "Metrics are at /metrics.\n"
        assert (await client.get("/health")).status_code == 404
        assert (await client.post("/metrics")).status_code == 405
        assert (await client.head("/metrics")).status_code == 200


async def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        app = App(Settings.model_validate(QUICK | {"metrics_port": port, "orders": "off"}))
        with pytest.raises(AddressInUse, match=rf"127.0.0.1:{port}.*STREAM_PROXY_METRICS_PORT"):
            await app.start()
        await app.stop()


async def test_consumers_by_token_and_no_secrets(alpaca: SimulatorProcess) -> None:
    async with running_app(alpaca.streams, orders="off", access_tokens=TOKENS) as app:
        url = app.addresses()[0] + "/v2/iex"
        for token in TOKENS:
            shown = {"APCA-API-KEY-ID": token["key"], "APCA-API-SECRET-KEY": token["secret"]}
            async with consumer(url, "msgpack", authenticate=False, headers=shown) as one:
                await eventually(lambda one=one: len(one.controls) == 2)
                await one.subscribe(trades=["*"])
                await eventually(lambda one=one: one.messages > 3)
            await eventually(lambda: not app.outlet.connections, 10, "it is gone")
            # What it was sent stays counted.
            sent = await value(app, "messages_sent_total", consumer=token["name"])
            assert sent >= one.messages
            assert await value(app, "consumers", protocol="websocket") == 0
        async with consumer(url, "json", authenticate=False) as stranger:
            await stranger.say(action="auth", key="bots-key", secret="a-wrong-secret-of-mine")
            await stranger.control("error")
        assert await value(app, "authentication_failures_total", protocol="websocket") == 1
        async with asked(app) as client:
            text = (await client.get("/metrics")).text
        secrets = [QUICK["key"], QUICK["secret"], "a-wrong-secret-of-mine", "bots-key"]
        for secret in (*secrets, *(token["secret"] for token in TOKENS)):
            assert secret not in text
        assert "127.0.0.1" not in text


async def test_every_protocol_accounts_for_every_message(alpaca: SimulatorProcess) -> None:
    """A WebSocket and a gRPC consumer side by side: what each got is what is said of it."""
    async with (
        running_app(alpaca.streams, orders="off", feeds=["iex"]) as app,
        consumer(app.addresses()[0] + "/v2/iex", "msgpack") as one,
        grpc.aio.insecure_channel(app.grpc_address) as channel,
    ):
        await one.subscribe(trades=["*"], quotes=["AAPL"])
        call = channel.unary_stream(
            "/cream.v1.StreamProxyService/StreamTrades",
            request_serializer=pb.StreamTradesRequest.SerializeToString,
            response_deserializer=pb.StreamTradesResponse.FromString,
        )(pb.StreamTradesRequest())
        trades = 0

        async def read() -> None:
            nonlocal trades
            async for _ in call:
                trades += 1

        reading = asyncio.create_task(read())
        await eventually(lambda: trades > 20 and one.messages > 20, 20, "both read")
        await alpaca.order("/hold")
        sent = {"websocket": 0.0, "grpc": 0.0}

        async def told() -> bool:
            for protocol in sent:
                sent[protocol] = await value(app, "messages_sent_total", protocol=protocol)
            return sent == {"websocket": one.messages, "grpc": trades}

        async with asyncio.timeout(10):
            while not await told():
                pass
        assert await value(app, "grpc_clients") == await value(app, "websocket_connections") == 1
        for protocol, kind in ((p, k) for p in sent for k in ("trades", "quotes")):
            of = {"stream": "stocks", "type": kind, "protocol": protocol}
            fates = [await value(app, f"messages_{fate}", **of) for fate in FATES]
            assert await value(app, "messages_offered_total", **of) == sum(fates) > 0
        of = {"type": "trades", "protocol": "grpc"}
        assert await value(app, "messages_delivered_total", **of) == trades
        await alpaca.order("/start")
        reading.cancel()


async def test_every_protocol_accounts_for_every_order_update(
    alpaca: SimulatorProcess, tmp_path: Path
) -> None:
    """Live and from the journal, filtered, and waiting for somebody who doesn't read."""
    settings = addresses(alpaca) | {"orders": "on", "state_dir": tmp_path}
    async with (
        running_app(alpaca.streams, **settings) as app,
        OrderClient(f"{app.addresses()[0]}/stream") as live,
        grpc_client(app.grpc_address) as client,
        client.stream("StreamOrderUpdates", symbols=["MSFT"]) as filtered,
        httpx.AsyncClient(base_url=app.http_address, trust_env=False) as http,
    ):
        await eventually(lambda: app.desk.feeds["paper"].ready, 15, "ready")
        await filtered.begun()
        feed = app.desk.feeds["paper"]
        await eventually(lambda: len(feed.consumers) == 2 and all(c.live for c in feed.consumers))
        for symbol in ("AAPL", "MSFT"):
            await buy(alpaca, symbol=symbol)
        events = len(await settled(alpaca, 2))
        await eventually(lambda: len(live.updates) == events and len(filtered.items) == events // 2)
        async with http.stream("GET", "/v2/events/trades?since=oldest") as answer:
            lines = answer.aiter_lines()
            got = 0
            while got < events:
                got += (await anext(lines)).startswith("data: ")
            for protocol, delivered in {
                "websocket": events, "grpc": events // 2, "sse": events
            }.items():  # fmt: skip
                of = {"stream": "trading", "type": "trade_updates", "protocol": protocol}
                fates = [await value(app, f"messages_{fate}", **of) for fate in FATES]
                assert fates == [delivered, events - delivered, 0, 0, 0], protocol
                assert await value(app, "messages_offered_total", **of) == events
                sent = await value(app, "messages_sent_total", protocol=protocol)
                assert sent == delivered, "what was filtered was not sent"
        of = {"feed": "paper", "stream": "trading"}
        told = await value(app, "message_duration_seconds_count", **of)
        assert told == events + events // 2, (
            "what came live; the journal's pages are as old as asked"
        )
        assert await value(app, "exchange_lag_seconds_count", **of) == events


@pytest.mark.parametrize(
    ("fault", "details", "cause"),
    [
        ("drop", {}, "lost"),
        ("close", {"code": 1001}, "lost"),
        ("stall", {"seconds": 2}, "half_open"),
        ("error", {"code": 500}, "error"),
        ("error", {"code": 406}, "slot_taken"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
async def test_a_fault_shows_as_its_cause(
    alpaca: SimulatorProcess, fault: str, details: dict[str, int], cause: str
) -> None:
    async with (
        running_app(alpaca.streams, orders="off") as app,
        consumer(app.addresses()[0] + "/v2/iex", "msgpack") as one,
    ):
        await one.subscribe(trades=["*"])
        await eventually(lambda: one.messages > 3)
        handler = app.handlers["iex"]
        assert await value(app, "upstream_connections_active", stream="stocks") == 1
        await alpaca.fault(fault, feed="iex", **details)
        await eventually(lambda: handler.upstream.interruptions, 15, "it is noticed")
        assert await value(app, "reconnects_total", stream="stocks", cause=cause) >= 1
        await eventually(
            lambda: (
                handler.upstream.state is UpstreamState.CONNECTED and handler.gaps.current is None
            ),
            20,
            "all is well again",
        )
        assert await value(app, "upstream_connections_active", stream="stocks") == 1
        again = handler.upstream.connections - 1
        assert await value(app, "upstream_reconnections_total", stream="stocks") == again >= 1
        assert await value(app, "gaps_total", feed="iex") == 1
        assert await value(app, "gap_seconds_total", feed="iex") > 0
        if "code" in details and fault == "error":
            code = str(details["code"])
            assert await value(app, "websocket_errors_total", stream="stocks", code=code) >= 1


async def test_nobody_there_is_a_cause_too() -> None:
    async with running_app("ws://127.0.0.1:9", orders="off", feeds=["iex"]) as app:
        await eventually(lambda: app.handlers["iex"].upstream.interruptions)
        assert await value(app, "reconnects_total", stream="stocks", cause="unreachable") >= 1
        assert await value(app, "upstream_connections_active", stream="stocks") == 0
        assert await value(app, "feed_wanted", feed="iex") == 1
        assert await value(app, "feed_connected", feed="iex") == 0


async def test_a_stalled_loop_is_seen() -> None:
    """What keeps everybody waiting shows within a look."""
    found: list[int] = []
    watching = asyncio.create_task(watch_stalls(SystemClock(), found.append, 0.02))
    await eventually(lambda: len(found) > 2)
    time.sleep(0.2)
    await eventually(lambda: max(found) > 150_000_000, 5, "the stall")
    watching.cancel()
