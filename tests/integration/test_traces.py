"""The traces of a whole session of a real proxy, as a collector receives them."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from harness.collector import Collector, Received, collector
from harness.consumers import consumer
from harness.order_ledger import KEY, addresses, buy, settled
from harness.proxies import ProxyProcess, proxy_process, running_app
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
EVENTS = "/v2/events/trades"
SERVICE = "/cream.v1.StreamProxyService"
FEED, ACCOUNT = ("alpaca.feed", "iex"), ("alpaca.account", "paper")

_BRISK = ("--rate", "200", "--symbols", "5", "--slot-seconds", "3")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Collector, list[str]]]:
    """What was received of a session, and what the proxy logged."""
    with collector() as receiving, simulator(*_BRISK) as alpaca:
        where = {f"STREAM_PROXY_{k.upper()}": v for k, v in addresses(alpaca).items()}
        with proxy_process(
            alpaca.streams,
            tmp_path_factory.mktemp("state"),
            "--feeds",
            "iex",
            **where,
            STREAM_PROXY_ORDERS="on",
            STREAM_PROXY_BACKOFF_INITIAL_SECONDS="0.05",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiving.endpoint,
            OTEL_BSP_SCHEDULE_DELAY="50",
            NO_PROXY="*",
        ) as proxy:
            asyncio.run(_live(proxy, alpaca, receiving))
        assert proxy.process.returncode == 0
        yield receiving, proxy.log


async def _live(proxy: ProxyProcess, alpaca: SimulatorProcess, receiving: Collector) -> None:
    """A client that is traced itself, a lost connection of each kind, HTTP, an order."""
    url = proxy.addresses[0] + "/v2/iex"
    async with (
        consumer(url, headers=CALLER) as client,
        httpx.AsyncClient(base_url=proxy.http, trust_env=False) as http,
    ):
        await client.subscribe(trades=["AAPL"])
        await eventually(lambda: client.messages, what="trades")
        for feed in ("iex", "trading"):
            assert await alpaca.fault("drop", feed=feed)
        reconnects = (FEED, ACCOUNT)
        await eventually(
            lambda: all(of(receiving, "alpaca.reconnect", whose) for whose in reconnects), 20
        )
        await buy(alpaca)
        await settled(alpaca, 1)
        query = {"since": "oldest", "account": "a-query"}
        async with http.stream("GET", EVENTS, params=query, headers=CALLER) as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data: ") and json.loads(line[6:])["event"] == "fill":
                    break
        await _call(proxy.grpc)
        assert (await http.get("/status")).status_code == 200
        assert (await http.get("/nowhere/to/be/found")).status_code == 404
        await http.get("/healthz")
        await http.get("/readyz", headers=CALLER)


async def _call(address: str) -> None:
    """One call that is answered, a stream that the caller leaves, and a refusal."""
    metadata = tuple(CALLER.items())
    async with grpc.aio.insecure_channel(address) as channel:
        ask = channel.unary_unary(
            f"{SERVICE}/GetConnectionStatus",
            request_serializer=pb.GetConnectionStatusRequest.SerializeToString,
        )
        quotes = channel.unary_stream(
            f"{SERVICE}/StreamQuotes",
            request_serializer=pb.StreamQuotesRequest.SerializeToString,
        )
        assert await ask(pb.GetConnectionStatusRequest(), metadata=metadata)
        stream = quotes(pb.StreamQuotesRequest(symbols=["AAPL"]), metadata=metadata)
        assert await stream.read()
        stream.cancel()
        with pytest.raises(grpc.aio.AioRpcError):
            await quotes(pb.StreamQuotesRequest(symbols=["no symbol!"])).read()


def of(receiving: Collector, name: str, whose: tuple[str, str]) -> list[Received]:
    """The spans of a feed or an account, first things first."""
    key, value = whose
    return receiving.named(name, lambda span: span.attributes.get(key) == value)


def parts(receiving: Collector, whole: Received) -> list[str]:
    """The names of a span's parts, in the order in which they began."""
    found = [span for span in receiving.spans if span.parent == whole.span]
    return [span.name for span in sorted(found, key=lambda span: span.start_ns)]


@pytest.mark.parametrize("whose", [FEED, ACCOUNT], ids=["feed", "account"])
def test_a_connection_its_loss_and_the_way_back(
    session: tuple[Collector, list[str]], whose: tuple[str, str]
) -> None:
    receiving, _ = session
    lost, kept = of(receiving, "alpaca.connection", whose)
    (reconnect,) = of(receiving, "alpaca.reconnect", whose)
    handshake = ["alpaca.connect", "alpaca.authenticate", "alpaca.subscribe"]
    for connection in (lost, kept):
        told = [name for name in parts(receiving, connection) if name in handshake]
        assert told[:3] == handshake and set(told[3:]) <= {"alpaca.subscribe"}
    # Lost for a reason, and found again; each is a trace, and they are linked.
    assert lost.failed and lost.attributes["cause"] == "lost" and not kept.failed
    assert lost.parent == kept.parent == "" and lost.trace != kept.trace
    assert (reconnect.parent, reconnect.trace) == (lost.span, lost.trace)
    assert kept.links == [reconnect.span] and not reconnect.failed
    assert "ready" in kept.events and "waiting" in reconnect.events
    # Times follow from one another.
    (authenticate,) = (
        span for span in of(receiving, "alpaca.authenticate", whose) if span.parent == kept.span
    )
    assert lost.start_ns < reconnect.start_ns <= kept.start_ns < authenticate.end_ns
    assert authenticate.end_ns <= reconnect.end_ns <= kept.end_ns


def test_a_gap_belongs_to_the_connection_that_closed_it(
    session: tuple[Collector, list[str]],
) -> None:
    receiving, _ = session
    lost, kept = of(receiving, "alpaca.connection", FEED)
    assert "gap" in kept.events and "gap" not in lost.events


def test_reconciling_shows_its_requests(session: tuple[Collector, list[str]]) -> None:
    receiving, _ = session
    reconciles = of(receiving, "alpaca.reconcile", ACCOUNT)
    asked = {name for span in reconciles for name in parts(receiving, span)}
    assert "GET /v2/events/trades" in asked and asked <= {
        "GET /v2/clock",
        "GET /v2/events/trades",
        "GET /v2/orders",
        "GET /v2/orders/{id}",
        "GET /v2/account/activities/FILL",
    }
    requests = receiving.named(
        "GET /v2/events/trades", lambda span: "url.template" in span.attributes
    )
    assert requests and all(r.attributes["http.response.status_code"] == 200 for r in requests)


def test_sessions_and_requests_of_traced_callers(session: tuple[Collector, list[str]]) -> None:
    receiving, _ = session
    (client,) = receiving.named("websocket.session")
    (stream,) = receiving.named("GET " + EVENTS, lambda span: "http.route" in span.attributes)
    for span in (client, stream):
        assert (span.trace, span.parent) == (TRACE, CALLER["traceparent"].split("-")[2])
    assert client.attributes["url.path"] == "/v2/iex" and client.attributes["messages.sent"] > 0
    assert client.attributes["websocket.close_code"] == 1000 and not client.failed
    (status,) = receiving.named("GET /status")
    assert (status.parent, status.attributes["http.response.status_code"]) == ("", 200)
    (nowhere,) = receiving.named("GET")
    assert nowhere.attributes["http.response.status_code"] == 404
    assert not receiving.named("GET /healthz"), "probes are not traced by themselves"
    assert [span.trace for span in receiving.named("GET /readyz")] == [TRACE]
    (drain,) = receiving.named("proxy.drain")
    assert not drain.failed


def test_grpc_calls(session: tuple[Collector, list[str]]) -> None:
    receiving, _ = session
    (answered,) = receiving.named(f"{SERVICE[1:]}/GetConnectionStatus")
    left, refused = receiving.named(f"{SERVICE[1:]}/StreamQuotes")
    for span in (answered, left):
        assert (span.trace, span.parent) == (TRACE, CALLER["traceparent"].split("-")[2])
    assert refused.parent == ""
    statuses = [s.attributes["rpc.grpc.status_code"] for s in (answered, left, refused)]
    names = (grpc.StatusCode.OK, grpc.StatusCode.CANCELLED, grpc.StatusCode.INVALID_ARGUMENT)
    assert statuses == [name.value[0] for name in names]
    assert not any(span.failed for span in (answered, left, refused))


def test_few_spans_under_one_name_and_nothing_that_is_nobodys_business(
    session: tuple[Collector, list[str]],
) -> None:
    """Not one per message; no key, secret, query or order in what was sent."""
    receiving, log = session
    assert {span.service for span in receiving.spans} == {"cream-alpaca-stream-proxy"}
    assert len(receiving.spans) < 100
    sent = b"".join(receiving.bodies)
    for word in (KEY, "a-secret-of-the-account", "a-query", "since", "client_order_id", "AAPL"):
        assert word.encode() not in sent, word
    assert not [line for line in log if "traces.lost" in line]


async def test_what_is_set_decides(tmp_path: Path) -> None:
    """An address alone asks for traces, `otel_enabled` off refuses them."""
    with collector() as receiving:
        nowhere, wishes = "ws://127.0.0.1:9", {"otel_endpoint": receiving.endpoint}
        async with running_app(nowhere, state_dir=tmp_path, **wishes) as app:
            assert app.traces.sending
        assert receiving.named("proxy.drain")
        before = receiving.requests
        async with running_app(nowhere, state_dir=tmp_path, otel_enabled=False, **wishes) as app:
            assert not app.traces.sending
        assert receiving.requests == before


def test_a_process_ends_in_time_though_its_collector_never_answers(tmp_path: Path) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(64)
        endpoint = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with proxy_process(
            "ws://127.0.0.1:9", tmp_path, "--feeds", "iex", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint
        ) as proxy:
            proxy.process.terminate()
            begun = time.monotonic()
            assert proxy.process.wait(15) == 0
            took = time.monotonic() - begun
    assert 1.9 < took < 6, "two seconds for the collector, the rest for the drain"
