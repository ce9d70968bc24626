"""One whole simulated world: Alpaca, the proxy's order side, its journal, consumers, and faults.

The order side runs as it is: feed, source, reconciling, journal. Everything around it, time
included, is made here from one seed, so that whatever happened once happens again.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from simulation.alpaca import Alpaca
from simulation.consumer import SimulatedConsumer, Wish
from simulation.journal import SimulatedWriter
from simulation.moments import CONSUMER, UPSTREAM, Moments
from simulation.rest import SimulatedRest
from simulation.virtual_time import VirtualClock, VirtualLoop, run_virtually
from simulation.weather import Weather
from stream_proxy.feed.orders import Account, Environment, OrderFeed
from stream_proxy.model.orders import OrderRecord
from stream_proxy.simulator.trading.account import Event
from stream_proxy.sources.trading.stream import TradingSource, TradingTimings
from stream_proxy.state.journal import Journal
from stream_proxy.wire.alpaca.requests import Credentials

_NAME = "paper"
_TIMINGS = TradingTimings(
    connect_seconds=2.0,
    handshake_seconds=2.0,
    ping_seconds=1.5,
    pong_seconds=1.5,
    probe_seconds=4.0,
    probe_answer_seconds=1.5,
    close_seconds=0.5,
    backoff_initial_seconds=0.2,
    backoff_max_seconds=3.0,
    reconcile_seconds=100.0,
)
"""Shorter than usual, so that more goes wrong in a minute; what they wait for is the same."""
_BEFORE_SECONDS = 10.0
_SEEN_SECONDS = 0.1
"""After so long a lost connection has been noticed, where it can be."""
_REST_SECONDS = 150.0
"""Until the last comparison with Alpaca's record, and the periodic one, are over."""


@dataclass(slots=True)
class Struck:
    """A fault that was committed; ``recovered`` is when the feed was ready for the first time after
    it."""

    name: str
    at: float
    recovered: float | None = None


@dataclass
class Outcome:
    """What one world came to."""

    seed: int
    weather: Weather
    began_ns: int
    """When the record began, by our clock."""
    ledger: list[Event]
    journal: list[OrderRecord]
    consumers: list[SimulatedConsumer]
    upstream_ends: dict[str, int]
    second_lines: int
    deaths: int
    passed_early: int
    """How often fresh events did not wait until what was missed before them was known."""
    moments: Moments
    struck: list[Struck]
    missed: int
    simulated_seconds: float
    complaints: list[str] = field(default_factory=list)

    @property
    def since_ns(self) -> int:
        """When the record began, by Alpaca's clock, or a little earlier."""
        return self.began_ns + min(0, int(self.weather.ahead_seconds * 1e9))

    @property
    def in_order(self) -> bool:
        """Whether everything missed was found before fresh events stopped waiting for it."""
        return self.weather.in_order and not self.passed_early

    @property
    def disconnects(self) -> int:
        """How many connections were ended, on either side."""
        ends = sum(n for how, n in self.upstream_ends.items() if how != "closed by the proxy")
        return ends + sum(consumer.cuts for consumer in self.consumers)


def run_world(seed: int, weather: Weather, folder: Path) -> Outcome:
    """Let a world come, go wrong, and come to rest."""
    loop = VirtualLoop()
    try:
        return run_virtually(loop, World(loop, seed, weather, folder).run())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class World:
    """Everything there is, and what befalls it."""

    def __init__(self, loop: VirtualLoop, seed: int, weather: Weather, folder: Path) -> None:
        self.seed = seed
        self.weather = weather
        self.moments = Moments()
        self.random = Random(f"world {seed}")
        self.loop = loop
        self.clock = VirtualClock(loop)
        self.alpaca = Alpaca(loop, self._fork("alpaca"), weather, self.moments)
        self.rest = SimulatedRest(self.alpaca)
        self.deaths = 0
        self._folder = folder
        self._lives = 0
        self._began_ns = 0
        self._passed_early = 0
        self._path = folder
        self._writer: SimulatedWriter | None = None
        self.feed: OrderFeed | None = None
        self.source: TradingSource | None = None
        self._running: asyncio.Task[None] | None = None
        self._changing = False
        self._tasks: list[asyncio.Task[None]] = []
        self._wrong = True
        self.struck: list[Struck] = []
        self._waiting: list[Struck] = []
        self.consumers = [
            SimulatedConsumer(f"{wish.name}-{i}", wish, begins, loop, self._fork(i), self.moments)
            for i, (wish, begins) in enumerate(
                (
                    (Wish.SEQUENCE, "oldest"),
                    (Wish.SEQUENCE, "now"),
                    (Wish.EVENT_ID, "oldest"),
                    (Wish.CURSOR, ""),
                )
            )
        ]

    def _fork(self, name: object) -> Random:
        """Randomness of its own, so that one part's drawing more doesn't change the others."""
        return Random(f"{self.seed} {name}")

    async def run(self) -> Outcome:
        self._task(self.alpaca.trade())
        await asyncio.sleep(self.random.uniform(0, _BEFORE_SECONDS))
        self.start()
        for consumer in self.consumers:
            self._task(consumer.live(self._feed_now))
        faults = [
            self._task(self._upstream_faults()),
            self._task(self._consumer_faults()),
            self._task(self._acknowledging()),
            self._task(self._jump()),
        ]
        await asyncio.sleep(self.weather.seconds)
        await self._calm(faults)
        return self._outcome()

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        self._tasks.append(task)
        return task

    def _feed_now(self) -> OrderFeed | None:
        return self.feed

    async def _calm(self, faults: list[asyncio.Task[None]]) -> None:
        """Let nothing more go wrong, and wait until everybody has what there is."""
        self._wrong = False
        for task in faults:
            task.cancel()
        self.moments.disarm()
        self.alpaca.stop_trading()
        self.alpaca.refusals.clear()
        self.alpaca.swallow = 0
        self.rest.fails_until = 0.0
        await asyncio.sleep(_REST_SECONDS)

    def _outcome(self) -> Outcome:
        assert self._writer is not None and self.feed is not None
        journal = self._writer.journal
        records: list[OrderRecord] = []
        while more := journal.read(_NAME, len(records)):
            records += more
        outcome = Outcome(
            self.seed,
            self.weather,
            self._began_ns,
            list(self.alpaca.account.events),
            records,
            self.consumers,
            dict(self.alpaca.ends),
            self.alpaca.second_lines,
            self.deaths,
            self._passed_early + self.feed.counts.passed_early,
            self.moments,
            self.struck,
            self.alpaca.missed,
            self.loop.time(),
        )
        if not self.feed.ready:
            outcome.complaints.append("the proxy does not say that it is ready")
        for task in [*self._tasks, self._running]:
            if task is not None and task.done() and not task.cancelled() and task.exception():
                outcome.complaints.append(f"a task failed: {task.exception()!r}")
        journal.close()
        return outcome

    # The proxy's life and death

    def start(self) -> None:
        self._lives += 1
        epoch = f"epoch-{self.seed}"
        path = self._folder / str(self._lives)
        path.mkdir(parents=True, exist_ok=True)
        self._path = path / "orders.sqlite3"
        journal = Journal(self._path, new_epoch=lambda: epoch)
        self._writer = SimulatedWriter(
            self.loop, journal, self._fork(f"disk {self._lives}"), self.moments
        )
        self.feed = OrderFeed(Account(_NAME, Environment.PAPER), self._writer, self.clock)
        self.feed.on_change = self._changed
        self.feed.open()
        self.source = TradingSource(
            self.feed,
            "wss://alpaca.invalid/stream",
            Credentials("PK", "secret"),
            self.rest,
            connect=self.alpaca.connect,
            clock=self.clock,
            random=self._fork(f"source {self._lives}"),
            timings=_TIMINGS,
        )
        self._running = self.loop.create_task(self.source.run())

    def die(self) -> None:
        """Kill the process: what is in memory is gone, what is on the disk is as it is."""
        writer, running = self._writer, self._running
        if self._changing or writer is None or running is None:
            return
        self._changing = True
        self.deaths += 1
        writer.dead = True
        if self.alpaca.line is not None:
            self.alpaca.line.vanish()
        self._everybody_out()
        running.cancel()
        # The journal is not closed first: its log is found as the dead process left it.
        following = self._folder / str(self._lives + 1)
        following.mkdir(parents=True)
        for file in self._path.parent.iterdir():
            shutil.copy(file, following / file.name)
        self.loop.call_soon(self._bury, writer)

    def _bury(self, writer: SimulatedWriter) -> None:
        # Later: it may have died in the middle of a commit's news.
        writer.journal.close()
        shutil.rmtree(self._path.parent)
        self.loop.call_later(self.random.uniform(0.05, 3.0), self._rise)

    def _rise(self) -> None:
        self._changing = False
        self.start()

    async def _restart(self) -> None:
        """End in order, and begin again."""
        writer, source, running = self._writer, self.source, self._running
        if self._changing or writer is None or source is None or running is None:
            return
        self._changing = True
        await source.stop()
        await running
        while not writer.idle:
            await asyncio.sleep(0.001)
        self._everybody_out()
        writer.dead = True
        writer.journal.close()
        (self._folder / str(self._lives)).rename(self._folder / str(self._lives + 1))
        await asyncio.sleep(self.random.uniform(0.05, 1.0))
        self._changing = False
        self.start()

    def _begin_again(self) -> None:
        self._task(self._restart())

    def _everybody_out(self) -> None:
        assert self.feed is not None
        self._passed_early += self.feed.counts.passed_early
        self.feed = None
        for consumer in self.consumers:
            consumer.cut(proxy_is_gone=True)

    # Faults

    async def _upstream_faults(self) -> None:
        random, alpaca = self.random, self.alpaca
        ways: list[tuple[int, str, Callable[[], None]]] = [
            (10, "reset", self._reset),
            (5, "finished", self._finish),
            (3, "half open", self._half_open),
            (2, "mute", self._mute),
            (4, "slow", self._slow),
            (3, "told again", self._tell_again),
            (3, "refused upgrade", self._refuse),
            (3, "REST fails", self._rest_fails),
            (3, "killed", self.die),
            (1, "told to end", self._begin_again),
        ]
        if self.weather.swallows:
            ways.append((3, "swallowed", self._swallow))
        weights = [weight for weight, _, _ in ways]
        while True:
            await asyncio.sleep(random.expovariate(0.5))
            _, name, act = random.choices(ways, weights)[0]
            strike = self._noted(name, act)
            if random.random() < 0.6:
                self.moments.arm(random.choice(UPSTREAM), strike)
            else:
                strike()
            if alpaca.line is None and random.random() < 0.1:
                # While it connects anew, hit it again.
                self.moments.arm(random.choice(UPSTREAM[1:4]), self._reset)

    def _noted(self, name: str, act: Callable[[], None]) -> Callable[[], None]:
        """The same, and it is known when."""

        def strike() -> None:
            found = Struck(name, self.loop.time())
            self.struck.append(found)
            self._waiting.append(found)
            act()
            # What disturbs nobody changes nothing.
            self.loop.call_later(_SEEN_SECONDS, self._perhaps_recovered)

        return strike

    def _changed(self) -> None:
        if not self._began_ns and self.feed is not None and self.feed.state is not None:
            self._began_ns = self.feed.state.since_ns
        self._perhaps_recovered()

    def _perhaps_recovered(self) -> None:
        if self.feed is not None and self.feed.ready:
            now = self.loop.time()
            for found in self._waiting:
                if now > found.at:
                    found.recovered = now
            self._waiting = [found for found in self._waiting if found.recovered is None]

    async def _jump(self) -> None:
        """Let our clock go off, and come back."""
        jump_ns = int(self.weather.jump_seconds * 1e9) * self._fork("jump").choice((1, -1))
        await asyncio.sleep(self.weather.seconds / 4)
        if jump_ns:
            self._noted("clock jump", lambda: None)()
        self.clock.jump(jump_ns)
        await asyncio.sleep(self.weather.seconds / 6)
        self.clock.jump(-jump_ns)

    def _reset(self) -> None:
        if self.alpaca.line is not None:
            self.alpaca.line.reset()

    def _finish(self) -> None:
        if self.alpaca.line is not None:
            self.alpaca.line.finish()

    def _half_open(self) -> None:
        if self.alpaca.line is not None:
            self.alpaca.line.half_open = True

    def _mute(self) -> None:
        if self.alpaca.line is not None:
            self.alpaca.line.mute = True

    def _slow(self) -> None:
        if self.alpaca.line is not None:
            self.alpaca.line.slow = self.random.uniform(0.1, 1.5)

    def _tell_again(self) -> None:
        if self.alpaca.line is not None:
            self.alpaca.line.tell_again()

    def _refuse(self) -> None:
        count = self.random.randint(1, 3)
        self.alpaca.refusals.extend(self.random.choices((429, 503, None), k=count))
        self._reset()

    def _rest_fails(self) -> None:
        seconds = self.random.uniform(0.1, self.weather.outage_seconds)
        self.rest.fails_until = self.loop.time() + seconds
        if self.random.random() < 0.5:
            self._reset()

    def _swallow(self) -> None:
        self.alpaca.swallow = self.random.randint(1, 3)

    async def _consumer_faults(self) -> None:
        random = self.random
        while True:
            await asyncio.sleep(random.expovariate(1.5))
            consumer = random.choice(self.consumers)
            what = random.random()
            if what < 0.15:
                consumer.stall(random.uniform(0.1, 10.0))
            elif what < 0.6:
                self.moments.arm(random.choice(CONSUMER), consumer.cut)
            else:
                consumer.cut()

    async def _acknowledging(self) -> None:
        while True:
            await asyncio.sleep(self.random.expovariate(1.0))
            for consumer in self.consumers:
                consumer.acknowledge()
