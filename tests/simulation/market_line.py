"""A market-data stream of Alpaca's in this process, and the proxy's real source at its other end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from simulation.market_tape import Listed, Tape, Topic
from simulation.virtual_time import START_NS, VirtualClock
from stream_proxy.feed.consumer import Consumer
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.hub.outbox import Outbox
from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.messages import Quote, Status, Trade
from stream_proxy.model.time import NS_PER_SECOND, to_timestamp
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.outlets.shapes import shape_for
from stream_proxy.sources.alpaca import AlpacaSource, SourceTimings
from stream_proxy.sources.connector import Connection, Receiver
from stream_proxy.sources.market_hours import ExchangeMarketHours
from stream_proxy.wire.alpaca.codec import MSGPACK
from stream_proxy.wire.alpaca.requests import Credentials

_LATENCY_SECONDS = 0.02
_TICK_SECONDS = 0.25


class Line:
    """One connection; does what upstream does, or what is wrong with it.

    Attributes:
        asked: the subscribes and unsubscribes that came.
        mute: symbols that aren't sent until they are subscribed anew; ``*`` is all, for ever.
        half_open: nothing comes through any more, in either direction.
        held_up: what is under way waits, data and pongs alike.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, receiver: Receiver) -> None:
        self._loop = loop
        self._receiver = receiver
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self.held: set[Topic] = set()
        self.mute: set[str] = set()
        self.half_open = False
        self.held_up = False
        self._late: list[bytes | None] = []
        self.open = True
        self.say({"T": "success", "msg": "connected"})

    def say(self, *messages: Any) -> None:
        self._bring(MSGPACK.encode(messages))

    def _bring(self, payload: bytes | None) -> None:
        """Deliver a frame, or a pong."""
        if self.half_open or not self.open:
            return
        if self.held_up:
            self._late.append(payload)
        elif payload is None:
            self._loop.call_later(_LATENCY_SECONDS, self._receiver.on_pong)
        else:
            self._loop.call_later(_LATENCY_SECONDS, self._deliver, payload)

    def _deliver(self, payload: bytes) -> None:
        if self.open:
            self._receiver.on_messages([payload])

    def let_through(self) -> None:
        """What was held up arrives, in order."""
        self.held_up = False
        late, self._late = self._late, []
        for payload in late:
            self._bring(payload)

    def send(self, payload: bytes, binary: bool) -> None:
        request = MSGPACK.decode(payload)
        action = request.pop("action")
        if action == "auth":
            self.say({"T": "success", "msg": "authenticated"})
            return
        self.asked.append((action, request))
        topics = {(channel, symbol) for channel, symbols in request.items() for symbol in symbols}
        if action == "subscribe":
            self.held |= topics
            self.mute -= {symbol for _, symbol in topics}
        else:
            self.held -= topics
        held = SubscriptionSet.of(sorted(self.held)).as_dict()
        self.say({"T": "subscription", **{c: held.get(c, []) for c in FEEDS["sip"].channels}})

    def ping(self) -> None:
        self._bring(None)

    async def close(self, code: int, timeout_seconds: float) -> None:
        self.open = False


class Market:
    """Trades, tells who is connected, and answers over REST what is the latest.

    Args:
        at_ns: when the story begins.
        rest: whether REST answers.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        hours: ExchangeMarketHours,
        at_ns: int,
        symbols: Sequence[Listed],
        *,
        rest: bool = True,
        seed: int = 1,
    ) -> None:
        self.loop = loop
        self.clock = VirtualClock(loop, at_ns - START_NS)
        self.hours = hours
        self.tape = Tape(list(symbols), seed)
        self.rest = rest
        self.lines: list[Line] = []
        self.handler = FeedHandler(FEEDS["sip"], MSGPACK, self.clock, linger_seconds=0)
        self.source = AlpacaSource(
            self.handler,
            "wss://simulated",
            Credentials("key", "secret"),
            connect=self._connect,
            clock=self.clock,
            random=Random(seed),
            hours=hours,
            timings=SourceTimings(),
            latest=self,
        )
        outbox = Outbox(lambda frame: None, 1 << 30, 1 << 62, lambda: None)
        consumer = Consumer("one", outbox, shape_for("msgpack", "json"), lambda t, code: None)
        self.handler.join(consumer)
        topics = {(channel, one.name) for one in symbols for channel in one.pauses}
        wanted = SubscriptionSet.of([*sorted(topics), ("statuses", "*")])
        self.handler.subscribe(consumer, wanted, lambda refusal: None)

    @property
    def line(self) -> Line:
        """The connection that was made last."""
        return self.lines[-1]

    @property
    def now(self) -> float:
        """Seconds of the wall clock."""
        return self.clock.now_ns() / NS_PER_SECOND

    async def _connect(
        self, url: str, headers: Mapping[str, str], receiver: Receiver, timeout_seconds: float
    ) -> Connection:
        await asyncio.sleep(_LATENCY_SECONDS)
        assert not any(line.open for line in self.lines), "a second connection"
        self.lines.append(Line(self.loop, receiver))
        return self.line

    async def latest_ns(self, channel: str, symbols: Sequence[str]) -> dict[str, int] | None:
        await asyncio.sleep(0.1)
        happened = {s: self.tape.happened.get((channel, s)) for s in symbols}
        known = {s: int(at * NS_PER_SECOND) for s, at in happened.items() if at is not None}
        return known if self.rest else None

    @staticmethod
    def now_ns() -> None:
        return None

    async def trade(self) -> None:
        """Let the market trade, for ever."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            period = self.hours.period(FEEDS["sip"], self.clock.now_ns())
            new = self.tape.advance(self.now, period)
            if not self.lines:
                continue
            line = self.line
            sent = [
                self._message(*topic)
                for topic in new
                if topic in line.held and not line.mute & {topic[1], "*"}
            ]
            if sent:
                line.say(*sent)

    def _message(self, channel: str, symbol: str) -> Quote | Trade:
        at = to_timestamp(int(self.tape.happened[channel, symbol] * NS_PER_SECOND))
        if channel == "quotes":
            return Quote(symbol, "Q", 1.5, 100, "P", 1.6, 200, ["R"], "C", at)
        return Trade(symbol, 1, "Q", 1.5, 100, ["@"], "C", at)

    def halt(self, symbol: str, code: str) -> None:
        """Stop trading in a symbol (``H``), or let it go on (``T``), and say so."""
        self.tape.halted.add(symbol) if code == "H" else self.tape.halted.discard(symbol)
        at = to_timestamp(self.clock.now_ns())
        self.line.say(Status(symbol, code, "status", "T1", "News Pending", at, "C"))
