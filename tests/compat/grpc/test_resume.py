"""Market data over gRPC, away and back: exactly the rest, or why not; and what was missed, marked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from harness.grpc_calls import grpc_client
from harness.proxies import running_app
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb


@pytest.fixture(scope="module")
def alpaca() -> Iterator[SimulatorProcess]:
    with simulator("--rate", "1500", "--symbols", "20", "--slot-seconds", "0") as running:
        yield running


async def test_who_was_away_gets_exactly_the_rest(alpaca: SimulatorProcess) -> None:
    """The sequences behind the last one, from the ring and then live, none missing or twice."""
    async with (
        running_app(alpaca.streams) as app,
        grpc_client(app.grpc_address) as client,
        client.stream("StreamQuotes", symbols=["AAPL", "MSFT"]) as stayed,
    ):
        await stayed.until(lambda: len(stayed.items) > 20)
        had: list[int] = []
        resume = ""
        for _ in range(3):
            before = len(stayed.items)
            wish = {"symbols": ["AAPL", "MSFT"], "resume": resume, "notices": True}
            async with client.stream("StreamQuotes", **wish) as call:
                await call.until(lambda c=call: len(c.items) > 30)  # type: ignore[misc]
                had += [item.sequence for item in call.items]
                resume = f"{call.items[-1].epoch}:{had[-1]}"
                assert call.notices[0].kind == pb.NOTICE_KIND_POSITION
            await stayed.until(lambda n=before: len(stayed.items) > n + 60)  # type: ignore[misc]
        await stayed.until(lambda: stayed.items[-1].sequence >= had[-1])
        whole = [item.sequence for item in stayed.items]
        assert had == whole[whole.index(had[0]) : whole.index(had[-1]) + 1]


@pytest.mark.parametrize(
    ("resume", "code", "reason"),
    [
        ("nonsense", "INVALID_ARGUMENT", "NO_POSITION"),
        ("feedc0ffee00:1", "OUT_OF_RANGE", "POSITION_LOST"),
        ("{epoch}:99999999", "OUT_OF_RANGE", "POSITION_LOST"),
        ("{epoch}:0", "OUT_OF_RANGE", "POSITION_LOST"),
    ],
)
async def test_a_position_that_cannot_be_honoured_ends_the_call(
    alpaca: SimulatorProcess, resume: str, code: str, reason: str
) -> None:
    async with (
        running_app(alpaca.streams, ring_bytes=100_000) as app,
        grpc_client(app.grpc_address) as client,
        client.stream("StreamQuotes", symbols=["AAPL"]) as call,
    ):
        await call.until(lambda: len(call.items) > 0)
        (handler,) = app.handlers.values()
        await eventually(lambda: handler.ring.first > 1, 20, "the first are forgotten")
        position = resume.format(epoch=handler.epoch)
        async with client.stream("StreamQuotes", symbols=["AAPL"], resume=position) as again:
            refusal = await again.refused()
    assert (refusal.code, refusal.reason) == (code, reason)


async def test_what_was_missed_is_marked(alpaca: SimulatorProcess) -> None:
    """For who asked for notices; the others get none of it, since it would be out of its time."""
    async with (
        running_app(alpaca.streams, data_api_url=alpaca.control) as app,
        grpc_client(app.grpc_address) as client,
        client.stream("StreamTrades", symbols=["AAPL", "MSFT"], notices=True) as told,
        client.stream("StreamTrades", symbols=["AAPL", "MSFT"]) as silent,
    ):
        await told.until(lambda: len(told.items) > 10)
        await alpaca.fault("refuse_upgrade", feed="iex", code=503, times=1000)
        await alpaca.fault("drop", feed="iex")
        (handler,) = app.handlers.values()
        seen = handler.upstream.attempts
        await eventually(lambda: handler.upstream.attempts > seen + 4, 20, "away for a while")
        await asyncio.to_thread(httpx.delete, alpaca.control + "/faults", trust_env=False)
        kinds = pb.NOTICE_KIND_GAP, pb.NOTICE_KIND_RESUMED, pb.NOTICE_KIND_BACK_FILLED
        await told.until(lambda: len(told.notices) >= 4, "it is filled")
        gap, resumed, filled = told.notices[1:4]
        assert (gap.kind, resumed.kind, filled.kind) == kinds
        assert gap.gap == resumed.gap == filled.gap == 1
        assert filled.filled and not gap.filled and list(filled.symbols) == ["*"]
        late = [item for item in told.items if item.back_filled]
        assert late and {item.trade.symbol for item in late} <= {"AAPL", "MSFT"}
        known = {(i.trade.symbol, i.trade.exchange, i.trade.trade_id) for i in told.items}
        assert len(known) == len(told.items)
        assert not any(item.back_filled for item in silent.items)
