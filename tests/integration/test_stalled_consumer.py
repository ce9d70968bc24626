"""One consumer that stops reading, among 200 that don't: it is cut, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

from harness.proxies import running_app
from harness.simulated import SimulatorProcess, simulator
from harness.sinks import symbols_of
from harness.waiting import eventually
from stream_proxy.app import App
from stream_proxy.runtime.loop import run
from stream_proxy.wire.alpaca.codec import MSGPACK

CONSUMERS, SYMBOLS_EACH, SYMBOLS = 200, 20, 500
MESSAGES = 400_000
STALLED_SYMBOLS = 100
OUTBOX_BYTES = 1 << 20
FEWEST_ROUNDS, MOST_ROUNDS = 3, 10
KEPT = 0.95
REFUSAL = MSGPACK.encode({"T": "error", "code": 407, "msg": "slow client"})
TESTS = Path(__file__).parents[1]


@dataclass
class Round:
    """What one run gave."""

    deliveries: int
    cpu_seconds: float
    stalled_got: bytes = b""
    peak_queued_bytes: int = 0
    slow_consumers: int = 0

    @property
    def rate(self) -> float:
        """Deliveries to the healthy consumers per second of the proxy's processor time."""
        return self.deliveries / self.cpu_seconds


class Stalled:
    """A raw msgpack client, like the others, that subscribes and then doesn't read."""

    def __init__(self, address: str) -> None:
        host, port = address.removeprefix("ws://").split(":")
        self._socket = socket.socket()
        # Before connecting: a small window, so that the kernel hides little of the stall.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        self._socket.connect((host, int(port)))
        self._socket.setblocking(False)

    async def subscribe(self, symbols: list[str]) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(
            self._socket,
            (
                b"GET /v2/sip HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Content-Type: application/msgpack\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            ),
        )
        await self._until(b"connected")
        await self._say({"action": "auth", "key": "any", "secret": "any"})
        await self._until(b"authenticated")
        await self._say({"action": "subscribe", "trades": symbols, "quotes": symbols})
        await self._until(b"subscription")

    async def _until(self, wanted: bytes) -> None:
        got = b""
        while wanted not in got:
            got += await asyncio.get_running_loop().sock_recv(self._socket, 65536)

    async def _say(self, message: dict[str, object]) -> None:
        data = MSGPACK.encode(message)
        header = b"\x82\xfe" + len(data).to_bytes(2, "big")
        masked = header + bytes(4) + data  # a mask of zeros leaves the bytes as they are
        await asyncio.get_running_loop().sock_sendall(self._socket, masked)

    async def read_when_cut(self, app: App) -> bytes:
        """Wake up once it was cut: what is still to come, up to the reason.

        The proxy waits five seconds for that, and a round may take longer.
        """
        await eventually(lambda: app.outlet.counts.slow_consumers, 120, "it is cut")
        tail = b""
        with contextlib.suppress(ConnectionError):
            while data := await asyncio.get_running_loop().sock_recv(self._socket, 1 << 20):
                tail = (tail + data)[-4096:]
                if REFUSAL in tail:
                    break
        return tail

    def close(self) -> None:
        self._socket.close()


@contextlib.asynccontextmanager
async def _sinks(app: App, symbols: list[str]) -> AsyncIterator[subprocess.Popen[str]]:
    command = [
        sys.executable,
        "-m",
        "harness.sinks",
        f"{app.addresses()[0]}/v2/sip",
        str(CONSUMERS),
        str(SYMBOLS_EACH),
        json.dumps(symbols),
    ]
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
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


async def _counts(sinks: subprocess.Popen[str]) -> list[int]:
    assert sinks.stdin is not None
    assert sinks.stdout is not None
    sinks.stdin.write("\n")
    sinks.stdin.flush()
    counts: list[int] = json.loads(await asyncio.to_thread(sinks.stdout.readline))
    return counts


async def _round(alpaca: SimulatorProcess, with_stalled: bool) -> Round:
    symbols = await asyncio.to_thread(alpaca.get, "/symbols/sip")
    async with (
        running_app(
            alpaca.streams,
            feeds="sip",
            outbox_bytes=OUTBOX_BYTES,
            ping_interval_seconds=10,
            pong_timeout_seconds=60,
            linger_seconds=60,
        ) as app,
        _sinks(app, symbols) as sinks,
    ):
        stalled = Stalled(app.addresses()[0]) if with_stalled else None
        if stalled is not None:
            await stalled.subscribe(symbols[:STALLED_SYMBOLS])
            victim = app.outlet.consumers()[-1]
            reading = asyncio.create_task(stalled.read_when_cut(app))
        handler = app.handlers["sip"]
        before = time.process_time()
        await alpaca.order("/start")
        await eventually(lambda: handler.hub.messages > MESSAGES, 90, "messages")
        await alpaca.order("/hold")
        ledger = await alpaca.ledger()
        (connection,) = [c for c in ledger["connections"] if not c["closed_ns"]]
        await eventually(lambda: handler.hub.messages == connection["messages"], 30)
        expected = _expected(connection["counts"], symbols)
        counts: list[int] = []
        for _ in range(3000):
            counts = await _counts(sinks)
            if sum(counts) >= sum(expected):
                break
        cpu_seconds = time.process_time() - before
        assert counts == expected, "a healthy consumer lost something"
        assert len(app.outlet.consumers()) == CONSUMERS
        result = Round(sum(counts), cpu_seconds)
        if stalled is not None:
            result.stalled_got = await reading
            result.peak_queued_bytes = victim.outbox.peak_queued_bytes
            result.slow_consumers = app.outlet.counts.slow_consumers
            stalled.close()
        return result


def _expected(counts: dict[str, dict[str, int]], symbols: list[str]) -> list[int]:
    """How many messages each sink must have, from the ledger."""

    def total(symbol: str) -> int:
        return sum(counts[kind].get(symbol, 0) for kind in counts)

    return [
        sum(map(total, set(symbols_of(number, SYMBOLS_EACH, symbols))))
        for number in range(CONSUMERS)
    ]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_stalled_consumer_hurts_nobody() -> None:
    """It gets 407 within its bound; 200 others lose nothing and keep their rate within 5 %.

    The rate is deliveries per second of the proxy's processor time, since several processes share
    this machine's cores. How much comes with one read of a socket is chance at full speed, and
    what else the machine does is, too: rounds alike have differed by a third, and the best of ten
    by 7 %. So rounds with and without alternate, and there is one more of each until what they kept
    is seen: by the best of each, which others only take away from, or in the middle of the pairs.
    """
    with simulator("--hold", "--rate", "0", "--symbols", str(SYMBOLS)) as alpaca:
        rounds: dict[bool, list[Round]] = {False: [], True: []}
        while len(rounds[True]) < FEWEST_ROUNDS or (
            _kept(rounds) < KEPT and len(rounds[True]) < MOST_ROUNDS
        ):
            for with_stalled in rounds:
                rounds[with_stalled].append(run(_round(alpaca, with_stalled)))

    for result in rounds[True]:
        assert result.slow_consumers == 1
        assert REFUSAL in result.stalled_got
        assert result.peak_queued_bytes <= OUTBOX_BYTES
    assert _kept(rounds) >= KEPT


def _kept(rounds: dict[bool, list[Round]]) -> float:
    """What is left of the rate with a stalled consumer."""
    without, with_it = ([r.rate for r in rounds[stalled]] for stalled in (False, True))
    pairs = [one / other for one, other in zip(with_it, without, strict=True)]
    return max(max(with_it) / max(without), median(pairs))
