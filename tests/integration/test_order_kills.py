"""The real process, shot again and again while orders are traded: lost, twice, reordered = 0.

A hundred times, or as often as the variable ``ORDER_KILLS`` says; two hundred take a minute.

Four accounts of one simulator have a proxy each, and each proxy is killed with SIGKILL at random
instants, in the middle of its start as well, and started again on what it left on the disk. Its
consumers are real WebSocket clients: two resume by sequence, one by a cursor that it acknowledges.

To start so often within minutes, the processes are forked from one that has imported the
program already: run as a program, this file is that one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from websockets.exceptions import WebSocketException

from harness.order_client import OrderClient
from harness.proxies import QUICK, OpenAllHours
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually
from stream_proxy.app import App
from stream_proxy.config.schema import Settings
from stream_proxy.model.orders import FILLS, plain_quantity
from stream_proxy.runtime.logs import set_up_logs
from stream_proxy.runtime.loop import run

KILLS = int(os.environ.get("ORDER_KILLS", "100"))
SEED = int(os.environ.get("ORDER_KILLS_SEED", "1"))
LANES = 4
SECRET = "the-secret-of-every-lane"
ORDERS_PER_SECOND = 10.0
LONGEST_LIFE_SECONDS = 1.8
LIVES_HEARD = 3
TRACED = FILLS | {"new", "canceled", "expired", "rejected", "replaced"}
"""What leaves a trace in orders and fills, where an account has no record of events."""


# The nursery: a process that has everything loaded and forks the proxies.


def nurse() -> None:
    """Fork a proxy for each line of settings; a line on standard output when it is born."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if not pid:
            live(order)
            os._exit(0)
        say(lane=order["lane"], pid=pid)


def live(order: dict[str, Any]) -> None:
    """Be a proxy until shot."""
    set_up_logs("error", "json", [SECRET])

    async def serve() -> None:
        settings = Settings.model_validate(QUICK | order["settings"])
        app = App(settings, hours=OpenAllHours())
        await app.start()
        say(lane=order["lane"], address=app.addresses()[0])
        await asyncio.Event().wait()

    run(serve())


def say(**fields: Any) -> None:
    os.write(1, json.dumps(fields).encode() + b"\n")


class Nursery:
    """The test's side of it."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._news: dict[int, asyncio.Queue[dict[str, Any]]] = defaultdict(asyncio.Queue)
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            news = json.loads(line)
            self._news[news["lane"]].put_nowait(news)

    async def bear(self, lane: int, settings: dict[str, Any]) -> int:
        """Start a proxy; give its process id."""
        assert self._process.stdin is not None
        order = {"lane": lane, "settings": settings}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        while True:
            # A dead one may have said last that it listened.
            news = await self._news[lane].get()
            if "pid" in news:
                return int(news["pid"])

    async def address(self, lane: int) -> str:
        """Where the proxy of a lane listens, once it does."""
        news = await self._news[lane].get()
        return str(news["address"])


@contextlib.asynccontextmanager
async def nursery(log: Path) -> AsyncIterator[Nursery]:
    tests = Path(__file__).resolve().parents[1]
    variables = {
        k: v for k, v in os.environ.items() if not k.startswith(("STREAM_PROXY", "ALPACA"))
    }
    variables["PYTHONPATH"] = f"{tests}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    with log.open("w") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, __file__, stdin=PIPE, stdout=PIPE, stderr=errors, env=variables
        )
        try:
            yield Nursery(process)
        finally:
            process.kill()
            await process.wait()


# Consumers


@dataclass
class Follower:
    """A consumer over all its connections: what it has, and what is wrong with that."""

    cursor: str = ""
    updates: list[dict[str, Any]] = field(default_factory=list)
    client: OrderClient | None = None
    acknowledged: int = 0
    visits: int = 0
    complaints: list[str] = field(default_factory=list)

    async def visit(self, address: str) -> None:
        """Listen as long as the proxy lives."""
        query = f"cursor={self.cursor}" if self.cursor else f"since={len(self.updates)}"
        try:
            async with OrderClient(f"{address}/stream?{query}") as client:
                self.client = client
                try:
                    await self._listen(client)
                finally:
                    self._absorb(client)
        except (OSError, EOFError, TimeoutError, WebSocketException):
            pass  # shot before it could answer

    async def _listen(self, client: OrderClient) -> None:
        told = 0

        def is_news() -> bool:
            return client.closed is not None or len(client.updates) >= told + 3

        while client.closed is None:
            await eventually(is_news, 300, "three more updates, or the end")
            told = len(client.updates)
            if self.cursor and told:
                # Not always the newest: what is not acknowledged comes again.
                sequence = client.sequences[told - 1 - told % 3]
                await client.say(action="ack", data={"sequence": sequence})

    @property
    def heard(self) -> int:
        """How many updates it has, those of the present connection included."""
        client = self.client
        if client is None or not client.updates:
            return len(self.updates)
        return max(len(self.updates), client.sequences[-1])

    def _absorb(self, client: OrderClient) -> None:
        self.client = None
        sequences = client.sequences
        self.visits += bool(sequences)
        if not sequences:
            return
        first = sequences[0]
        if sequences != list(range(first, first + len(sequences))):
            self.complaints.append(f"no unbroken run: {sequences}")
        have = len(self.updates)
        if not self.acknowledged < first <= have + 1 or (not self.cursor and first != have + 1):
            self.complaints.append(
                f"had {have}, acknowledged {self.acknowledged}, went on with {first}"
            )
            return
        again = client.updates[: have + 1 - first]
        if again != self.updates[first - 1 : first - 1 + len(again)]:
            self.complaints.append(f"{first} and following came again, and different")
        self.updates += client.updates[len(again) :]
        answers = [answer["sequence"] for answer in client.stream("ack")]
        self.acknowledged = max([self.acknowledged, *answers])


# The test


@dataclass
class Lane:
    """One account, its proxy, its consumers."""

    number: int
    alpaca: SimulatorProcess
    nursery: Nursery
    folder: Path
    random: Random
    has_events: bool
    followers: list[Follower]
    kills: int = 0
    killed_early: int = 0
    owed: list[dict[str, Any]] = field(default_factory=list)
    """What had happened when trading was over: all of it must have been told."""
    ledger: dict[str, Any] = field(default_factory=dict)
    """The account's page when nobody listened any more: nothing else may have been told."""

    @property
    def key(self) -> str:
        return f"PKLANE{self.number}"

    @property
    def settings(self) -> dict[str, Any]:
        alpaca = self.alpaca
        return {
            "key": self.key,
            "secret": SECRET,
            "upstream_url": alpaca.streams,
            "paper_stream_url": f"{alpaca.streams}/paper/stream",
            "paper_api_url": f"{alpaca.control}/paper",
            "orders": "on",
            "state_dir": str(self.folder),
        }

    def page(self) -> dict[str, Any]:
        """The account's page of the simulator's ledger."""
        pages = self.alpaca.get("/trading/ledger")["accounts"]["paper"]
        return dict(pages.get(self.key) or {"events": [], "connections": [], "peak_open": 0})

    async def run(self, kills: int) -> None:
        self.folder.mkdir()
        if not self.has_events:
            await self.alpaca.fault("no_event_stream", feed="trading", account=self.key)
        for number in range(kills + 1):
            pid = await self.nursery.bear(self.number, self.settings)
            try:
                await self._life(pid, is_first=number == 0, is_last=number == kills)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    async def _life(self, pid: int, is_first: bool, is_last: bool) -> None:
        dead = asyncio.Event()

        def kill() -> None:
            os.kill(pid, signal.SIGKILL)
            dead.set()

        loop = asyncio.get_running_loop()
        if not (is_first or is_last):
            loop.call_later(self.random.uniform(0.0, LONGEST_LIFE_SECONDS), kill)
        listening = asyncio.create_task(self.nursery.address(self.number))
        dying = asyncio.create_task(dead.wait())
        await asyncio.wait((listening, dying), return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            listening.cancel()
            self.kills += 1
            self.killed_early += 1
            return
        visits = [asyncio.create_task(f.visit(listening.result())) for f in self.followers]
        if is_first:
            await self._begin()
            loop.call_later(self.random.uniform(0.0, LONGEST_LIFE_SECONDS), kill)
        if is_last:
            dying.cancel()
            await self._finish()
            kill()
        else:
            await dying
            self.kills += 1
        await asyncio.gather(*visits)
        if is_last:
            # Asked for last: resting orders are filled at any time, and told while we look.
            self.ledger = self.page()

    async def _begin(self) -> None:
        """Trade as soon as the record has begun and everybody listens."""
        await eventually(
            lambda: all(f.client and f.client.stream("position") for f in self.followers), 30
        )
        await eventually(lambda: any(c["listening"] for c in self.page()["connections"]), 30)
        await self.alpaca.order(
            "/trading/chatter", account=self.key, rate=ORDERS_PER_SECOND, seed=self.number
        )

    async def _finish(self) -> None:
        """Trade no more, and wait until everybody has what there is."""
        await self.alpaca.order("/trading/chatter", account=self.key, rate=0)
        await eventually(lambda: self._is_complete(), 60, f"all of lane {self.number}")

    def _is_complete(self) -> bool:
        heard = {follower.heard for follower in self.followers}
        if len(heard) > 1:
            return False
        follower = self.followers[0]
        if follower.client is None:
            return False
        self.owed = self.page()["events"]
        return not self.missing([*follower.updates, *follower.client.updates])

    def missing(self, updates: list[dict[str, Any]]) -> list[str]:
        """What is owed and was not told."""
        events = self.owed
        if self.has_events:
            told = {update["data"]["event_id"] for update in updates}
            return [event["event_id"] for event in events if event["event_id"] not in told]
        kinds = Counter(kind_of(update) for update in updates)
        happened = Counter(
            (event["order_id"], event["event"]) for event in events if event["event"] in TRACED
        )
        told_kinds = Counter((order_id, event) for order_id, event, _ in kinds)
        return [str(one) for one in happened - told_kinds]


def kind_of(update: dict[str, Any]) -> tuple[str, str, str]:
    """What happened, told apart from everything else that happens to this order."""
    data = update["data"]
    order = data["order"]
    return order["id"], data["event"], plain_quantity(order["filled_qty"])


@pytest.mark.timeout(600)
async def test_kills(tmp_path: Path) -> None:
    """What the consumers have at the end is what happened, once and in order."""
    accounts = [f"--account=PKLANE{number}:{SECRET}" for number in range(LANES)]
    log = tmp_path / "nursery.log"
    with simulator(*accounts, "--slot-seconds=0.05", "--trading-partial-share=0.3") as alpaca:
        async with nursery(log) as nurse_process:
            lanes = [
                Lane(
                    number,
                    alpaca,
                    nurse_process,
                    tmp_path / str(number),
                    Random(f"{SEED} {number}"),
                    has_events=number != LANES - 1,
                    followers=[Follower(), Follower(), Follower(cursor="bot")],
                )
                for number in range(LANES)
            ]
            await asyncio.gather(*(lane.run(KILLS // LANES) for lane in lanes))
        for lane in lanes:
            assert lane.ledger["peak_open"] == 1
            judge(lane, lane.ledger["events"])
        assert sum(lane.kills for lane in lanes) >= KILLS // LANES * LANES
        print(
            f"{sum(lane.kills for lane in lanes)} kills, "
            f"{sum(lane.killed_early for lane in lanes)} before it listened, "
            f"{sum(len(lane.ledger['events']) for lane in lanes)} events"
        )
    errors = log.read_text()
    assert not errors, errors[:2000]


def judge(lane: Lane, events: list[dict[str, Any]]) -> None:
    """Each consumer of a lane against the ledger."""
    for follower in lane.followers:
        name = f"lane {lane.number}, seed {SEED}"
        assert not follower.complaints, f"{name}: {follower.complaints[:3]}"
        # Catching up from orders and fills takes many calls, mostly longer than such a life.
        assert follower.visits > (LIVES_HEARD if lane.has_events else 0)
        assert [u["sequence"] for u in follower.updates] == list(
            range(1, len(follower.updates) + 1)
        )
        assert not lane.missing(follower.updates), name
        if lane.has_events:
            told = [update["data"]["event_id"] for update in follower.updates]
            assert told == [event["event_id"] for event in events][: len(told)], name
            continue
        kinds = [kind_of(u) for u in follower.updates if u["data"]["event"] in TRACED]
        assert len(kinds) == len(set(kinds)), f"{name}: twice"
        lives: dict[str, list[str]] = defaultdict(list)
        for entry in events:
            if entry["event"] in TRACED:
                lives[entry["order_id"]].append(entry["event"])
        told_lives: dict[str, list[str]] = defaultdict(list)
        for order_id, event, _ in kinds:
            told_lives[order_id].append(event)
        for order_id, told_life in told_lives.items():
            assert told_life == lives[order_id][: len(told_life)], f"{name}: reordered {order_id}"


if __name__ == "__main__":
    nurse()
