"""gRPC callers that take too much, send rubbish, or vanish: nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc.aio import AioRpcError, UnaryStreamCall
from h2.errors import ErrorCodes
from structlog.testing import capture_logs

from harness.grpc_service import (
    STATUS,
    TRADES,
    assert_nothing_unforeseen,
    channel,
    nothing_left,
    proxy,
    reason,
    status,
    trades,
    undisturbed,
)
from harness.raw_grpc import SERVICE, RawGrpc, raw_grpc
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually
from stream_proxy.app import App
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb
from stream_proxy.wire.grpc.framing import grpc_message

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def alpaca() -> Iterator[SimulatorProcess]:
    with simulator("--rate", "2000", "--symbols", "20") as process:
        yield process


@pytest.fixture(autouse=True)
def _nothing_unforeseen(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No caller may bring the server to an error that nobody foresaw."""
    yield
    assert_nothing_unforeseen(caplog)


async def read_on(call: UnaryStreamCall[Any, Any]) -> None:
    while True:
        await call.read()


# How many, how much


async def test_calls_beyond_the_limit_wait_for_their_turn(alpaca: SimulatorProcess) -> None:
    """The limit is told in SETTINGS, and clients keep to it."""
    async with proxy(alpaca, grpc_max_calls=3) as app, channel(app) as mine:
        calls = [trades(mine) for _ in range(3)]
        for call in calls:
            await call.read()
        waiting = asyncio.create_task(status(mine))
        async with raw_grpc(app.grpc_address) as other:  # another connection has its own
            stream_id = await other.call("GetConnectionStatus", STATUS)
            assert (await other.answered(stream_id)).status == 0
            assert other.h2.remote_settings.max_concurrent_streams == 3
        assert not waiting.done()
        calls[0].cancel()
        assert (await waiting).client_count == 2


async def test_a_thousand_calls_fit_on_one_connection(alpaca: SimulatorProcess) -> None:
    async with proxy(alpaca) as app, raw_grpc(app.grpc_address) as client:
        body = grpc_message(TRADES.SerializeToString())
        ids = [client.ask("StreamTrades", body) for _ in range(300)]
        await client.send()
        for stream_id in ids:
            assert (await client.begun(stream_id)).status is None
        assert len(app.grpc.outlet.calls) == 300


async def test_who_ignores_the_limit_loses_the_connection(alpaca: SimulatorProcess) -> None:
    async with proxy(alpaca, grpc_max_calls=3) as app, undisturbed(app):
        async with raw_grpc(app.grpc_address) as client:
            for _ in range(4):
                client.ask("StreamTrades", grpc_message(TRADES.SerializeToString()))
            await client.send()
            await client.until_closed()
        await eventually(lambda: len(app.grpc.outlet.calls) == 1)


async def test_all_calls_together_are_limited(alpaca: SimulatorProcess) -> None:
    async with proxy(alpaca, max_connections=2) as app, channel(app) as mine:
        calls = [trades(mine) for _ in range(2)]
        for call in calls:
            await call.read()
        with pytest.raises(AioRpcError) as refused:
            await trades(mine).read()
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert reason(refused.value) == "TOO_MANY_CALLS"
        calls[0].cancel()
        await eventually(lambda: len(app.grpc.outlet.calls) == 1)
        assert await trades(mine).read()


async def test_newcomers_are_let_in_one_after_the_other(alpaca: SimulatorProcess) -> None:
    """Who comes back with all the others waits; who asks a single question doesn't."""
    newcomers, per_second = 20, 10
    async with (
        proxy(alpaca, max_connections_per_second=per_second) as app,
        raw_grpc(app.grpc_address) as client,
    ):
        # A WebSocket stands in the same line.
        assert app.outlet.turnstile is app.grpc.outlet.turnstile
        loop = asyncio.get_running_loop()
        began = loop.time()
        body = grpc_message(TRADES.SerializeToString())
        ids = [client.ask("StreamTrades", body) for _ in range(newcomers)]
        await client.send()
        stream_id = await client.call("GetConnectionStatus", STATUS)
        assert (await client.answered(stream_id)).status == 0
        assert len(app.grpc.outlet.calls) < newcomers
        for stream_id in ids:
            assert (await client.begun(stream_id)).status is None
        assert loop.time() - began > (newcomers - per_second * 0.1 - 1) / per_second
        assert len(app.grpc.outlet.calls) == newcomers


async def test_newcomers_that_would_wait_for_too_long_are_told(alpaca: SimulatorProcess) -> None:
    async with proxy(alpaca, max_connections_per_second=1) as app, channel(app) as mine:
        calls = [trades(mine) for _ in range(12)]
        begun = [asyncio.ensure_future(call.initial_metadata()) for call in calls]
        await asyncio.wait(begun)
        refused = []
        for call in calls:
            if await call.initial_metadata() is None or call.done():
                with pytest.raises(AioRpcError) as told:
                    await call.read()
                refused.append(told.value)
        assert 5 <= len(refused) < len(calls)
        assert {error.code() for error in refused} == {grpc.StatusCode.UNAVAILABLE}
        assert {reason(error) for error in refused} == {"TOO_MANY_NEWCOMERS"}
        assert "STREAM_PROXY_MAX_CONNECTIONS_PER_SECOND" in str(refused[0].details())
        assert len(app.grpc.outlet.calls) == len(calls) - len(refused)


async def test_connections_are_limited_and_said_to_be(alpaca: SimulatorProcess) -> None:
    """Those that are too many end at once: all are counted, the first of a minute is logged."""
    async with proxy(alpaca, max_connections=2) as app, undisturbed(app):
        async with raw_grpc(app.grpc_address) as second:
            with capture_logs() as lines:
                await one_too_many(app, second)
        assert app.grpc.outlet.counts.rejected == 3
    (told,) = [line for line in lines if line["event"] == "connections.full"]
    assert told["protocol"] == "grpc" and "STREAM_PROXY_MAX_CONNECTIONS" in told["cure"]


async def one_too_many(app: App, second: RawGrpc) -> None:
    """Three times, while the second is served."""
    await second.answered(await second.call("GetConnectionStatus", STATUS))
    host, port = app.grpc_address.rsplit(":", 1)
    for _ in range(3):
        reader, writer = await asyncio.open_connection(host, int(port))
        with contextlib.suppress(ConnectionError):
            assert not await reader.read()
        writer.close()
    await second.answered(await second.call("GetConnectionStatus", STATUS))


async def test_who_leaves_before_it_is_served_was_not_refused(alpaca: SimulatorProcess) -> None:
    async with proxy(alpaca) as app, raw_grpc(app.grpc_address) as client:
        stream_id = client.ask("StreamTrades")
        await client.send()
        peers = app.grpc._server.peers  # type: ignore[union-attr]
        await eventually(lambda: any(peer.processor.streams for peer in peers), 5, "it waits")
        client.h2.reset_stream(stream_id)
        await client.send()
        await nothing_left(app)
        assert app.grpc.outlet.counts.rejected == 0
        bad = await client.call("StreamTrades", pb.StreamTradesRequest(symbols=["nonsense"]))
        assert (await client.answered(bad)).status == 3
        assert (app.grpc.outlet.counts.rejected, app.grpc.outlet.counts.bad_requests) == (1, 1)


async def test_watchers_of_health_are_limited(alpaca: SimulatorProcess) -> None:
    """They need no token, so nobody's own limit holds for them."""
    watch = "/grpc.health.v1.Health/Watch"
    async with proxy(alpaca, grpc_max_calls=1100) as app, raw_grpc(app.grpc_address) as client:
        ids = [client.ask(watch, grpc_message(b"")) for _ in range(1001)]
        await client.send()
        for stream_id in ids[:1000]:
            assert (await client.begun(stream_id)).status is None
        answer = await client.answered(ids[1000])
        assert (answer.status, answer.details()[0].reason) == (8, "TOO_MANY_WATCHERS")
        client.h2.reset_stream(ids[0])
        again = client.ask(watch, grpc_message(b""))
        await client.send()
        assert (await client.begun(again)).status is None


async def test_requests_that_cannot_be_read_get_an_answer(alpaca: SimulatorProcess) -> None:
    """Each with its own reason, and no trace in the log."""
    message = TRADES.SerializeToString()
    large = pb.StreamTradesRequest(symbols=[f"S{n}" for n in range(400)]).SerializeToString()
    bodies = {
        "NO_REQUEST": (b"", 3),
        "DAMAGED_REQUEST": (grpc_message(b"\xff\xff\xff"), 3),
        "COMPRESSED": (b"\x01" + grpc_message(message)[1:], 12),
        "REQUEST_TOO_LARGE": (grpc_message(large), 8),
    }
    async with (
        proxy(alpaca, max_message_bytes=1024) as app,
        undisturbed(app),
        raw_grpc(app.grpc_address) as client,
    ):
        for wanted, (body, code) in bodies.items():
            stream_id = client.ask("StreamTrades", body)
            await client.send()
            answer = await client.answered(stream_id)
            assert (answer.status, answer.details()[0].reason) == (code, wanted)
        for cut in (3, 8):
            stream_id = client.ask("StreamTrades", grpc_message(message)[:cut])
            await client.send()
            answer = await client.answered(stream_id)
            assert (answer.status, answer.text) == (3, "the request ends in its middle")


async def test_a_request_of_many_empty_frames_is_read(alpaca: SimulatorProcess) -> None:
    async with proxy(alpaca) as app, raw_grpc(app.grpc_address) as client:
        stream_id = client.ask("GetConnectionStatus")
        for part in (b"", b"\0", b"", b"\0\0\0\0", b""):
            client.h2.send_data(stream_id, part)
            await client.send()
        client.h2.end_stream(stream_id)
        await client.send()
        assert (await client.answered(stream_id)).status == 0


async def test_a_request_that_never_comes_is_not_waited_for(alpaca: SimulatorProcess) -> None:
    async with proxy(alpaca, consumer_handshake_seconds=0.3) as app:
        async with raw_grpc(app.grpc_address) as client:
            for method in ("StreamTrades", "/grpc.health.v1.Health/Watch"):
                stream_id = client.ask(method)
                await client.send()
                answer = await client.answered(stream_id)
                assert answer.status == 4
                assert answer.details()[0].reason == "LATE_REQUEST"
        await nothing_left(app)


async def test_who_sends_on_and_on_is_reset(alpaca: SimulatorProcess) -> None:
    async with proxy(alpaca, max_message_bytes=1024) as app, raw_grpc(app.grpc_address) as client:
        stream_id = client.ask("StreamTrades", grpc_message(TRADES.SerializeToString()), end=False)
        for _ in range(5):
            client.h2.send_data(stream_id, bytes(1024))
        client.h2.reset_stream(stream_id)  # in the same breath
        other = client.ask("StreamTrades", grpc_message(TRADES.SerializeToString()), end=False)
        client.h2.send_data(other, bytes(5000))
        await client.send()
        assert (await client.answered(other)).reset == ErrorCodes.ENHANCE_YOUR_CALM
        await nothing_left(app)


# Rubbish


async def test_odd_metadata_gets_an_answer(alpaca: SimulatorProcess) -> None:
    async with proxy(alpaca) as app, undisturbed(app), raw_grpc(app.grpc_address) as client:
        odd = {b"x-name": b"\xff\xfe", b"x-some-bin": b"!!!", b"grpc-timeout": b"soon"}
        for name, value in odd.items():
            stream_id = await client.call("GetConnectionStatus", STATUS, ((name, value),))
            answer = await client.answered(stream_id)
            assert answer.over, name
        stream_id = await client.call("NoSuchMethod", STATUS)
        assert (await client.answered(stream_id)).status == 12


async def test_other_protocols_are_shown_the_door(alpaca: SimulatorProcess) -> None:
    rubbish = random.Random(7).randbytes(3000)
    async with proxy(alpaca) as app, undisturbed(app):
        host, port = app.grpc_address.rsplit(":", 1)
        hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
        for said in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", hello, rubbish):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(said)
            async with asyncio.timeout(5):
                with contextlib.suppress(ConnectionError):
                    while await reader.read(4096):
                        pass
            writer.close()
        await eventually(lambda: len(app.grpc._server.peers) == 1)  # type: ignore[union-attr]


async def test_no_frame_brings_the_server_down(alpaca: SimulatorProcess) -> None:
    """Frames of every type with any flags and contents, behind a true beginning."""
    chance = random.Random(11)
    async with proxy(alpaca) as app, undisturbed(app):
        for _ in range(150):
            async with raw_grpc(app.grpc_address) as client:
                await client.call("StreamTrades", TRADES)
                for _ in range(chance.randint(1, 5)):
                    payload = chance.randbytes(chance.choice((0, 4, 5, 6, 8, 40)))
                    header = len(payload).to_bytes(3, "big") + bytes(
                        (chance.randint(0, 11), chance.choice((0, 1, 4, 5, 8, 32, 255)))
                    )
                    number = chance.choice((0, 1, 1, 2, 3, 5, 1 << 31)).to_bytes(4, "big")
                    await client.send(header + number + payload)
        await eventually(lambda: len(app.grpc.outlet.calls) == 1, 10, "only the undisturbed one")


async def test_who_reads_no_answers_gets_no_more(alpaca: SimulatorProcess) -> None:
    """A flood of pings fills the socket, not our memory."""
    most = 5_000_000
    pings = (b"\0\0\x08\x06\0\0\0\0\0" + bytes(8)) * 500
    async with (
        proxy(alpaca) as app,
        undisturbed(app),
        raw_grpc(app.grpc_address, socket_buffer=4096) as client,
    ):
        await eventually(lambda: len(app.grpc._server.peers) == 2)  # type: ignore[union-attr]
        (_, peer) = app.grpc._server.peers  # type: ignore[union-attr]
        transport = peer.connection._transport
        server_side = transport.get_extra_info("socket")
        server_side.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < most:
                async with asyncio.timeout(1):
                    await client.send(pings)
                sent += len(pings)
        assert sent < most
        assert not transport.is_reading()
        assert transport.get_write_buffer_size() < 256 * 1024


# Coming to an end


async def test_cancelled_calls_leave_nothing(alpaca: SimulatorProcess) -> None:
    """Cancelled when they flow, and in the same breath as they begin, many times over."""
    async with proxy(alpaca) as app:
        async with channel(app) as mine, raw_grpc(app.grpc_address) as rude:
            for _ in range(20):
                call = trades(mine)
                await call.read()
                call.cancel()
            body = grpc_message(TRADES.SerializeToString())
            for _ in range(20):
                for _ in range(50):
                    rude.h2.reset_stream(rude.ask("StreamTrades", body))
                await rude.send()
            stream_id = await rude.call("GetConnectionStatus", STATUS)
            assert (await rude.answered(stream_id)).status == 0
            await nothing_left(app)
        assert not app.outlet.counts.slow_consumers


@pytest.mark.parametrize("seconds", [0.5, 0.0])
async def test_a_deadline_ends_a_call(alpaca: SimulatorProcess, seconds: float) -> None:
    """By grpc-timeout, at the server too, also one that is over at the beginning."""
    async with proxy(alpaca) as app:
        async with raw_grpc(app.grpc_address) as client:
            timeout = f"{int(seconds * 1000)}m".encode()
            stream_id = await client.call("StreamTrades", TRADES, ((b"grpc-timeout", timeout),))
            answer = await client.answered(stream_id)
            assert answer.status == 4
            assert bool(answer.bodies()) == bool(seconds)
        async with channel(app) as mine:
            call = trades(mine, timeout=0.3)
            with pytest.raises(AioRpcError) as ended:
                await read_on(call)
            assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            await nothing_left(app)


VANISHING = f"""
import sys, grpc
channel = grpc.insecure_channel(sys.argv[1])
call = channel.unary_stream("{SERVICE}/StreamTrades")(bytes.fromhex(sys.argv[2]))
next(call)
print("flows", flush=True)
for _ in call:
    pass
"""


async def test_a_client_that_freezes_is_let_go(alpaca: SimulatorProcess) -> None:
    """It sends no FIN and answers no ping: keep-alive ends it within the configured time."""
    settings = {"consumer_ping_seconds": 0.4, "consumer_pong_seconds": 0.6}
    async with proxy(alpaca, **settings) as app:
        command = [
            sys.executable,
            "-c",
            VANISHING,
            app.grpc_address,
            TRADES.SerializeToString().hex(),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
            try:
                assert client.stdout is not None
                assert await asyncio.to_thread(client.stdout.readline) == "flows\n"
                # A client that answers is asked again and again, and stays.
                await asyncio.wait_for(_pings(app, 3), 10)
                assert len(app.grpc.outlet.calls) == 1
                os.kill(client.pid, signal.SIGSTOP)
                # A ping is due, its answer is not, and the socket gets a second to close.
                await eventually(lambda: not app.grpc.outlet.calls, 0.4 + 0.6 + 1 + 1, "it is cut")
                await nothing_left(app)
            finally:
                client.kill()


async def test_what_waits_for_a_client_is_sent_before_the_end(alpaca: SimulatorProcess) -> None:
    """It reads nothing for a moment when the proxy goes down."""
    async with proxy(alpaca) as app, raw_grpc(app.grpc_address, window=2000) as client:
        number = await client.call("StreamTrades", TRADES)
        await client.begun(number)
        (call,) = app.grpc.outlet.calls
        await eventually(lambda: call.outbox.queued_bytes, 10, "something waits")
        stopping = asyncio.create_task(app.grpc.outlet.stop(20))
        await eventually(lambda: app.grpc.outlet.stopping, 10, "it goes down")
        assert not stopping.done()
        # Nothing more comes; what waits is to be sent.
        app.handlers["sip"].leave(call.consumer)
        answer = await client.answered(number)
        assert answer.status == grpc.StatusCode.UNAVAILABLE.value[0]
        await stopping
        counts = app.grpc.outlet.counts
        assert counts.dropped_messages == 0
        assert sum(counts.sent.values()) == len(answer.bodies()) > 0


async def _pings(app: App, number: int) -> None:
    """Wait until a client was pinged so often."""
    seen = set[float | None]()
    while len(seen) <= number:
        (peer,) = app.grpc._server.peers  # type: ignore[union-attr]
        seen.add(peer.connection.last_ping_sent)
        await asyncio.sleep(0.05)


async def test_a_killed_client_leaves_nothing(alpaca: SimulatorProcess) -> None:
    async with proxy(alpaca) as app:
        command = [
            sys.executable,
            "-c",
            VANISHING,
            app.grpc_address,
            TRADES.SerializeToString().hex(),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
            assert client.stdout is not None
            assert await asyncio.to_thread(client.stdout.readline) == "flows\n"
            client.kill()
            await nothing_left(app)
