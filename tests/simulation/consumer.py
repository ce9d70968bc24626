"""One consumer of order updates that keeps losing its connection, and what it has heard so far.

What was written to its socket when the connection is cut arrives or not; what the proxy hands over
afterwards is lost. It comes back and asks for what is behind the last event that it has.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from random import Random

import msgspec

from simulation.moments import Moments
from stream_proxy.feed.order_position import CannotResume, Joined, Start
from stream_proxy.feed.orders import OrderConsumer, OrderFeed
from stream_proxy.hub.outbox import Outbox
from stream_proxy.model.orders import OrderEvent, OrderRecord, Origin
from stream_proxy.wire.alpaca.trade_updates import read_event

_OUTBOX_BYTES = 30_000
_LONGEST_WAY = 0.03


class Wish(Enum):
    """What a consumer resumes with."""

    SEQUENCE = "sequence"
    EVENT_ID = "event id, where the last event has one"
    CURSOR = "cursor"


@dataclass(frozen=True, slots=True)
class Heard:
    """An event as the consumer got it."""

    epoch: str
    sequence: int
    origin: Origin
    event: OrderEvent


class _Frame(msgspec.Struct, array_like=True):
    epoch: str
    sequence: int
    origin: str
    data: msgspec.Raw


_read_frame = msgspec.json.Decoder(_Frame).decode


def frame_of(record: OrderRecord) -> bytes:
    """A record as it travels to a simulated consumer."""
    origin = record.event.origin.value
    frame = _Frame(record.epoch, record.sequence, origin, msgspec.Raw(record.event.data))
    return msgspec.json.encode(frame)


@dataclass(eq=False)
class _Visit:
    """One connection."""

    consumer: OrderConsumer
    feed: OrderFeed
    on_its_way: deque[bytes] = field(default_factory=deque)
    cut: asyncio.Event = field(default_factory=asyncio.Event)
    arriving: bool = False
    told: bool = False
    position: int = 0
    """The last sequence that came by this connection, or behind which it began."""


class SimulatedConsumer:
    """Comes, listens, is cut, comes back.

    Args:
        wish: how it says where it was.
        begins: its first ``since``; a consumer with a cursor begins with now.
    """

    def __init__(
        self,
        name: str,
        wish: Wish,
        begins: str,
        loop: asyncio.AbstractEventLoop,
        random: Random,
        moments: Moments,
    ) -> None:
        self.name = name
        self.wish = wish
        self.heard: list[Heard] = []
        self.begun_behind: int | None = None
        self.complaints: list[str] = []
        self.cuts = 0
        self.visits = 0
        self._begins = begins
        self._loop = loop
        self._random = random
        self._moments = moments
        self._visit: _Visit | None = None
        self._asked_to_acknowledge = 0
        self._acknowledged = 0

    @property
    def position(self) -> int:
        """The last sequence it has."""
        return self.heard[-1].sequence if self.heard else self.begun_behind or 0

    # Coming

    async def live(self, feed_now: Callable[[], OrderFeed | None]) -> None:
        """Come again whenever it was cut, for ever."""
        while True:
            await asyncio.sleep(self._random.expovariate(2.0))
            feed = feed_now()
            if feed is not None:
                await self._join(feed).cut.wait()

    def _join(self, feed: OrderFeed) -> _Visit:
        outbox = Outbox(
            lambda frame: self._written(visit, frame),
            _OUTBOX_BYTES,
            30_000_000_000,
            lambda: self._overflowed(visit),
        )
        consumer = OrderConsumer(self.name, outbox, frame_of)
        visit = self._visit = _Visit(consumer, feed)
        self.visits += 1
        self._moments.passes("joining")

        def joined(found: Joined | CannotResume) -> None:
            if visit is not self._visit:
                return  # cut meanwhile: nobody hears it
            if isinstance(found, CannotResume):
                self.complaints.append(f"{self.name} was refused: {found.reason}")
                self.cut()
                return
            self._joined(visit, consumer.position)

        if visit is self._visit:
            feed.join(consumer, self._start(), joined)
        return visit

    def _start(self) -> Start:
        if self.wish is Wish.CURSOR:
            return Start(cursor=self.name)
        if self.begun_behind is None:
            return Start(since=self._begins)
        if not self.heard:
            return Start(since=str(self.begun_behind))
        last = self.heard[-1]
        if self.wish is Wish.EVENT_ID and last.event.event_id:
            return Start(since=last.event.event_id)
        return Start(since=self._random.choice((f"{last.epoch}:", "")) + str(last.sequence))

    def _joined(self, visit: _Visit, position: int) -> None:
        visit.told, visit.position = True, position
        self._moments.passes("joined")
        if self.begun_behind is None:
            self.begun_behind = position
        elif self.wish is Wish.CURSOR:
            if (
                not self._acknowledged
                <= position
                <= max(self._asked_to_acknowledge, self.begun_behind)
            ):
                self.complaints.append(
                    f"{self.name} resumes at {position}, acknowledged was {self._acknowledged}"
                )
        elif position != self.position:
            self.complaints.append(f"{self.name} had {self.position}, resumes at {position}")

    # Hearing

    def _written(self, visit: _Visit, frame: bytes) -> None:
        if visit is not self._visit:
            return  # the proxy doesn't know yet that nobody is there
        visit.on_its_way.append(frame)
        if not visit.arriving:
            visit.arriving = True
            self._loop.call_later(self._random.uniform(0, _LONGEST_WAY), self._arrive, visit)
        self._moments.passes("offered")

    def _arrive(self, visit: _Visit) -> None:
        visit.arriving = False
        if visit is self._visit:
            self._hear(visit, len(visit.on_its_way))

    def _hear(self, visit: _Visit, count: int) -> None:
        for _ in range(count):
            read = _read_frame(visit.on_its_way.popleft())
            origin = Origin(read.origin)
            event = read_event(bytes(read.data), origin)
            self._take(visit, Heard(read.epoch, read.sequence, origin, event))

    def _take(self, visit: _Visit, heard: Heard) -> None:
        visit.position += 1
        if heard.sequence != visit.position:
            self.complaints.append(f"{self.name} got {heard.sequence} for {visit.position}")
        elif heard.sequence == self.position + 1:
            self.heard.append(heard)
        elif self.heard[heard.sequence - (self.begun_behind or 0) - 1] != heard:
            # It was not acknowledged, so it comes again, and must be the same.
            self.complaints.append(f"{self.name}: {heard.sequence} came again, and different")

    def acknowledge(self) -> None:
        """Say how far it has come; only a consumer with a cursor does."""
        visit = self._visit
        if self.wish is not Wish.CURSOR or visit is None or not visit.told or not self.heard:
            return
        sequence = self.position - self._random.randint(0, min(3, len(self.heard) - 1))
        self._asked_to_acknowledge = max(self._asked_to_acknowledge, sequence)

        def acknowledged(position: int) -> None:
            if visit is self._visit:
                self._acknowledged = max(self._acknowledged, position)
                self._moments.passes("acknowledged")

        visit.feed.acknowledge(self.name, sequence, acknowledged)

    # Going

    def stall(self, seconds: float) -> None:
        """Stop reading for a while: the socket fills up."""
        visit = self._visit
        if visit is not None:
            visit.consumer.outbox.pause()
            self._loop.call_later(seconds, self._read_on, visit)

    def _read_on(self, visit: _Visit) -> None:
        if visit is self._visit and not visit.consumer.outbox.closed:
            visit.consumer.outbox.resume()
            visit.feed.drained(visit.consumer)

    def _overflowed(self, visit: _Visit) -> None:
        # The outlet, too, cuts later: this is called in the middle of a delivery.
        self._loop.call_soon(self._cut_if, visit)

    def _cut_if(self, visit: _Visit) -> None:
        if visit is self._visit:
            self.cut()

    def cut(self, proxy_is_gone: bool = False) -> None:
        """Lose the connection now; some of what is on its way still arrives."""
        visit = self._visit
        if visit is None:
            return
        self._hear(visit, self._random.randint(0, len(visit.on_its_way)))
        self._visit = None
        self.cuts += 1
        visit.cut.set()
        if not proxy_is_gone:
            # The proxy sees it a moment later; the consumer may be back by then.
            self._loop.call_later(self._random.uniform(0, 1.0), self._seen_to_be_gone, visit)

    def _seen_to_be_gone(self, visit: _Visit) -> None:
        visit.consumer.outbox.close()
        visit.feed.leave(visit.consumer)
