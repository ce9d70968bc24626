"""Alpaca as the proxy meets it, in this process: an account that trades, and one trading stream.

What was traded is the simulator's engine and its list of events, which no fault touches. The
stream speaks the protocol, with a delay in each direction, and ends in every way that sockets do.
Source: Alpaca, "WebSocket Streaming" (trading).
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Mapping
from decimal import Decimal
from random import Random

import msgspec

from simulation.moments import Moments
from simulation.virtual_time import VirtualClock
from simulation.weather import Weather
from stream_proxy.simulator.trading.account import Event
from stream_proxy.simulator.trading.amounts import cents, text
from stream_proxy.simulator.trading.chatter import Chatter
from stream_proxy.simulator.trading.engine import Engine, EngineRules
from stream_proxy.simulator.trading.forcing import force
from stream_proxy.simulator.trading.prices import WalkingMarket
from stream_proxy.simulator.trading.refusals import Refusal
from stream_proxy.sources.connector import ConnectFailed, Receiver

RARE = ("restated", "suspended", "new", "done_for_day", "new", "restated")
_EXITS = (Decimal(1), Decimal("1.002"), Decimal("0.998"))
"""Entry, take-profit and stop-loss, as shares of the entry's price."""
_SHORTEST_STEP, _LONGEST_STEP = 0.02, 0.25
_SHORTEST_WAY, _LONGEST_WAY = 0.001, 0.04


class Alpaca:
    """An account and its one stream."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, random: Random, weather: Weather, moments: Moments
    ) -> None:
        self.loop = loop
        self.random = random
        self.weather = weather
        self.moments = moments
        self.clock = VirtualClock(loop, int(weather.ahead_seconds * 1e9))
        self.engine = Engine(
            WalkingMarket(random.randrange(1000)),
            Random(random.random()),
            rules=EngineRules(partial_share=0.4),
        )
        now_ns = self.clock.now_ns()
        self.account = self.engine.account("paper", "PK", now_ns)
        seed = random.randrange(1 << 30)
        self._chatter: Chatter | None = Chatter(
            self.engine, self.account, weather.orders_per_second, seed, now_ns
        )
        self.line: Line | None = None
        self.second_lines = 0
        """Attempts to connect while the proxy's own connection was still open."""
        self.connects = 0
        self.ends: Counter[str] = Counter()
        self.refusals: deque[int | Exception | None] = deque()
        self.refuses_keys = False
        self.slot_free_at = 0.0
        self.swallow = 0
        self.missed = 0
        """Events that happened while nobody was connected."""

    # Trading

    async def trade(self) -> None:
        """Let the account trade, for ever."""
        while True:
            await asyncio.sleep(self.random.uniform(_SHORTEST_STEP, _LONGEST_STEP))
            now_ns = self.clock.now_ns()
            if self._chatter is not None:
                self._chatter.step(now_ns)
                if self.weather.rare_events and self.random.random() < 0.1:
                    self._force_something(now_ns)
                if self.weather.exits and self.random.random() < 0.03:
                    self._enter_with_exits(now_ns)
            self.engine.step(now_ns)
            for _, event in self.engine.take_events():
                self.moments.passes("event happened")
                if self.line is not None:
                    self.line.tell(event)
                else:
                    self.missed += 1

    def _force_something(self, now_ns: int) -> None:
        orders = [o for o in self.account.working.values() if o.limit_price is not None]
        if orders:
            try:
                force(
                    self.engine,
                    self.account,
                    self.random.choice(orders),
                    self.random.choice(RARE),
                    now_ns,
                )
            except Refusal:
                pass  # it can't follow the order's present status

    def _enter_with_exits(self, now_ns: int) -> None:
        """Buy now, or at a price that may never come; exits wait for that."""
        quote = self.engine.market.quote("AAPL", now_ns)
        assert quote is not None
        near = Decimal("0.997") + Decimal(self.random.randint(0, 4)) / 1000
        entry, profit, loss = (cents(quote.ask * near * share) for share in _EXITS)
        fields: dict[str, object] = {
            "symbol": "AAPL",
            "qty": "2",
            "side": "buy",
            "type": "limit",
            "limit_price": text(entry),
            "time_in_force": "day",
            "order_class": "bracket",
            "take_profit": {"limit_price": text(profit)},
            "stop_loss": {"stop_price": text(loss)},
        }
        try:
            self.engine.submit(self.account, fields, now_ns)
        except Refusal:
            pass  # more than the account can afford

    def stop_trading(self) -> None:
        """No new orders; what is open goes on."""
        self._chatter = None

    # The stream

    async def connect(
        self, url: str, headers: Mapping[str, str], receiver: Receiver, timeout_seconds: float
    ) -> Line:
        """`Connect`, as the source knows it."""
        self.connects += 1
        self.moments.passes("connect asked")
        await asyncio.sleep(self.one_way())
        if self.refusals:
            status = self.refusals.popleft()
            if isinstance(status, Exception):
                raise status
            if status is None:
                await asyncio.sleep(timeout_seconds)
                raise ConnectFailed(f"no answer within {timeout_seconds:g} s")
            raise ConnectFailed(f"HTTP {status} instead of a WebSocket", status)
        if self.line is not None:
            self.second_lines += 1
        if self.line is not None or self.loop.time() < self.slot_free_at:
            raise ConnectFailed("HTTP 429 instead of a WebSocket", 429)
        line = self.line = Line(self, receiver)
        self.moments.passes("connected")
        await asyncio.sleep(self.one_way())
        return line

    def one_way(self) -> float:
        """Seconds that a message travels."""
        return self.random.uniform(_SHORTEST_WAY, _LONGEST_WAY)


class Line:
    """One socket, both ends of it. The proxy sees `Connection`."""

    def __init__(self, alpaca: Alpaca, receiver: Receiver) -> None:
        self._alpaca = alpaca
        self._loop = alpaca.loop
        self._receiver = receiver
        self._authorized = False
        self._listening = False
        self._on_its_way: deque[list[bytes]] = deque()
        self._arrives_at = 0.0
        self._heard_at = 0.0
        self._asked: deque[bytes] = deque()
        self._told: deque[bytes] = deque(maxlen=20)
        self._silenced = False
        self.ended = False
        self.half_open = False
        """Nothing passes any more, and neither end knows."""
        self.mute = False
        """Pings are answered, and that is all."""
        self.slow = 0.0
        """Seconds that the next message takes longer; those behind it wait for it."""

    # The proxy's end

    def send(self, payload: bytes, binary: bool) -> None:
        if not (self.ended or self.half_open):
            self._asked.append(payload)
            self._heard_at = max(self._heard_at, self._loop.time() + self._alpaca.one_way())
            self._loop.call_at(self._heard_at, self._hear)

    def ping(self) -> None:
        if not (self.ended or self.half_open):
            self._loop.call_later(2 * self._alpaca.one_way(), self._pong)

    def _pong(self) -> None:
        if not (self.ended or self.half_open or self._silenced):
            self._receiver.on_pong()

    async def close(self, code: int, timeout_seconds: float) -> None:
        self._silenced = True
        if self.ended:
            return
        await asyncio.sleep(timeout_seconds if self.half_open else self._alpaca.one_way())
        self._end("closed by the proxy", clean=not self.half_open)

    # Alpaca's end

    def _hear(self) -> None:
        payload = self._asked.popleft()
        if self.ended or self.half_open or self.mute:
            return
        message = msgspec.json.decode(payload)
        if message["action"] == "authenticate" and self._alpaca.refuses_keys:
            data = {"status": "unauthorized", "action": "authenticate"}
            self._say({"stream": "authorization", "data": data})
        elif message["action"] == "authenticate":
            self._authorized = True
            self._say(
                {
                    "stream": "authorization",
                    "data": {"status": "authorized", "action": "authenticate"},
                }
            )
            self._alpaca.moments.passes("authorized")
        elif self._authorized:
            assert message == {"action": "listen", "data": {"streams": ["trade_updates"]}}
            self._say({"stream": "listening", "data": {"streams": ["trade_updates"]}})
            self._listening = True
            self._alpaca.moments.passes("listening")

    def tell(self, event: Event) -> None:
        """Send an event to whoever listens."""
        if not self._listening:
            return
        if self._alpaca.swallow:
            self._alpaca.swallow -= 1
            return
        payload = msgspec.json.encode({"stream": "trade_updates", "data": event.data})
        self._told.append(payload)
        self._write([payload])
        self._alpaca.moments.passes("event sent")

    def tell_again(self) -> None:
        """Send something a second time: the last event, or some of those before it."""
        told = list(self._told)
        if self._listening and told:
            count = self._alpaca.random.randint(1, len(told))
            self._write(told[-count:])

    def _say(self, message: dict[str, object]) -> None:
        self._write([msgspec.json.encode(message)])

    def _write(self, payloads: list[bytes]) -> None:
        if self.ended or self.half_open or self.mute:
            return
        due = self._loop.time() + self._alpaca.one_way() + self.slow
        self.slow = 0.0
        self._arrives_at = max(self._arrives_at, due)
        self._on_its_way.append(payloads)
        self._loop.call_at(self._arrives_at, self._bring)

    def _bring(self) -> None:
        # The queue keeps the order: timers of one instant have none.
        if not self._on_its_way:
            return
        payloads = self._on_its_way.popleft()
        if not (self.half_open or self._silenced):
            self._receiver.on_messages(payloads)
            self._alpaca.moments.passes("event arrived")

    # The ways in which it ends

    def reset(self) -> None:
        """What is on its way is lost; the proxy sees that the socket is gone."""
        if not self.ended:
            self._on_its_way.clear()
            self._end("reset", clean=False)
            self._loop.call_later(self._alpaca.one_way(), self._lost, "connection reset")

    def finish(self) -> None:
        """What is on its way still arrives, then a close frame."""
        if not self.ended:
            self._end("finished", clean=True)
            arrived = max(self._arrives_at, self._loop.time()) + self._alpaca.one_way()
            self._loop.call_at(arrived, self._lost, "closed by upstream with 1001")

    def vanish(self) -> None:
        """The proxy's process is gone, and nobody is left to hear of anything."""
        self._silenced = True
        self._on_its_way.clear()
        if not self.ended:
            self._end("the proxy died", clean=False)

    def _lost(self, why: str) -> None:
        if not self._silenced:
            self._silenced = True
            self._receiver.on_lost(why)

    def _end(self, how: str, clean: bool) -> None:
        if self.ended:
            return
        alpaca = self._alpaca
        self.ended = True
        alpaca.ends[how] += 1
        if alpaca.line is self:
            alpaca.line = None
        if not clean and alpaca.random.random() < 0.2:
            alpaca.slot_free_at = self._loop.time() + alpaca.random.uniform(0.5, 5.0)
