"""What a proxy tells of itself over gRPC: health, its own contract, and how each feed stands."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from grpclib.health.v1.health_pb2 import HealthCheckResponse

from harness.grpc_calls import SERVICE, GrpcClient, StreamingCall, grpc_client
from harness.order_ledger import addresses
from harness.proxies import running_app
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually
from stream_proxy import __version__
from stream_proxy.app import App
from stream_proxy.feed.upstream_status import UpstreamState
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb

GRPCURL = Path(sys.executable).with_name("grpcurl")


@pytest.fixture(scope="module")
def alpaca() -> Iterator[SimulatorProcess]:
    with simulator("--slot-seconds", "0") as running:
        yield running


@contextlib.asynccontextmanager
async def proxied(
    alpaca: SimulatorProcess, **settings: Any
) -> AsyncIterator[tuple[App, GrpcClient]]:
    settings = addresses(alpaca) | {"feeds": ["iex", "indicative"], "orders": "on"} | settings
    async with (
        running_app(alpaca.streams, feed="iex", **settings) as app,
        grpc_client(app.grpc_address) as client,
    ):
        await eventually(
            lambda: (
                all(h.upstream.state is UpstreamState.CONNECTED for h in app.handlers.values())
                and app.desk.feeds["paper"].ready
            ),
            15,
            "everything is connected",
        )
        yield app, client


def said(call: StreamingCall) -> list[str]:
    return [HealthCheckResponse.ServingStatus.Name(r.status) for r in call.responses]


async def test_health_of_everything_that_has_a_name(alpaca: SimulatorProcess) -> None:
    async with proxied(alpaca) as (_, client):
        for name in ("", SERVICE, "iex", "indicative", "paper"):
            async with client.watch(name) as watched:
                await eventually(lambda w=watched: said(w) == ["SERVING"], 10, name)  # type: ignore[misc]
            assert await client.healthy(name) == "SERVING", name
        for name in ("live", "sip", "nothing"):
            assert await client.healthy(name) == "NOT_FOUND", name
            async with client.watch(name) as watched:
                await eventually(lambda w=watched: said(w) == ["SERVICE_UNKNOWN"], 10, name)  # type: ignore[misc]


async def test_health_follows_the_feed(alpaca: SimulatorProcess) -> None:
    """A feed that goes makes itself and the whole red, not its neighbours; and green again."""
    async with proxied(alpaca) as (_, client), contextlib.AsyncExitStack() as stack:
        names = ("", "iex", "indicative")
        calls = {name: await stack.enter_async_context(client.watch(name)) for name in names}
        await eventually(lambda: all(said(call) == ["SERVING"] for call in calls.values()))
        await alpaca.fault("refuse_upgrade", feed="iex", code=503, times=6)
        await alpaca.fault("drop", feed="iex")
        there_and_back = ["SERVING", "NOT_SERVING", "SERVING"]
        for name in ("", "iex"):
            await eventually(lambda n=name: said(calls[n]) == there_and_back, 10, name)  # type: ignore[misc]
        assert said(calls["indicative"]) == ["SERVING"]


async def test_the_connection_status_is_true(alpaca: SimulatorProcess) -> None:
    async def told(client: GrpcClient) -> tuple[pb.ConnectionStatus, dict[str, pb.FeedStatus]]:
        status = (await client.ask("GetConnectionStatus")).status
        return status, {feed.name: feed for feed in status.feeds}

    async with proxied(alpaca) as (app, client):
        quotes = client.stream("StreamQuotes", symbols=["AAPL", "MSFT"])
        orders = client.stream("StreamOrderUpdates")
        async with quotes, orders:
            await quotes.until(lambda: quotes.items)
            await orders.begun()
            status, feeds = await told(client)
            assert (status.version, status.client_count) == (__version__, 2)
            assert status.environment == pb.ENVIRONMENT_PAPER
            assert 0 <= status.current_time.ToSeconds() - status.started_at.ToSeconds() < 60
            assert {name: feed.feed_type for name, feed in feeds.items()} == {
                "iex": pb.FEED_TYPE_IEX,
                "indicative": pb.FEED_TYPE_INDICATIVE,
                "paper": pb.FEED_TYPE_TRADE_UPDATES,
            }
            assert {feed.state for feed in feeds.values()} == {pb.CONNECTION_STATE_CONNECTED}
            iex = feeds["iex"]
            assert (iex.subscription_count, iex.reconnect_attempts) == (2, 0)
            assert iex.epoch == quotes.items[0].epoch
            assert feeds["indicative"].messages_received == 0
            assert not any(feed.HasField("error_message") for feed in feeds.values())
            await alpaca.order("/hold")
            sent = int(alpaca.connections("iex")[-1]["messages"])
            await eventually(lambda: len(quotes.items) == sent, 10, "all of it")
            upstream = app.handlers["iex"].upstream
            await eventually(lambda: upstream.last_message_ns, 5, "it looks once a second")
            iex = (await told(client))[1]["iex"]
            assert (iex.messages_received, iex.sequence) == (sent, quotes.items[-1].sequence)
            assert iex.last_message_at.ToNanoseconds() > iex.last_connected_at.ToNanoseconds() > 0

            await alpaca.fault("refuse_upgrade", feed="iex", code=503, times=6)
            await alpaca.fault("drop", feed="iex")
            await eventually(lambda: upstream.attempts > 2, 10, "attempts")
            # While it tries again, the sentence is about that, for a moment.
            for _ in range(1000):
                iex = (await told(client))[1]["iex"]
                if "503" in iex.error_message:
                    break
            assert iex.state == pb.CONNECTION_STATE_RECONNECTING
            assert iex.reconnect_attempts >= 2 and "503" in iex.error_message
            await alpaca.order("/start")
            known = len(quotes.items)
            await quotes.until(lambda: len(quotes.items) > known, "the feed again")
            iex = (await told(client))[1]["iex"]
            assert iex.state == pb.CONNECTION_STATE_CONNECTED
            assert not iex.HasField("error_message")
        await eventually(lambda: app.grpc.outlet.consumer_count() == 0)
        assert (await told(client))[0].client_count == 0


async def test_reflection_tells_the_contract(alpaca: SimulatorProcess) -> None:
    async with proxied(alpaca) as (app, _):

        async def grpcurl(*arguments: str) -> str:
            command = [str(GRPCURL), "-plaintext", *arguments]
            done = await asyncio.to_thread(
                subprocess.run, command, capture_output=True, text=True, timeout=20, check=False
            )
            assert done.returncode == 0, done.stderr
            return str(done.stdout)

        address = app.grpc_address
        services = (await grpcurl(address, "list")).split()
        assert {SERVICE, "grpc.health.v1.Health"} <= set(services)
        methods = (await grpcurl(address, "list", SERVICE)).split()
        service = pb.DESCRIPTOR.services_by_name["StreamProxyService"]
        assert methods == sorted(method.full_name for method in service.methods)
        for name in ("StreamQuotesRequest", "StockQuote", "OrderDetails", "Notice"):
            described = await grpcurl(address, "describe", f"cream.v1.{name}")
            for field in pb.DESCRIPTOR.message_types_by_name[name].fields:
                assert f" {field.name} = {field.number};" in described, described
        asked = ("-d", '{"service": "paper"}', address, "grpc.health.v1.Health/Check")
        assert json.loads(await grpcurl(*asked)) == {"status": "SERVING"}
