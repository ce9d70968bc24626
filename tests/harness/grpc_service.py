"""A proxy with its gRPC service, and calls of it as a client makes them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc.status_pb2 import Status
from grpc.aio import AioRpcError, Channel, UnaryStreamCall

from harness.proxies import running_app
from harness.raw_grpc import SERVICE, details_of
from harness.simulated import SimulatorProcess
from harness.waiting import eventually
from stream_proxy.app import App
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb

TRADES = pb.StreamTradesRequest(symbols=["AAPL"], feed="sip")
STATUS = pb.GetConnectionStatusRequest()


@contextlib.asynccontextmanager
async def proxy(alpaca: SimulatorProcess, **settings: Any) -> AsyncIterator[App]:
    async with running_app(alpaca.streams, feeds="sip", **settings) as app:
        yield app


@contextlib.asynccontextmanager
async def channel(app: App, **options: Any) -> AsyncIterator[Channel]:
    async with grpc.aio.insecure_channel(app.grpc_address, **options) as made:
        yield made


def trades(channel: Channel, **options: Any) -> UnaryStreamCall[Any, Any]:
    method = channel.unary_stream(
        f"{SERVICE}/StreamTrades",
        request_serializer=pb.StreamTradesRequest.SerializeToString,
        response_deserializer=pb.StreamTradesResponse.FromString,
    )
    call: UnaryStreamCall[Any, Any] = method(TRADES, **options)
    return call


async def status(channel: Channel, **options: Any) -> pb.ConnectionStatus:
    method = channel.unary_unary(
        f"{SERVICE}/GetConnectionStatus",
        request_serializer=pb.GetConnectionStatusRequest.SerializeToString,
        response_deserializer=pb.GetConnectionStatusResponse.FromString,
    )
    answer = await method(STATUS, timeout=10, **options)
    return answer.status  # type: ignore[no-any-return]


def reason(error: AioRpcError) -> str:
    """The reason for programs, from the status details."""
    details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    return details_of(Status.FromString(details))[0].reason


@contextlib.asynccontextmanager
async def undisturbed(app: App) -> AsyncIterator[None]:
    """Somebody else's stream flows on, whatever happens in the block."""
    async with channel(app) as mine:
        call = trades(mine)
        before = await call.read()
        yield
        after = await call.read()
        assert before.sequence < after.sequence
        call.cancel()


async def nothing_left(app: App) -> None:
    """Nobody is served, nobody is listed, and nothing is asked of upstream."""
    handler = app.handlers["sip"]
    await eventually(lambda: not app.grpc.outlet.calls, 10, "no calls")
    await eventually(
        lambda: not handler.consumers and not handler.hub.consumers(), 10, "no consumer"
    )
    await eventually(lambda: not handler.demand.wanted(), 10, "no demand")
    peers = app.grpc._server.peers  # type: ignore[union-attr]
    await eventually(lambda: not any(peer.processor.streams for peer in peers), 5, "no streams")


def assert_nothing_unforeseen(caplog: pytest.LogCaptureFixture) -> None:
    """No caller brought the server to an error that nobody foresaw."""
    told = [r for r in caplog.get_records("call") if r.levelno >= logging.ERROR]
    assert not [f"{r.name}: {r.getMessage()} {r.exc_text or ''}" for r in told]
