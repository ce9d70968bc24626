"""One endpoint at work: takes messages from its market and sends each client what it asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING

from stream_proxy.model.feeds import Feed
from stream_proxy.model.messages import Message, News
from stream_proxy.model.time import NS_PER_SECOND
from stream_proxy.model.topics import WILDCARD, SubscriptionSet
from stream_proxy.runtime.clock import Clock
from stream_proxy.simulator.history.record import History
from stream_proxy.simulator.market.base import Market
from stream_proxy.simulator.options import SimulatorOptions
from stream_proxy.wire.alpaca.codec import CODECS, MSGPACK
from stream_proxy.wire.websocket import frame

if TYPE_CHECKING:
    from stream_proxy.simulator.session import SimulatorConnection

_BURST = 2000
"""Messages per turn at full speed: large enough to be fast, small enough to answer pings."""
_TURN_SECONDS = 0.01
_PAST_RATE = 50
_END_OF_TIME_NS = 1 << 62


class Endpoint:
    """A market, its clients, and the pace between them.

    Args:
        replay_speed: None for a generated market; for a recording 1 is real time, n is n times
            as fast, 0 as fast as the clients take it.
    """

    def __init__(
        self,
        feed: Feed,
        market: Market,
        options: SimulatorOptions,
        clock: Clock,
        *,
        replay_speed: float | None,
        running: bool,
    ) -> None:
        self.feed = feed
        self.market = market
        self.rate = options.rate
        self.running = running
        self.generated = 0
        self.exhausted = False
        self._options = options
        self._clock = clock
        self._replay_speed = replay_speed
        self._connections: dict[SimulatorConnection, None] = {}
        self._random = Random(options.seed)  # noqa: S311 (array lengths, not secrets)
        self._wake = asyncio.Event()
        self._begun = False
        self.history = (
            History(options.history_minutes * 60, options.history_bytes)
            if options.history_minutes
            else None
        )
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def watched(self) -> bool:
        """Whether time runs here.

        It does while somebody has subscribed to something. Where the past is kept, it goes on
        without anybody once it has begun.
        """
        if not self.running:
            return False
        return (self._remembers and self._begun) or any(c.topics for c in self._connections)

    @property
    def _full_speed(self) -> bool:
        """Whether the pace is that of the clients."""
        return self._replay_speed == 0 if self._replay_speed is not None else not self.rate

    @property
    def _remembers(self) -> bool:
        return self.history is not None and not self._full_speed

    def live_through(self, from_ns: int, to_ns: int) -> None:
        """Let a generated market have its past, at a quiet pace, before anybody comes."""
        for now_ns in range(from_ns, to_ns, NS_PER_SECOND):
            messages = self.market.take(int(min(self.rate, _PAST_RATE)), now_ns)
            self.generated += len(messages)
            if messages and self.history is not None and self._remembers:
                items = list(map(MSGPACK.encode, messages))
                self.history.record(now_ns, messages, items, MSGPACK)

    def begin(self) -> None:
        """Somebody asks for this market: from now on there is a past to keep."""
        self._begun = True
        self.wake()

    # Clients

    def join(self, connection: SimulatorConnection) -> None:
        self._connections[connection] = None
        self.wake()

    def leave(self, connection: SimulatorConnection) -> None:
        self._connections.pop(connection, None)

    def greet(self, connection: SimulatorConnection, topics: SubscriptionSet) -> None:
        """Send a new subscriber what it gets at once: whole order books."""
        messages: list[Message] = []
        for channel, symbol in topics:
            symbols = self.market.symbols if symbol == WILDCARD else (symbol,)
            for name in symbols:
                if name in self.market.symbols:
                    messages += self.market.snapshot(channel, name)
        if messages:
            self._send_to(connection, messages, {})
        self.begin()

    def wake(self) -> None:
        self._wake.set()

    def stop(self) -> None:
        self._task.cancel()

    # The pace

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        credit = 0.0
        replayed_from: tuple[float, int] | None = None
        while True:
            self._wake.clear()
            if not self.watched:
                await self._wake.wait()
                last = loop.time()
                if self._replay_speed is None:
                    self.market.take(0, self._now_ns())  # time went on while nobody listened
                continue
            now = loop.time()
            credit = min(credit + (now - last) * self.rate, max(self.rate, 1.0))
            last = now
            if self._full_speed:
                if any(c.full for c in self._connections):
                    await self._wake.wait()
                    continue
                self._step(_BURST, self._now_ns())
                await asyncio.sleep(0)
                continue
            if self._replay_speed is not None:
                replayed_from = replayed_from or (now, self._next_ns())
                elapsed_ns = int((now - replayed_from[0]) * self._replay_speed * 1e9)
                self._step(_BURST, replayed_from[1] + elapsed_ns)
            else:
                self._step(int(credit), self._now_ns())
                credit -= int(credit)
            await asyncio.sleep(_TURN_SECONDS)

    def _now_ns(self) -> int:
        return self._clock.now_ns() if self._replay_speed is None else _END_OF_TIME_NS

    def _next_ns(self) -> int:
        return getattr(self.market, "next_ns", None) or 0

    def _step(self, count: int, now_ns: int) -> None:
        messages = self.market.take(count, now_ns)
        self.generated += len(messages)
        if messages:
            self.send(messages)
        elif self._replay_speed is not None and getattr(self.market, "next_ns", 0) is None:
            self.exhausted = True
            self.running = False

    # Sending

    def send(self, messages: Sequence[Message]) -> None:
        """Send messages to whoever subscribed them."""
        encoded: dict[str, list[bytes]] = {}
        for connection in list(self._connections):
            if connection.topics and connection.open:
                self._send_to(connection, messages, encoded)
        if self.history is not None and self._remembers:
            # What was encoded for somebody needn't be encoded again.
            codec = CODECS[next(iter(encoded), MSGPACK.name)]
            items = encoded.get(codec.name) or list(map(codec.encode, messages))
            self.history.record(self._clock.now_ns(), messages, items, codec)

    def send_raw(self, payload: bytes) -> None:
        """Send a frame's payload as it is, to everybody; the ledger doesn't know it."""
        for connection in list(self._connections):
            connection.transport.write(frame(payload, connection.codec.binary))

    def _send_to(
        self,
        connection: SimulatorConnection,
        messages: Sequence[Message],
        encoded: dict[str, list[bytes]],
    ) -> None:
        codec = connection.codec
        if codec.name not in encoded:
            encode: Callable[[Message], bytes] = CODECS[codec.name].encode
            encoded[codec.name] = [encode(message) for message in messages]
        topics: list[tuple[str, str]] = []
        items: list[bytes] = []
        for message, item in zip(messages, encoded[codec.name], strict=True):
            kind = message.__struct_config__.tag
            if isinstance(message, News):
                if not connection.wants_news(message.symbols):
                    continue
                symbol = WILDCARD
            else:
                symbol = message.symbol
                if not connection.wants(kind, symbol):  # type: ignore[arg-type]
                    continue
            topics.append((kind, symbol))  # type: ignore[arg-type]
            items.append(item)
        if items:
            connection.deliver(topics, items, list(self._array_lengths(len(items))))

    def _array_lengths(self, count: int) -> Iterator[int]:
        """Arrays of one to many: mostly single messages, long ones when much is to be said."""
        most = self._options.array_messages
        while count > 0:
            length = most if count > 4 * most else self._random.randint(1, most)
            yield min(length, count)
            count -= length
