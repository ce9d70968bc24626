"""Health, readiness and status over HTTP, of a running proxy on a simulator that goes away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.consumers import consumer
from harness.openapi import differences
from harness.order_ledger import addresses, buy
from harness.ports import free_port
from harness.proxies import QUICK, running_app
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually
from stream_proxy.app import App
from stream_proxy.feed.upstream_status import UpstreamState
from stream_proxy.state.journal import JournalError

TOKEN = {"name": "bots", "key": "bots-key", "secret": "a-long-enough-secret"}
SHOWN = {"APCA-API-KEY-ID": TOKEN["key"], "APCA-API-SECRET-KEY": TOKEN["secret"]}
PROBES = ("/healthz", "/readyz", "/health")
SEED_SHAPE = {
    "status": "healthy",
    "upstream": {
        "stocks": {"connected": True, "lastMessage": "2026-01-22T15:30:00.123Z"},
        "options": {"connected": True, "lastMessage": "2026-01-22T15:30:00.456Z"},
        "trading": {"connected": True, "lastMessage": "2026-01-22T15:29:55.789Z"},
    },
    "subscriptions": {"stocks": 47, "options": 156},
    "consumers": 2,
}
"""What an earlier proxy answers."""


@pytest.fixture(scope="module")
def running() -> Iterator[SimulatorProcess]:
    with simulator() as process:
        yield process


@pytest.fixture
def alpaca(running: SimulatorProcess) -> Iterator[SimulatorProcess]:
    """The simulator of all tests that don't end it, left as it was found."""
    running.post("/rate", rate=200)
    yield running
    httpx.delete(running.control + "/faults", trust_env=False).raise_for_status()


@contextlib.asynccontextmanager
async def proxied(
    alpaca: SimulatorProcess, state_dir: Path, **settings: Any
) -> AsyncIterator[tuple[App, httpx.AsyncClient]]:
    """A proxy of iex and the paper account, both connected, and an HTTP client of it."""
    settings = {"feeds": ["iex"], "orders": "on", "state_dir": state_dir} | settings
    async with (
        running_app(alpaca.streams, **addresses(alpaca), **settings) as app,
        httpx.AsyncClient(base_url=app.http_address, timeout=20, trust_env=False) as http,
    ):
        await eventually(lambda: all_connected(app), 15, "connected")
        yield app, http


def all_connected(app: App) -> bool:
    states = {handler.upstream.state for handler in app.handlers.values()}
    return states <= {UpstreamState.CONNECTED} and all(
        feed.ready for feed in app.desk.feeds.values()
    )


def same_form(example: Any, answer: Any) -> bool:
    """Whether an answer has whatever the example has, each of the same type."""
    if isinstance(example, dict):
        return isinstance(answer, dict) and all(
            name in answer and same_form(part, answer[name]) for name, part in example.items()
        )
    if isinstance(example, str) and example.endswith("Z"):
        return isinstance(answer, str) and len(answer) == len(example) and answer[-5] == "."
    return type(example) is type(answer)


async def test_the_shape_of_the_earlier_proxy(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    async with (
        proxied(alpaca, tmp_path, feeds=["iex", "indicative"]) as (app, http),
        consumer(app.addresses()[0] + "/v2/iex") as stocks,
        consumer(app.addresses()[0] + "/v1beta1/indicative", "msgpack") as options,
    ):
        await stocks.subscribe(trades=["AAPL", "MSFT"], quotes=["AAPL"])
        await options.subscribe(trades=["*"])
        await buy(alpaca)
        last = [handler.upstream for handler in app.handlers.values()]
        last.append(app.desk.feeds["paper"].upstream)
        await eventually(lambda: all(status.last_message_ns for status in last), 15, "messages")
        answer = await http.get("/health")
        assert answer.status_code == 200 and answer.headers["Cache-Control"] == "no-store"
        report = answer.json()
        assert same_form(SEED_SHAPE, report), report
        assert (report["status"], report["reasons"]) == ("healthy", [])
        assert report["subscriptions"] == {"stocks": 3, "options": 1}
        assert report["consumers"] == 2


async def red(http: httpx.AsyncClient) -> dict[str, Any]:
    """Both probes are red now; give what is waited for, by subject."""
    ready, health = await http.get("/readyz"), await http.get("/health")
    assert (ready.status_code, health.status_code) == (503, 503), (ready.text, health.text)
    assert ready.json()["ready"] is False and health.json()["status"] == "unhealthy"
    assert health.json()["upstream"]["stocks"]["connected"] is False
    assert health.json()["upstream"]["trading"]["connected"] is False
    assert (await http.get("/healthz")).status_code == 200
    return {" ".join(text.split()[:2]): text for text in ready.json()["waiting_for"]}


async def test_red_as_soon_as_it_is_noticed_and_green_again(tmp_path: Path) -> None:
    """The simulator is killed, and comes back at the same address."""
    places = ("--port", str(free_port()), "--control-port", str(free_port()))
    async with contextlib.AsyncExitStack() as stack:
        alpaca = stack.enter_context(simulator(*places))
        app, http = await stack.enter_async_context(proxied(alpaca, tmp_path))
        assert (await http.get("/readyz")).status_code == 200
        alpaca.process.kill()
        feed, account = app.handlers["iex"], app.desk.feeds["paper"]
        away = {UpstreamState.RECONNECTING, UpstreamState.CONNECTING}
        await eventually(
            lambda: {feed.upstream.state, account.upstream.state} <= away, 5, "it is noticed"
        )
        noticed = time.monotonic()
        waiting = await red(http)
        assert time.monotonic() - noticed < 1
        assert waiting.keys() == {"feed iex", "account paper"}
        assert "is away since 20" in waiting["feed iex"]
        stack.enter_context(simulator(*places))
        await eventually(lambda: all_connected(app), 20, "connected again")
        assert (await http.get("/readyz")).status_code == 200
        assert (await http.get("/health")).json()["status"] == "healthy"
        status = (await http.get("/status")).json()
        assert status["feeds"]["iex"]["interruptions"] >= 1
        assert status["accounts"]["paper"]["away_since"] is None


async def test_a_mute_connection_is_red_before_its_close_has_ended(tmp_path: Path) -> None:
    """A stopped process keeps its sockets: only the missing pong tells, and the close waits."""
    with simulator() as alpaca:
        async with proxied(alpaca, tmp_path) as (app, http):
            os.kill(alpaca.process.pid, signal.SIGSTOP)
            try:
                feed, account = app.handlers["iex"].upstream, app.desk.feeds["paper"].upstream
                await eventually(
                    lambda: (
                        feed.state is not UpstreamState.CONNECTED
                        and account.state is not UpstreamState.CONNECTED
                    ),
                    5,
                    "the missing pong is noticed",
                )
                assert feed.open_connections == 1, "its socket is still closing"
                await red(http)
            finally:
                os.kill(alpaca.process.pid, signal.SIGCONT)


async def test_a_feed_on_demand_counts_while_it_has_consumers(
    alpaca: SimulatorProcess, tmp_path: Path
) -> None:
    async with proxied(alpaca, tmp_path, feeds=[], orders="off") as (app, http):
        assert (await http.get("/readyz")).json() == {
            "ready": True,
            "waiting_for": [],
            "journal": {"works": True, "why": "", "since": None},
            "accounts": (await http.get("/readyz")).json()["accounts"],
            "feeds": {},
        }
        async with consumer(app.addresses()[0] + "/v2/iex"):
            assert (await http.get("/readyz")).json()["feeds"]["iex"]["ready"] is True
            await alpaca.fault("refuse_upgrade", feed="iex", code=503, times=10_000)
            await alpaca.fault("drop", feed="iex")
            upstream = app.handlers["iex"].upstream
            await eventually(lambda: upstream.state is not UpstreamState.CONNECTED)
            answer = await http.get("/readyz")
            assert answer.status_code == 503 and "feed iex" in answer.json()["waiting_for"][0]
            assert (await http.get("/health")).status_code == 503
        await eventually(lambda: not app.handlers["iex"].consumers)
        assert (await http.get("/readyz")).status_code == 200
        assert (await http.get("/health")).json()["status"] == "healthy"


async def test_answers_are_what_the_document_says(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    """Green, degraded and red, with consumers of every kind; and the errors."""
    async with proxied(alpaca, tmp_path, feeds=["iex", "news"]) as (app, http):
        document = (await http.get("/openapi.json")).json()
        assert "HTTPValidationError" not in document["components"]["schemas"], "not our form"

        async def expect(path: str, status: int, query: str = "") -> Any:
            answer = await http.get(path + query)
            assert answer.status_code == status, answer.text
            found = differences(document, path, status, answer.json())
            assert not found, found
            return answer.json()

        async with consumer(app.addresses()[0] + "/v2/iex") as reader:
            await reader.subscribe(trades=["AAPL"], quotes=["*"])
            async with http.stream("GET", "/v2/events/trades", headers=SHOWN):
                for path in (*PROBES, "/status"):
                    await expect(path, 200)
        await expect("/readyz", 200, "?account=paper")
        await expect("/readyz", 404, "?account=nobody")
        await expect("/status", 422, "?consumers=many")
        await expect("/status", 422, "?consumers=-1")
        await expect("/v2/events/trades", 422, "?since=yesterday")
        await alpaca.fault("refuse_upgrade", feed="iex", code=503, times=10_000)
        await alpaca.fault("drop", feed="iex")
        upstream = app.handlers["iex"].upstream
        await eventually(lambda: upstream.state is not UpstreamState.CONNECTED)
        assert (await expect("/health", 200))["status"] == "degraded"
        app.desk._journal_trouble(JournalError("the disk is full: make room"))
        await expect("/health", 503)
        await expect("/readyz", 503)
        assert "disk is full" in (await expect("/status", 200))["journal"]["why"]


async def test_pages_methods_and_names(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    async with proxied(alpaca, tmp_path) as (_, http):
        page = await http.get("/docs")
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "GET /status" in page.text and 'id="HealthReport"' in page.text
        assert "<script" not in page.text
        for probe in PROBES:
            answer = await http.head(probe)
            assert (answer.status_code, answer.content) == (200, b"")
        nowhere = await http.get("/nowhere")
        assert (nowhere.status_code, nowhere.json()["code"]) == (404, 40410000)
        wrong = await http.post("/health")
        assert (wrong.status_code, wrong.json()["code"]) == (405, 40510000)
        assert "GET" in wrong.headers["Allow"]
        for path in (*PROBES, "/status", "/docs", "/openapi.json"):
            foreign = await http.get(path, headers={"Host": "rebound.example"})
            assert foreign.status_code == 421, path
            crossed = await http.get(path, headers={"Origin": "https://evil.example"})
            assert crossed.status_code == 403, path


async def test_probes_need_no_token_and_status_does(
    alpaca: SimulatorProcess, tmp_path: Path
) -> None:
    async with proxied(alpaca, tmp_path, access_tokens=[TOKEN]) as (app, http):
        for probe in PROBES:
            assert (await http.get(probe)).status_code == 200
        for headers in ({}, SHOWN | {"APCA-API-SECRET-KEY": "another-long-secret"}):
            refused = await http.get("/status", headers=headers)
            assert refused.status_code == 401 and "feeds" not in refused.text
        assert app.events.counts.authentications_failed == 1, "who shows nothing tries nothing"
        app.desk._journal_trouble(JournalError("/a/telling/path is full"))
        for probe in ("/readyz", "/health"):
            stranger, friend = await http.get(probe), await http.get(probe, headers=SHOWN)
            assert (stranger.status_code, friend.status_code) == (503, 503)
            assert "telling" not in stranger.text and "show an access token" in stranger.text
            assert "telling" in friend.text
        wrong = {"Authorization": "Bearer a-guess-at-a-secret"}
        for path in (*PROBES[1:], "/v2/events/trades"):
            await http.get(path, headers=wrong)
        assert app.events.counts.authentications_failed == 4, "a guess counts wherever it is tried"
        status = await http.get("/status", headers=SHOWN)
        assert status.status_code == 200
        for secret in (TOKEN["secret"], TOKEN["key"], QUICK["secret"], QUICK["key"]):
            assert secret not in status.text


async def test_consumers_of_every_protocol_are_listed(
    alpaca: SimulatorProcess, tmp_path: Path
) -> None:
    async with (
        proxied(alpaca, tmp_path) as (app, http),
        consumer(app.addresses()[0] + "/v2/iex") as reader,
        consumer(app.addresses()[0] + "/paper"),
        http.stream("GET", "/v2/events/trades"),
    ):
        await reader.subscribe(trades=[f"S{number}" for number in range(30)], bars=["*"])
        await eventually(lambda: app.outlet.consumer_count() == 2, 10, "both are served")
        report = (await http.get("/status")).json()
        assert report["consumers"]["total"] == 3
        market, orders, events = report["consumers"]["listed"]
        assert (market["protocol"], market["feed"], market["account"]) == ("websocket", "iex", None)
        assert (market["topics"], market["first_topics"][0]) == (31, "trades:S0")
        assert len(market["first_topics"]) == 10
        assert (orders["protocol"], orders["feed"], orders["account"]) == (
            "websocket",
            None,
            "paper",
        )
        assert (events["protocol"], events["account"]) == ("sse", "paper")
        for row in (market, orders, events):
            assert row["address"].startswith("127.0.0.1:") and row["token"] == "anybody"
            assert (row["outbox_bytes"], row["lag_ms"], row["dropped_messages"]) == (0, 0, 0)
        assert report["feeds"]["iex"]["consumers"] == 1
        assert report["feeds"]["iex"]["subscriptions"] == {"trades": 30, "bars": 1}
        assert report["accounts"]["paper"]["consumers"] == 2
        few = (await http.get("/status?consumers=1")).json()["consumers"]
        assert (few["total"], len(few["listed"])) == (3, 1)


async def test_a_consumer_that_stops_reading_shows(
    alpaca: SimulatorProcess, tmp_path: Path
) -> None:
    """Its outbox and its lag grow; those of one that reads don't."""
    async with (
        proxied(alpaca, tmp_path, outbox_bytes=64 << 20) as (app, http),
        consumer(app.addresses()[0] + "/v2/iex") as fast,
    ):
        host, port = app.addresses()[0].removeprefix("ws://").split(":")
        with socket.socket() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            raw.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(raw, (host, int(port)))
            shown = "".join(f"{name}: any\r\n" for name in SHOWN)
            await loop.sock_sendall(
                raw,
                f"GET /v2/iex HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{shown}\r\n".encode(),
            )
            await eventually(lambda: app.outlet.consumer_count() == 2, 10, "admitted")
            text = json.dumps({"action": "subscribe", "quotes": ["*"], "trades": ["*"]}).encode()
            await loop.sock_sendall(raw, bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
            await fast.subscribe(quotes=["*"], trades=["*"])
            await eventually(lambda: len(app.handlers["iex"].demand.wanted()) == 2)
            await alpaca.order("/rate", feed="iex", rate=0)
            outboxes = [connection.outbox for connection in app.outlet.connections]
            await eventually(lambda: any(outbox.statistics().queued_bytes for outbox in outboxes))
            await alpaca.order("/rate", feed="iex", rate=10)

            async def rows() -> list[dict[str, Any]]:
                found: list[dict[str, Any]] = (await http.get("/status")).json()["consumers"][
                    "listed"
                ]
                return found

            async with asyncio.timeout(20):
                reading, stalled = await rows()
                while stalled["lag_ms"] < 1000 or reading["lag_ms"] > 0:
                    await asyncio.sleep(0.05)
                    reading, stalled = await rows()
            assert stalled["outbox_bytes"] > 0 and reading["outbox_bytes"] == 0
            assert stalled["messages"] < reading["messages"]
