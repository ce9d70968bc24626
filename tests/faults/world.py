"""One whole simulated world of market data: exchange, Alpaca, network, proxy, consumers, faults.

The proxy is the product's own code from the socket to the socket: connector, session, feed
handler, hub, outlet. Time, names, connections and what is at their other ends are made here from a
script, so that whatever happened once happens again.
"""

from __future__ import annotations

import asyncio
import hashlib
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar
from unittest.mock import patch

import picows.api

from faults.alpaca import KEY, SECRET, Alpaca, Line
from faults.consumer import TEMPERS, Client
from faults.history import SimulatedHistory
from faults.market import Market
from faults.network import End, NetworkLoop, Tag, vanish
from faults.script import FIRST_SECONDS, Fault, Script
from faults.strike import FAULTS, Strike
from simulation.virtual_time import START_NS, VirtualClock, run_virtually
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.feed.upstream_status import UpstreamState
from stream_proxy.model.feeds import FEEDS, Feed
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.outlets.doorkeeper import Doorkeeper
from stream_proxy.outlets.limits import ConsumerLimits
from stream_proxy.outlets.orders import OrderPath
from stream_proxy.outlets.websocket import WebSocketOutlet
from stream_proxy.sources.alpaca import AlpacaSource, SourceTimings
from stream_proxy.sources.asking import BackFillLimits
from stream_proxy.sources.back_fill import BackFill
from stream_proxy.sources.connector import PicowsConnect
from stream_proxy.state.gaps import Gap
from stream_proxy.wire.alpaca.codec import CODECS
from stream_proxy.wire.alpaca.requests import Credentials

T = TypeVar("T")

SYMBOLS = ["AAPL", "MSFT", "TSLA", "NVDA"]
FEED = FEEDS["sip"]
TIMINGS = SourceTimings(silence_shortest_seconds=10.0, silence_longest_seconds=60.0)
"""The product's own, but for the patience with silence: a mute line is to be found within a world."""
LIMITS = ConsumerLimits(outbox_bytes=4_000, outbox_age_seconds=60.0)
"""The product's own, but for the size of a queue: a stalled reader fills this one in minutes."""
RING_BYTES, RING_SECONDS = 60_000, 120.0
"""Little enough that who is away for long can't go on where it was."""
BACK_FILL = BackFillLimits(messages=5000, seconds=30.0, at_once=20)
_LOOK_SECONDS = 5.0
_NOTICED_SECONDS = 21.0
"""A dead line is found by a ping every 10 s and 10 s of patience; looked at four times a second."""
_DRAIN_SECONDS = 2.0
_OPERATOR_SECONDS = 60.0


class AlwaysOpen:
    """The market's hours: it never closes."""

    def expects_data(self, feed: Feed, now_ns: int) -> bool:
        return True


@dataclass(slots=True)
class Read:
    """What one read of upstream's socket brought.

    ``whole`` is False when the proxy took only a part: then each message may have come or not.
    """

    number: int
    serials: list[int]
    whole: bool


@dataclass
class Life:
    """The proxy from its start to its end.

    Attributes:
        silent_since: where it ended on a line that had fallen silent without a word, when that was.
        mute: whether that line still answered pings.
    """

    handler: FeedHandler
    source: AlpacaSource
    outlet: WebSocketOutlet
    running: asyncio.Task[None]
    filling: asyncio.Task[None]
    began: float
    ended: float | None = None
    ending: bool = False
    refused_at: float | None = None
    silent_since: float | None = None
    mute: bool = False
    gaps: list[Gap] = field(default_factory=list)
    delivered: Counter[str] = field(default_factory=Counter)

    def keep(self, now: float, line: Line | None = None) -> None:
        """Note what is known at its end; ``line`` is the one that it had if it was killed."""
        self.ended = now
        if line is not None:
            self.silent_since, self.mute = line.silent_since, line.mute
        self.gaps = self.handler.gaps.recent()
        for (_, kind), number in self.handler.hub.delivered().items():
            self.delivered[kind] += number


@dataclass(slots=True)
class Struck:
    """A fault that took effect; ``recovered`` is when all was well again."""

    name: str
    at: float
    until: float
    recovered: float | None = None


class World:
    """Everything there is, and what befalls it."""

    def __init__(self, loop: NetworkLoop, script: Script) -> None:
        self.loop = loop
        self.script = script
        self.clock = VirtualClock(loop)
        self.jumps: list[tuple[float, float]] = [(0.0, 0.0)]
        """When our wall clock jumped, and how far it was off from then on, in seconds."""
        codec = CODECS[script.codec]
        self.alpaca = Alpaca(loop, self._fork("alpaca"), FEED, codec)
        self.market = Market(
            loop, self._fork("market"), codec, SYMBOLS, script.rate, self.alpaca.tell
        )
        self.alpaca.market = self.market
        self.history = SimulatedHistory(self.alpaca, self.market)
        self.alpaca.on_near_end = self._dialled
        self.alpaca.on_unsubscribe = self._unsubscribed
        loop.dial = self.alpaca.dial
        loop.set_exception_handler(self._uncaught)
        self.lives: list[Life] = []
        self.life: Life | None = None
        self.read_log: list[Read] = []
        self.strikes: list[Struck] = []
        self.complaints: list[str] = []
        self.odd_times = False
        """Whether messages bore wrong times: then what was missed can't be told by time."""
        self.sent_unreadable = False
        """Whether Alpaca sent anything that can't be read."""
        self.reading = False
        self.looks = 0
        self._pending: list[Struck] = []
        self._starts = 0
        self._woke_at = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._trace = hashlib.blake2b(digest_size=16)
        self._traces: dict[str, Any] = {}
        self.clients: list[Client] = [
            TEMPERS[temper](f"{temper}-{index}", loop, self._fork(f"client {index}"), self)
            for index, temper in enumerate(script.consumers)
        ]

    def _fork(self, name: object) -> Random:
        """Randomness of its own, so that one part's drawing more doesn't change the others."""
        return Random(f"{self.script.seed} {name}")

    async def run(self, judge: Callable[[World], T]) -> T:
        """Play it all, and judge it while everything is still there."""
        self.start()
        self._task(self.market.run())
        for client in self.clients:
            self._task(client.live())
        self._task(self._look())
        for fault in self.script.faults:
            self.loop.call_at(fault.at, self._commit, fault)
        await asyncio.sleep(self.script.seconds)
        self.alpaca.forgive()
        self.history.fails_until = self.history.slow_until = self.history.lags_until = 0.0
        await asyncio.sleep(self.script.calm_seconds)
        self._end()
        return judge(self)

    def _end(self) -> None:
        bearers = [life.filling for life in self.lives] + [life.running for life in self.lives]
        for task in [*self._tasks, *bearers]:
            if task.done() and not task.cancelled() and task.exception():
                self.complaints.append(f"a task failed: {task.exception()!r}")
        if self.life is None:
            self.complaints.append("the proxy did not come back")
        else:
            self.life.keep(self.loop.time())

    def _uncaught(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        shown = "".join(traceback.format_exception(error)) if error else context.get("message")
        self.complaints.append(f"nobody caught {shown}")

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        self._tasks.append(task)
        return task

    def trace(self, *what: object) -> None:
        """Note something in the order of things."""
        line = f"{self.loop.time():.9f} {what}\n".encode()
        self._trace.update(line)
        name = what[0]
        if isinstance(name, str) and name.startswith("steady") and self.loop.time() > FIRST_SECONDS:
            found = self._traces.setdefault(name, hashlib.blake2b(digest_size=16))
            found.update(line)

    @property
    def digest(self) -> str:
        """Of all that happened, in order."""
        return self._trace.hexdigest()

    def digest_of(self, client: str) -> str:
        """Of all that one steady client heard since everybody had come."""
        found = self._traces.get(client)
        return found.hexdigest() if found is not None else ""

    # The proxy's life and death

    def start(self) -> None:
        """Start the process."""
        self._starts += 1
        self.alpaca.banned = False
        # What its former life was told died with it.
        self.alpaca.not_before = 0.0
        handler = FeedHandler(
            FEED,
            CODECS[self.script.codec],
            self.clock,
            epoch=f"epoch-{self.script.seed}-{self._starts}",
            ring_bytes=RING_BYTES,
            ring_seconds=RING_SECONDS,
        )
        source = AlpacaSource(
            handler,
            f"wss://alpaca.invalid{FEED.path}",
            Credentials(KEY, SECRET),
            connect=PicowsConnect(),
            clock=self.clock,
            random=self._fork(f"source {self._starts}"),
            hours=AlwaysOpen(),
            timings=TIMINGS,
            latest=self.history,
        )
        back_fill = BackFill(handler, self.history, self.clock, BACK_FILL)
        outlet = WebSocketOutlet(_Lobby(handler), Doorkeeper(None, (), ()), LIMITS)
        source.on_status = lambda: self._status_changed(handler, outlet)

        def gap_changed(gap: Gap) -> None:
            outlet.gap_changed(handler, gap)
            back_fill.gap_changed(gap)

        handler.on_gap = gap_changed
        running = self.loop.create_task(source.run())
        filling = self.loop.create_task(back_fill.run())
        outlet.start()
        self.life = Life(handler, source, outlet, running, filling, self.loop.time())
        self.lives.append(self.life)

    def _status_changed(self, handler: FeedHandler, outlet: WebSocketOutlet) -> None:
        self.trace("status", handler.upstream.state.value)
        outlet.upstream_changed(handler)

    def kill(self) -> None:
        """End the process without a word: its kernel resets all that it had open."""
        life = self.life
        if life is None or life.ending:
            return
        life.ending = True
        # Later, since it may be in the middle of something.
        self.loop.call_soon(self._bury, life)

    def _bury(self, life: Life) -> None:
        life.keep(self.loop.time(), self.alpaca.holder)
        self.life = None
        life.running.cancel()
        life.filling.cancel()
        for line in self.alpaca.lines:
            line.near.abort()
        if life.outlet._task is not None:
            life.outlet._task.cancel()
        for connection in life.outlet.connections:
            transport = connection.transport
            assert isinstance(transport, End)
            vanish(transport)
        self.loop.call_later(self._fork(f"rise {self._starts}").uniform(0.1, 5.0), self.start)

    def terminate(self) -> None:
        """End the process in order, and start it again."""
        life = self.life
        if life is not None and not life.ending:
            life.ending = True
            self._task(self._drain(life))

    async def _drain(self, life: Life) -> None:
        life.filling.cancel()
        await life.source.stop()
        await life.outlet.stop(_DRAIN_SECONDS)
        await asyncio.wait([life.running], timeout=6)
        life.running.cancel()
        life.keep(self.loop.time())
        self.life = None
        await asyncio.sleep(0.5)
        # What the process leaves open when it ends, such as half a handshake, its kernel closes.
        for line in self.alpaca.lines:
            line.near.abort()
        self.start()

    def suspend(self, seconds: float) -> None:
        """Nothing happens anywhere, and then it is later."""
        self.loop.skip(seconds)
        self._woke_at = self.loop.time()

    def jump(self, seconds: float) -> None:
        """Set our wall clock forward, or back."""
        self.clock.jump(round(seconds * 1e9))
        self.jumps.append((self.loop.time(), self.jumps[-1][1] + seconds))

    def wall_ns(self, at: float) -> int:
        """What our wall clock showed then."""
        off = next(off for since, off in reversed(self.jumps) if since <= at)
        return START_NS + round((at + off) * 1e9)

    # As consumers see it

    def accept(self) -> asyncio.Protocol | None:
        life = self.life
        return None if life is None or life.outlet.stopping else life.outlet.accept()

    @property
    def reads(self) -> int:
        return len(self.read_log)

    # What passes

    def _dialled(self, near: End) -> None:
        life = self.life
        assert life is not None
        near.on_bytes = lambda tag, hand_over: self._read(life.handler, tag, hand_over)

    def _read(self, handler: FeedHandler, tag: Tag, hand_over: Any) -> None:
        before = handler.hub.messages
        read = Read(len(self.read_log) + 1, [], True)
        self.read_log.append(read)
        self.reading = True
        hand_over()
        self.reading = False
        taken = handler.hub.messages - before
        if tag and taken:
            read.serials, read.whole = tag, taken == len(tag)
            self.trace("read", read.number, tag, taken)
            self._perhaps_recovered(handler)

    def _unsubscribed(self, removed: SubscriptionSet, left: SubscriptionSet) -> None:
        """Upstream is asked to stop sending these: nobody may want them who was promised them."""
        if self.life is None:
            return
        for dialog in self.life.outlet.consumers():
            if dialog.consumer is not None:
                for channel, symbol in dialog.consumer.topics & removed:
                    if not left.covers(channel, symbol):
                        self.complaints.append(f"gave {channel} {symbol} back, which is wanted")

    # Faults

    def _commit(self, fault: Fault) -> None:
        def strike() -> None:
            if self.loop.time() > self.script.seconds:
                return  # the world stood still when it was due
            FAULTS[fault.kind].commit(Strike(fault.kind, self, Random(f"fault {fault.draw}")))

        if fault.step:
            # Soon: a fault may take away what is just being used.
            self.alpaca.alarm(fault.step, lambda: self.loop.call_soon(strike) and None)  # type: ignore[arg-type]
            line = self.alpaca.line
            if line is not None:
                line.finish(1001)
        else:
            strike()

    def struck(self, name: str, lasts_seconds: float) -> None:
        """A fault takes effect now."""
        now = self.loop.time()
        found = Struck(name, now, now + lasts_seconds)
        self.strikes.append(found)
        self._pending.append(found)
        self.trace("fault", name)

    def _perhaps_recovered(self, handler: FeedHandler) -> None:
        if not self._pending or handler.gaps.current is not None:
            return
        if handler.upstream.state is UpstreamState.CONNECTED:
            now = self.loop.time()
            for found in self._pending:
                if now > found.at:
                    found.recovered = now
            self._pending = [found for found in self._pending if found.recovered is None]

    def _look_at_a_refusal(self, life: Life) -> None:
        """Refused for good, it waits for its operator, who sees it after a minute."""
        if life.handler.upstream.state is not UpstreamState.REFUSED:
            return
        if life.refused_at is None:
            life.refused_at = self.loop.time()
        elif self.loop.time() - (life.refused_at or 0.0) > _OPERATOR_SECONDS:
            self.alpaca.keys_valid = True
            self.terminate()

    def expect_patience(self, name: str, seconds: float, most: int) -> None:
        """It must not try more often than this for so long."""
        dials, life, began = len(self.alpaca.dials), self.life, self.loop.time()

        def look() -> None:
            # Whom another fault kept from getting there may try again.
            others = sum(one.until > began and one.name != name for one in self.strikes)
            tried = len(self.alpaca.dials) - dials - others
            if life is self.life and tried > most:
                self.complaints.append(f"tried {tried} times in {seconds:.0f} s")

        self.loop.call_later(seconds, look)

    # What must be true at any time

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self.looks += 1
            life = self.life
            if life is None:
                continue
            open_lines = [line for line in self.alpaca.lines if not line.near.ended]
            if len(open_lines) > 1:
                self.complaints.append(f"{len(open_lines)} connections at once")
            for _, outbox in life.outlet.outboxes():
                if outbox.queued_bytes > LIMITS.outbox_bytes:
                    self.complaints.append(f"{outbox.queued_bytes} bytes wait in one queue")
            self._look_at_the_state(life, open_lines)
            self._look_at_a_refusal(life)

    def _look_at_the_state(self, life: Life, open_lines: list[Line]) -> None:
        upstream = life.handler.upstream
        if upstream.state is not UpstreamState.CONNECTED or life.ending:
            return
        now = self.loop.time()
        dead = [
            line.dead_since
            for line in open_lines
            if line.dead_since is not None
            and now - max(line.dead_since, self._woke_at) > _NOTICED_SECONDS
        ]
        if dead or not open_lines:
            self.complaints.append(f"says it is connected; the line is dead since {dead}")


class _Lobby:
    """The program around the outlet."""

    def __init__(self, handler: FeedHandler) -> None:
        self._handler = handler

    def feed_for_path(self, path: str) -> Feed | None:
        return FEED if path == FEED.path else None

    def orders_for_path(self, path: str) -> OrderPath | None:
        return None

    def handler_for(self, feed: Feed) -> FeedHandler | None:
        return self._handler


def run_script(script: Script, judge: Callable[[World], T]) -> T:
    """Let a world come, go wrong, and come to rest; give what is thought of it then."""
    loop = NetworkLoop()
    world = World(loop, script)
    with patch.object(picows.api, "_HAS_AIOFASTNET", False):
        # Else it would pass the loop by and open sockets itself.
        return run_virtually(loop, world.run(judge))
