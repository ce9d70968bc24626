"""What does the journal add to an order update's way?

    python -m bench.orders [--quick]

Two proxies get the same kind of updates, in alternating rounds: one with its journal, which is on
the disk before anybody is told, and one whose journal is a list in memory. Each update carries the
time at which it left its sender, and a consumer behind each proxy notes when it came, by the same
clock, in the same process. What the first takes longer than the second is the journal's.

A round sends on a timetable, whoever reads (open loop). Beside it stands what the disk itself takes
for an append and its synchronisation, measured in the same folder: nothing durable can be faster.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server

from bench.contenders import started
from bench.machine import CONTENDER_CORE
from bench.results import save, spread, table, verdict
from bench.talk import Process, commands, python, tell
from stream_proxy import order_desk
from stream_proxy.app import App
from stream_proxy.config.schema import Settings
from stream_proxy.model.orders import KnownOrder, OrderEvent, OrderRecord
from stream_proxy.runtime.logs import set_up_logs
from stream_proxy.runtime.loop import run
from stream_proxy.simulator.trading.engine import Engine
from stream_proxy.simulator.trading.prices import WalkingMarket
from stream_proxy.state.journal import AccountState
from stream_proxy.state.journal_writer import JournalWriter

_RATES = (10, 100, 1_000)
_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
_ASKED_P99_US = 2_000.0
"""What a durable journal may add at the most, microseconds."""
_WITH, _WITHOUT = "with", "without"
_STAMP_DIGITS = 19
_BEFORE_STAMP = b'{"stream":"trade_updates","data":{"sent_ns":"'
_AUTHENTICATE = b'{"action":"authenticate","data":{"key_id":"any","secret_key":"any"}}'
_LISTEN = b'{"action":"listen","data":{"streams":["trade_updates"]}}'
_PROBES = 300


def main() -> None:
    parser = argparse.ArgumentParser(description="Delay that the order journal adds.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="length of a round")
    arguments = parser.parse_args()
    rounds = arguments.rounds or (2 if arguments.quick else 5)
    seconds = arguments.seconds or (2.0 if arguments.quick else 5.0)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="order-bench-"))
        disk = _disk(Path(folder))
        load = stack.enter_context(started(python("bench.orders", "--part", "load")))
        ports = load.hear()
        proxies = {}
        for kind in (_WITH, _WITHOUT):
            part = ("--part", kind, str(ports["streams"]), str(ports["rest"]), f"{folder}/{kind}")
            proxies[kind] = stack.enter_context(
                started(python("bench.orders", *part, core=CONTENDER_CORE))
            )
            load.ask(consumer=kind, port=proxies[kind].hear()["port"])
        for kind in proxies:
            load.ask(round=kind, rate=100, seconds=1.0)  # nobody's first is counted
        rows = [_at_rate(rate, proxies, load, rounds, seconds) for rate in _RATES]
    table([_line(row) for pair in rows for row in pair], _heading())
    print(
        f"\nthe disk itself, append and fdatasync: p50 {disk['p50']:.0f}, p99 {disk['p99']:.0f} µs"
    )
    save("orders", [*(row for pair in rows for row in pair), disk], _verdicts(rows))


def _at_rate(
    rate: int, proxies: dict[str, Process], load: Process, rounds: int, seconds: float
) -> list[dict[str, Any]]:
    """The rows of one rate: with the journal, and without it."""
    delays: dict[str, list[list[int]]] = {kind: [] for kind in proxies}
    cpu = dict.fromkeys(proxies, 0.0)
    late = dict.fromkeys(proxies, 0)
    for number in range(rounds):
        # Nobody is always first.
        for kind in sorted(proxies, reverse=bool(number % 2)):
            before = proxies[kind].cpu_seconds()
            answer = load.ask(round=kind, rate=rate, seconds=seconds)
            cpu[kind] += proxies[kind].cpu_seconds() - before
            late[kind] += answer["late"]
            delays[kind].append(sorted(answer["delays_ns"]))
    rows = []
    for kind, found in delays.items():
        pooled = sorted(delay for one in found for delay in one)
        rows.append(
            {
                "events_per_second": rate,
                "journal": kind,
                "samples": len(pooled),
                "delay_us": {name: _at(pooled, share) for name, share in _SHARES.items()},
                "p50_of_rounds_us": spread([_at(one, 0.5) for one in found]),
                "p99_of_rounds_us": spread([_at(one, 0.99) for one in found]),
                "cpu_us_per_event": cpu[kind] / len(pooled) * 1e6,
                "sent_late": late[kind] / len(pooled),
            }
        )
    return rows


def _at(delays: Sequence[int], share: float) -> float:
    """A percentile of sorted nanoseconds, in microseconds."""
    return delays[min(len(delays) - 1, int(share * len(delays)))] / 1e3


def _heading() -> list[str]:
    return ["events/s", "journal", *(f"{n} µs" for n in _SHARES), "CPU µs/event", "samples", "late"]


def _line(row: dict[str, Any]) -> list[str]:
    return [
        str(row["events_per_second"]),
        row["journal"],
        *(f"{value:.0f}" for value in row["delay_us"].values()),
        f"{row['cpu_us_per_event']:.0f}",
        str(row["samples"]),
        f"{row['sent_late']:.1%}",
    ]


def _verdicts(rows: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The medians of the rounds, which one disturbed round does not move."""
    verdicts = []
    for pair in rows:
        found = {row["journal"]: row["p99_of_rounds_us"]["median"] for row in pair}
        what = f"added delay at {pair[0]['events_per_second']} events/s, p99, µs"
        added = found[_WITH] - found[_WITHOUT]
        verdicts.append(verdict(what, added, _ASKED_P99_US, at_most=True))
    return verdicts


def _disk(folder: Path) -> dict[str, Any]:
    """What one append of an event's size and its synchronisation take, in microseconds."""
    took = []
    with (folder / "probe").open("wb", buffering=0) as file:
        for _ in range(_PROBES):
            start_ns = time.monotonic_ns()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            took.append(time.monotonic_ns() - start_ns)
    took.sort()
    return {"disk": "append of 4 KiB and fdatasync", "p50": _at(took, 0.5), "p99": _at(took, 0.99)}


# The proxies


class AlwaysClosed:
    """Market hours without a calendar: no market data is asked for here."""

    def expects_data(self, feed: object, now_ns: int) -> bool:
        return False


async def serve(kind: str, stream_port: str, rest_port: str, folder: str) -> None:
    """Be a proxy, with its journal or with one that forgets."""
    if kind == _WITHOUT:
        vars(order_desk)[JournalWriter.__name__] = MemoryWriter
    set_up_logs("error", "console", [])
    streams = f"ws://127.0.0.1:{stream_port}"
    settings = {
        **{"key": "key", "secret": "secret", "orders": "on"},
        **{"port": 0, "http_port": 0, "grpc_port": 0, "metrics_port": 0},
        "state_dir": folder,
        "upstream_url": streams,
        "paper_stream_url": f"{streams}/{kind}",
        "paper_api_url": f"http://127.0.0.1:{rest_port}",
    }
    app = App(Settings.model_validate(settings), hours=AlwaysClosed())
    await app.start()
    tell(port=int(app.addresses()[0].rpartition(":")[2]))
    async for _ in commands():
        pass  # until the standard input closes
    await app.stop()


class MemoryJournal:
    """As much of `Journal` as an account's updates need, in lists that end with the process."""

    def __init__(self) -> None:
        self._records: list[OrderRecord] = []
        self._names: set[str] = set()

    def open_account(self, account: str, now_ns: int) -> AccountState:
        return self.account(account)

    def account(self, account: str) -> AccountState:
        last = len(self._records)
        return AccountState(account, "memory", 1, last, 1, 1, "", 0)

    def append(
        self, account: str, events: Sequence[OrderEvent], received_ns: int
    ) -> list[OrderRecord]:
        fresh = [event for event in events if event.event_id not in self._names]
        self._names.update(event.event_id for event in fresh)
        made = [
            OrderRecord(account, "memory", sequence, received_ns, event)
            for sequence, event in enumerate(fresh, len(self._records) + 1)
        ]
        self._records += made
        return made

    def read(self, account: str, after: int, limit: int = 500) -> list[OrderRecord]:
        return self._records[after : after + limit]

    def open_orders(self, account: str) -> dict[str, KnownOrder]:
        return {}

    def note_reconciled(self, account: str, until_ns: int) -> None:
        """Nobody will ask."""


class MemoryWriter:
    """In the place of `JournalWriter`: everything is done at once, and nothing is kept."""

    def __init__(self, *arguments: object, **options: object) -> None:
        self._journal = MemoryJournal()

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def submit(
        self,
        work: Callable[[Any], Any],
        done: Callable[[Any], None],
        failed: Callable[[Exception], None] | None = None,
        *,
        patient: bool = False,
    ) -> Callable[[], None]:
        done(work(self._journal))
        return lambda: None


# The load: Alpaca's stream and REST, as little of them as the proxies need, and the consumers


class Source(WSListener):
    """One proxy's connection to the trading stream."""

    def __init__(self, sources: dict[str, Source]) -> None:
        super().__init__()
        self._sources = sources
        self.transport: Any = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        self._kind = transport.request.path.decode().strip("/")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif b"authenticate" in (payload := frame.get_payload_as_bytes()):
            self._say("authorization", {"status": "authorized", "action": "authenticate"})
        elif b"listen" in payload:
            self._say("listening", {"streams": ["trade_updates"]})
            self._sources[self._kind] = self

    def _say(self, stream: str, data: dict[str, object]) -> None:
        self.transport.send(WSMsgType.BINARY, msgspec.json.encode({"stream": stream, "data": data}))


class Consumer(WSListener):
    """Listens behind a proxy and notes when each update came."""

    def __init__(self) -> None:
        super().__init__()
        self.delays: list[int] = []
        self.listening = asyncio.Event()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        now_ns = time.monotonic_ns()
        if frame.msg_type == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
            return
        payload = frame.get_payload_as_bytes()
        if payload.startswith(_BEFORE_STAMP):
            at = len(_BEFORE_STAMP)
            self.delays.append(now_ns - int(payload[at : at + _STAMP_DIGITS]))
        elif b'"listening"' in payload:
            self.listening.set()


class Updates:
    """Updates of the usual size, each of them new: an order comes to be, and is filled."""

    def __init__(self) -> None:
        engine = Engine(WalkingMarket(1), Random(1))
        now_ns = time.time_ns()
        account = engine.account("paper", "PK", now_ns)
        order = {"symbol": "AAPL", "qty": 1, "side": "buy", "type": "market"}
        self._order_id = engine.submit(account, order | {"time_in_force": "day"}, now_ns).id
        engine.step(now_ns)
        events = {event.event: event for _, event in engine.take_events()}
        self._texts = [
            (event, msgspec.json.encode(event.data)[1:])
            for event in (events["new"], events["fill"])
        ]
        self._number = 0

    def next(self, now_ns: int) -> bytes:
        number, self._number = self._number, self._number + 1
        event, text = self._texts[number % 2]
        text = text.replace(self._order_id.encode(), str(UUID(int=number // 2)).encode())
        text = text.replace(event.id.encode(), b"%026d" % number)
        if event.execution_id is not None:
            text = text.replace(event.execution_id.encode(), str(UUID(int=number)).encode())
        return _BEFORE_STAMP + b'%0*d",' % (_STAMP_DIGITS, now_ns) + text + b"}"


async def send(
    source: Source, updates: Updates, consumer: Consumer, rate: int, seconds: float
) -> int:
    """Send on time; give the number of updates that left more than two milliseconds late."""
    consumer.delays.clear()
    total, late = int(rate * seconds), 0
    start_ns = time.monotonic_ns() + 20_000_000
    for number in range(total):
        due_ns = start_ns + number * 1_000_000_000 // rate
        while (left := due_ns - time.monotonic_ns()) > 0:
            await asyncio.sleep(left / 1e9)
        now_ns = time.monotonic_ns()
        # Late by more than the timer's grain: the queue before the sender counts (coordinated
        # omission); an alarm clock that is a millisecond slow doesn't.
        is_late = now_ns - due_ns > 2_000_000
        late += is_late
        source.transport.send(WSMsgType.BINARY, updates.next(due_ns if is_late else now_ns))
        await asyncio.sleep(0)  # uvloop writes at the end of a turn of its loop
    deadline = time.monotonic() + 30
    while len(consumer.delays) < total:
        if time.monotonic() > deadline:
            tell(error=f"{len(consumer.delays)} of {total} updates came")
            raise SystemExit(1)
        await asyncio.sleep(0.005)
    return late


async def answer_rest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """REST of an account without a record of events, without orders, without fills."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            status, body = (b"404 Not Found", b"{}") if b"/events/" in head else (b"200 OK", b"[]")
            writer.write(
                b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (status, len(body), body)
            )
            await writer.drain()
    writer.close()


async def load() -> None:
    """Serve both proxies, sit behind them, and measure."""
    sources: dict[str, Source] = {}
    streams = await ws_create_server(lambda request: Source(sources), "127.0.0.1", 0)
    rest = await asyncio.start_server(answer_rest, "127.0.0.1", 0)
    ports = [server.sockets[0].getsockname()[1] for server in (streams, rest)]
    tell(streams=ports[0], rest=ports[1])
    consumers: dict[str, Consumer] = {}
    updates = Updates()
    async for command in commands():
        if "consumer" in command:
            consumer = consumers[command["consumer"]] = Consumer()
            transport, _ = await ws_connect(
                lambda consumer=consumer: consumer, f"ws://127.0.0.1:{command['port']}/stream"
            )
            for request in (_AUTHENTICATE, _LISTEN):
                transport.send(WSMsgType.TEXT, request)
            await consumer.listening.wait()
            while command["consumer"] not in sources:
                await asyncio.sleep(0.01)
            gc.freeze()
            tell(ready=True)
            continue
        kind = command["round"]
        late = await send(
            sources[kind], updates, consumers[kind], command["rate"], command["seconds"]
        )
        tell(late=late, delays_ns=consumers[kind].delays)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        run(load() if sys.argv[2] == "load" else serve(*sys.argv[2:]))
    else:
        main()
