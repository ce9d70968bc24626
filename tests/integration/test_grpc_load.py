"""A hundred gRPC consumers beside fifty WebSocket consumers at full speed, two of them stalled."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from harness.consumers import TestConsumer, consumer
from harness.digest import Digest
from harness.proxies import running_app
from harness.raw_grpc import RawGrpc, raw_grpc
from harness.simulated import SimulatorProcess, simulator
from harness.sinks import symbols_of
from harness.waiting import eventually
from stream_proxy.app import App
from stream_proxy.hub.outbox import Outbox
from stream_proxy.model.time import timestamp_ns
from stream_proxy.outlets.grpc.call import StreamingCall
from stream_proxy.runtime.loop import run
from stream_proxy.wire.alpaca.codec import MSGPACK
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb

ROOT = Path(__file__).parents[2]
NODE = shutil.which("node")
SYMBOLS, SYMBOLS_EACH = 500, 20
PYTHON_PROCESSES, CALLS_EACH, JS_CALLS = 2, 45, 6
WEBSOCKETS = 48
CHECKED_WEBSOCKETS = 2
BURST_MESSAGES, MOST_BURSTS = 6_000, 20
OUTBOX_BYTES = 4 << 20
"""More than a burst for a consumer of everything, less than all bursts."""
EVERYTHING = ("StreamQuotes", "StreamTrades", "StreamCorrections", "StreamCancelErrors")
LETTERS = dict(zip(EVERYTHING, "qtcx", strict=True))
RESOURCE_EXHAUSTED = 8


def calls_of(first: int, number: int, symbols: list[str]) -> list[tuple[str, list[str]]]:
    """Trades and quotes in turn, each of its own symbols."""
    return [
        (EVERYTHING[index % 2], symbols_of(index, SYMBOLS_EACH, symbols))
        for index in range(first, first + number)
    ]


@contextlib.asynccontextmanager
async def sinks(*command: str) -> AsyncIterator[subprocess.Popen[str]]:
    """A process full of consumers, all of them subscribed."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            line = await asyncio.to_thread(process.stdout.readline)
            assert json.loads(line)["event"] == "subscribed"
            yield process
        finally:
            process.kill()


async def reports(process: subprocess.Popen[str]) -> list[Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    answer: list[Any] = json.loads(await asyncio.to_thread(process.stdout.readline))
    return answer


class Expected:
    """What each consumer must have, by the simulator's own record of what it sent."""

    def __init__(self, items: Iterable[bytes]) -> None:
        self.counts: dict[str, Counter[str]] = {letter: Counter() for letter in "qtcx"}
        self.digests = {"t": Digest(), "q": Digest()}
        self.sums: Counter[str] = Counter()
        self.order: dict[str, list[int]] = {letter: [] for letter in "qtcx"}
        for sequence, item in enumerate(items, 1):
            fields = MSGPACK.decode_fields(item)
            letter, symbol = fields["T"], fields["S"]
            self.counts[letter][symbol] += 1
            self.order[letter].append(sequence)
            self.sums[symbol] += crc32(item)
            if letter in self.digests:
                self.digests[letter].message(fields, timestamp_ns(fields["t"]))

    def websocket(self, symbols: Iterable[str]) -> int:
        """The messages of a consumer of trades and quotes, with all that trades bring along."""
        names = set(symbols)
        return sum(counts[name] for counts in self.counts.values() for name in names)

    def reached(self, one: TestConsumer, symbols: list[str]) -> bool:
        """Whether a WebSocket consumer has as much as it must have."""
        return one.messages >= self.websocket(symbols)

    def messages(self, method: str, symbols: list[str]) -> int:
        """How many a call must have."""
        counts = self.counts[LETTERS[method]]
        return sum(counts[name] for name in set(symbols) or counts)

    def check(self, method: str, symbols: list[str], report: dict[str, Any]) -> None:
        """A call has each message once, in order and unchanged."""
        letter = LETTERS[method]
        names = set(symbols) or set(self.counts[letter])
        assert report["ended"] == ""
        assert report["rising"]
        assert report["messages"] == self.messages(method, symbols)
        if letter in self.digests:
            whole = self.digests[letter].by_symbol
            assert report["by_symbol"] == {n: whole[n] for n in names if n in whole}
        if not symbols:
            assert report["sequences"] == self.order[letter]


class Stalled:
    """A call that begins and then isn't read: ``holds`` is the most that was kept for it."""

    def __init__(self, client: RawGrpc, stream_id: int, call: StreamingCall) -> None:
        self._client = client
        self._stream_id = stream_id
        self.call = call
        self.holds = 0

    def look(self) -> None:
        writer = self.call.writer
        self.holds = max(self.holds, writer.unsent_bytes + writer.outbox.queued_bytes)

    async def check_cut(self) -> None:
        """What it had was whole and in order, and then came the reason."""
        answer = await self._client.answered(self._stream_id)
        messages = [pb.StreamQuotesResponse.FromString(body) for body in answer.bodies()]
        assert 0 < len(messages) < 1000
        assert [m.sequence for m in messages] == sorted({m.sequence for m in messages})
        assert answer.status == RESOURCE_EXHAUSTED
        info, retry = answer.details()
        assert info.reason == "SLOW_CONSUMER"
        assert retry is not None and retry.retry_delay.seconds == 1


@contextlib.asynccontextmanager
async def stalled(app: App, **socket_options: int) -> AsyncIterator[Stalled]:
    """A consumer of all quotes that doesn't read them."""
    before = set(app.grpc.outlet.calls)
    async with raw_grpc(app.grpc_address, **socket_options) as client:
        stream_id = await client.call("StreamQuotes", pb.StreamQuotesRequest(feed="sip"))
        await client.begun(stream_id)
        (call,) = set(app.grpc.outlet.calls) - before
        yield Stalled(client, stream_id, call)


async def burst(alpaca: SimulatorProcess, app: App, at_least: int, patient: list[Stalled]) -> None:
    """Let upstream send as fast as it can for a while, then wait until everybody has read it."""
    handler = app.handlers["sip"]

    def received() -> bool:
        for one in patient:
            one.look()
        return handler.hub.messages >= at_least

    await alpaca.order("/start")
    await eventually(received, 60, "a burst")
    await alpaca.order("/hold")
    (connection,) = [c for c in (await alpaca.ledger())["connections"] if not c["closed_ns"]]
    await eventually(lambda: handler.hub.messages == connection["messages"], 30, "all received")
    mine = {one.call.outbox for one in patient}
    outboxes = [box for source in (app.outlet, app.grpc.outlet) for _, box in source.outboxes()]
    others: list[Outbox] = [box for box in outboxes if box not in mine]
    await eventually(
        lambda: not any(box.paused or box.queued_bytes for box in others), 60, "all written"
    )


async def scene(alpaca: SimulatorProcess) -> None:
    symbols: list[str] = await asyncio.to_thread(alpaca.get, "/symbols/sip")
    python = [
        calls_of(number * CALLS_EACH, CALLS_EACH, symbols) for number in range(PYTHON_PROCESSES)
    ]
    python[0] += [(method, []) for method in EVERYTHING]
    javascript = calls_of(200, JS_CALLS, symbols)
    assert sum(map(len, [*python, javascript])) == 100
    async with (
        running_app(
            alpaca.streams,
            feeds="sip",
            outbox_bytes=OUTBOX_BYTES,
            ping_interval_seconds=10,
            pong_timeout_seconds=60,
            linger_seconds=60,
        ) as app,
        contextlib.AsyncExitStack() as stack,
    ):
        url, address = f"{app.addresses()[0]}/v2/sip", app.grpc_address
        here = sys.executable
        enter = stack.enter_async_context
        grpc_sinks = [
            (
                calls,
                await enter(sinks(here, "-m", "harness.grpc_sinks", address, json.dumps(calls))),
            )
            for calls in python
        ]
        assert NODE is not None, "Node is needed for @grpc/grpc-js"
        script = str(ROOT / "tests" / "sdk" / "js" / "grpc_sinks.mjs")
        command = NODE, script, address, json.dumps(javascript), str(ROOT / "protos")
        grpc_sinks.append((javascript, await enter(sinks(*command))))
        websockets = await enter(
            sinks(
                here, "-m", "harness.sinks", url, str(WEBSOCKETS), str(SYMBOLS_EACH),
                json.dumps(symbols),
            )
        )  # fmt: skip
        checked: list[tuple[list[str], TestConsumer]] = []
        for number in range(CHECKED_WEBSOCKETS):
            names = symbols_of(100 + number, SYMBOLS_EACH, symbols)
            one = await enter(consumer(url, "msgpack"))
            await one.subscribe(trades=names, quotes=names)
            checked.append((names, one))
        by_window = await enter(stalled(app))
        by_socket = await enter(stalled(app, window=1 << 30, socket_buffer=4096))
        victims = [by_window, by_socket]
        assert len(app.outlet.consumers()) == WEBSOCKETS + CHECKED_WEBSOCKETS
        assert len(app.grpc.outlet.calls) == 102

        handler = app.handlers["sip"]
        for _ in range(MOST_BURSTS):
            await burst(alpaca, app, handler.hub.messages + BURST_MESSAGES, victims)
            if all(victim.call.outbox.closed for victim in victims):
                break
        (connection,) = [c for c in (await alpaca.ledger())["connections"] if not c["closed_ns"]]
        path = f"/ledger/{connection['number']}/items"
        items = await asyncio.to_thread(lambda: [bytes.fromhex(i) for i in alpaca.get(path)])
        assert len(items) == connection["messages"] == handler.sequence
        expected = await asyncio.to_thread(Expected, items)

        for calls, process in grpc_sinks:
            wanted = sum(expected.messages(method, names) for method, names in calls)
            found = await reports(process)
            while sum(report["messages"] for report in found) < wanted:
                found = await reports(process)
            for (method, names), report in zip(calls, found, strict=True):
                expected.check(method, names, report)
        counts = [
            expected.websocket(symbols_of(number, SYMBOLS_EACH, symbols))
            for number in range(WEBSOCKETS)
        ]
        while sum(await reports(websockets)) < sum(counts):
            pass
        assert await reports(websockets) == counts
        for names, one in checked:
            await eventually(partial(expected.reached, one, names), 30)
            assert one.messages == expected.websocket(names)
            assert one.checksum == sum(expected.sums[name] for name in set(names))

        for victim in victims:
            assert victim.call.outbox.closed
            assert 0 < victim.holds <= OUTBOX_BYTES
            assert OUTBOX_BYTES // 4 < victim.call.outbox.peak_queued_bytes <= OUTBOX_BYTES
        await by_window.check_cut()
        await eventually(lambda: len(app.grpc.outlet.calls) == 100, 10, "both are gone")
        assert app.grpc.outlet.counts.slow_consumers == 2
        assert app.outlet.counts.slow_consumers == 0


@pytest.mark.timeout(120)
def test_a_hundred_grpc_consumers_beside_fifty_websockets() -> None:
    """Every count, checksum and sequence is the ledger's; who stalls is cut within its bound.

    One consumer stalls by its HTTP/2 window and is told why; the other by its socket, where
    nothing can be told any more: its connection is ended.
    """
    arguments = ("--hold", "--rate", "0", "--symbols", str(SYMBOLS), "--record", "1000000")
    with simulator(*arguments) as alpaca:
        run(scene(alpaca))
