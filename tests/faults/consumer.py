"""Clients of Alpaca's protocol at the near side of the proxy, of several tempers.

Everything the proxy writes is read at once, with the moment of writing, and acted upon when it has
arrived: so that a list of what came can be held against what was to come.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

import msgspec

from faults.frames import BINARY, CLOSE, PING, PONG, TEXT, FrameReader, client_frame
from faults.network import End, connected
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.wire.alpaca.codec import CODECS

_CHANNELS = ("trades", "quotes", "bars", "statuses")
CONTROL = frozenset({"position", "gap", "lag"})
_OFTEN_SECONDS, _SELDOM_SECONDS = 15.0, 120.0


class Said(msgspec.Struct, gc=False):
    """What of a message of the proxy is looked at."""

    T: str
    S: str = ""
    i: int = -1
    code: int = 0
    msg: str = ""
    id: int = -1
    epoch: str = ""
    sequence: int = -1
    resumed: bool | None = None
    backfilled: bool = False
    trades: list[str] = []
    quotes: list[str] = []
    bars: list[str] = []
    statuses: list[str] = []


_READ: dict[str, Callable[[bytes], list[Said]]] = {
    "json": msgspec.json.Decoder(list[Said]).decode,
    "msgpack": msgspec.msgpack.Decoder(list[Said]).decode,
}


@dataclass(slots=True)
class Stretch:
    """From here on these were the consumer's topics.

    Attributes:
        after: number of the upstream read behind which it began.
        within: whether it began in the middle of that read.
        written_at: when the acknowledgement was on its way.
        heard_at: when the consumer got it; None if never.
    """

    after: int
    within: bool
    topics: SubscriptionSet
    written_at: float
    heard_at: float | None = None


@dataclass(eq=False, slots=True)
class _Written:
    ends_at: int
    opcode: int
    payload: bytes
    said: list[Said]
    stretch: Stretch | None


@dataclass(eq=False)
class Visit:
    """One connection, and all that came by it."""

    began: float
    ended: float | None = None
    serials: list[int] = field(default_factory=list)
    written: dict[str, int] = field(default_factory=dict)
    """Messages by type, whether they arrived or not."""
    stretches: list[Stretch] = field(default_factory=list)
    errors: list[int] = field(default_factory=list)
    close_code: int | None = None
    filled: list[int] = field(default_factory=list)
    """What it heard marked as back-filled."""
    gaps: dict[int, int] = field(default_factory=dict)
    """By number, the gaps that it was told of, and how many messages it had heard by then."""
    left: bool = False
    """Whether it was the consumer that ended it."""


@dataclass(eq=False)
class _Wire:
    """What the proxy writes to one connection."""

    reader: FrameReader = field(default_factory=FrameReader)
    waiting: deque[_Written] = field(default_factory=deque)
    written_bytes: int = 0
    arrived_bytes: int = 0
    upgraded: bool = False


class Reception(Protocol):
    """What the world tells a consumer."""

    def accept(self) -> asyncio.Protocol | None:
        """A new connection at the proxy's door; None while the proxy is down."""

    @property
    def reads(self) -> int:
        """How many reads upstream's socket has brought."""

    @property
    def reading(self) -> bool:
        """Whether the proxy is in the middle of one."""

    def trace(self, *what: object) -> None:
        """Note something in the order of things."""


class Client(asyncio.Protocol):
    """One program that comes back whenever it was cut."""

    codec = "msgpack"
    told_of_gaps = False

    def __init__(
        self, name: str, loop: asyncio.AbstractEventLoop, random: Random, reception: Reception
    ) -> None:
        self.name = name
        self.visits: list[Visit] = []
        self.complaints: list[str] = []
        self._loop = loop
        self._random = random
        self._salt = random.randrange(1 << 30)
        self._reception = reception
        self._end: End | None = None
        self._visit: Visit | None = None
        self._over = asyncio.Event()
        self._wire = _Wire()

    def wishes(self) -> dict[str, list[str]]:
        """What it subscribes first."""
        return {"trades": ["AAPL", "MSFT"], "quotes": ["AAPL", "MSFT"], "bars": ["AAPL"]}

    @property
    def visit(self) -> Visit | None:
        """The connection that is open."""
        return self._visit

    @property
    def end(self) -> End | None:
        """Its end of the connection that is open."""
        return self._end

    @property
    def path(self) -> str:
        """What it asks for."""
        return "/v2/sip"

    def stories(self) -> list[Visit]:
        """What it heard, each from a beginning without a past on."""
        return self.visits

    # Coming and going

    async def live(self) -> None:
        """Come, stay, come back, for ever."""
        while True:
            server = self._reception.accept()
            if server is not None:
                await self._stay(server)
            await asyncio.sleep(self._random.uniform(0.2, 3.0))

    async def _stay(self, server: asyncio.Protocol) -> None:
        near, far = connected(self._loop, self._salt)
        self._end = near
        self._over.clear()
        visit = self._visit = Visit(self._loop.time())
        self.visits.append(visit)
        wire = self._wire = _Wire()
        far.on_write = lambda data: self._was_written(visit, wire, data)
        near.begin(self)
        far.begin(server)
        self._open(near)
        try:
            async with asyncio.TaskGroup() as group:
                acting = group.create_task(self.act(visit))
                await self._over.wait()
                acting.cancel()
        finally:
            self._ended()

    def _open(self, end: End) -> None:
        end.write(
            b"GET "
            + self.path.encode()
            + b" HTTP/1.1\r\nHost: localhost:8099\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Version: 13\r\nContent-Type: application/"
            + self.codec.encode()
            + b"\r\n\r\n"
        )

    async def act(self, visit: Visit) -> None:
        """What this temper does while it is connected."""

    def leave(self, how: str) -> None:
        """End the connection: "close", "reset" or "vanish"."""
        end, visit = self._end, self._visit
        if end is None or visit is None:
            return
        visit.left = True
        if how == "close":
            end.write(client_frame(CLOSE, b"\x03\xe8"))
            end.close()
        else:
            if how == "vanish":
                end.half_open = end.peer.half_open = True
            end.abort()
        self._over.set()

    def _ended(self) -> None:
        if self._visit is not None:
            self._visit.ended = self._loop.time()
        self._visit = None
        self._end = None

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._over.set()

    # Reading

    def _was_written(self, visit: Visit, wire: _Wire, data: bytes) -> None:
        """The proxy writes this now; it will arrive later, if it does."""
        wire.written_bytes += len(data)
        if not wire.upgraded:
            if wire.reader.head(data) is None:
                return
            wire.upgraded = True
            data = b""
        reception = self._reception
        for opcode, payload in wire.reader.frames(data):
            said: list[Said] = []
            stretch = None
            if opcode in (TEXT, BINARY):
                said = _READ[self.codec](payload)
                for one in said:
                    if one.T == "subscription":
                        topics = SubscriptionSet({c: getattr(one, c) for c in _CHANNELS})
                        now = self._loop.time()
                        stretch = Stretch(reception.reads, reception.reading, topics, now)
                        visit.stretches.append(stretch)
                    elif one.T not in CONTROL:
                        visit.written[one.T] = visit.written.get(one.T, 0) + 1
            wire.waiting.append(_Written(wire.written_bytes, opcode, payload, said, stretch))

    def data_received(self, data: bytes) -> None:
        visit, wire = self._visit, self._wire
        if visit is None:
            return
        wire.arrived_bytes += len(data)
        while wire.waiting and wire.waiting[0].ends_at <= wire.arrived_bytes:
            self._hear(visit, wire.waiting.popleft())

    def _hear(self, visit: Visit, written: _Written) -> None:
        if written.opcode == PING:
            self.send_raw(client_frame(PONG, written.payload))
        elif written.opcode == CLOSE:
            visit.close_code = int.from_bytes(written.payload[:2], "big")
            self.send_raw(client_frame(CLOSE, written.payload[:2]))
        now = self._loop.time()
        for one in written.said:
            if one.i >= 0:
                self._reception.trace(self.name, one.i)
                self.take(visit, one)
            elif one.T in CONTROL:
                self.hear_control(visit, one)
            elif one.T == "success" and one.msg == "connected":
                self.say({"action": "auth", "key": "any", "secret": "any"})
            elif one.T == "success":
                self.say({"action": "subscribe", **self.wishes()})
            elif one.T == "error":
                visit.errors.append(one.code)
                self._reception.trace(self.name, "error", one.code)
            elif one.T == "subscription" and written.stretch is not None:
                written.stretch.heard_at = now
                self.hear_topics(visit, written.stretch)

    def hear_topics(self, visit: Visit, stretch: Stretch) -> None:
        """Hear what it has subscribed now."""

    def take(self, visit: Visit, message: Said) -> None:
        """Keep a message of the market."""
        visit.serials.append(message.i)

    def hear_control(self, visit: Visit, message: Said) -> None:
        """Hear what only those hear who asked for it."""
        self.complaints.append(f"{self.name} heard {message.T} unasked")

    # Writing

    def say(self, message: dict[str, Any]) -> None:
        codec = CODECS[self.codec]
        opcode = BINARY if codec.binary else TEXT
        self.send_raw(client_frame(opcode, codec.encode(message)))

    def send_raw(self, data: bytes) -> None:
        if self._end is not None:
            self._end.write(data)

    def stop_reading(self) -> None:
        if self._end is not None:
            self._end.reading = False

    def read_on(self) -> None:
        if self._end is not None:
            self._end.read_on()


class Steady(Client):
    """Reads on, and never changes its mind."""


class Everything(Client):
    """Wants all symbols, in the other codec."""

    codec = "json"

    def wishes(self) -> dict[str, list[str]]:
        return {"trades": ["*"], "bars": ["*"], "statuses": ["*"]}


class Fickle(Client):
    """Adds and removes topics, and goes without saying goodbye."""

    codec = "json"

    def wishes(self) -> dict[str, list[str]]:
        return {"trades": ["AAPL"], "quotes": ["TSLA"]}

    async def act(self, visit: Visit) -> None:
        random = self._random
        while True:
            await asyncio.sleep(random.expovariate(1 / _OFTEN_SECONDS))
            topics = {random.choice(_CHANNELS): random.sample(["AAPL", "TSLA", "NVDA", "*"], 2)}
            self.say({"action": random.choice(("subscribe", "unsubscribe")), **topics})
            if random.random() < _OFTEN_SECONDS / _SELDOM_SECONDS:
                self.leave(random.choice(("close", "reset", "vanish")))


class Resumer(Client):
    """Goes on where it was, whenever it was cut, and wants to be told what is missing.

    Of what it heard in one stretch, however many connections that took, it makes one story. What
    came behind the last position is forgotten when it comes back, since it will come again.
    """

    told_of_gaps = True

    def __init__(
        self, name: str, loop: asyncio.AbstractEventLoop, random: Random, reception: Reception
    ) -> None:
        super().__init__(name, loop, random, reception)
        self._stories: list[Visit] = []
        self._position = ""
        self._begins_anew = False
        self._sure = 0, 0
        self.resumed = 0

    @property
    def path(self) -> str:
        asked = f"resume={self._position}" if self._position else "continuity=1"
        return f"/v2/sip?{asked}"

    def stories(self) -> list[Visit]:
        for story in self._stories:
            story.ended = story.ended if story is not self._stories[-1] else self._ended_at()
        return self._stories

    def _ended_at(self) -> float | None:
        return None if self._visit is not None and self._visit.stretches else self.visits[-1].ended

    async def act(self, visit: Visit) -> None:
        random = self._random
        while True:
            await asyncio.sleep(random.expovariate(1 / _SELDOM_SECONDS))
            self.leave(random.choice(("close", "reset", "vanish")))

    def take(self, visit: Visit, message: Said) -> None:
        story = self._stories[-1]
        (story.filled if message.backfilled else story.serials).append(message.i)

    def hear_control(self, visit: Visit, message: Said) -> None:
        if message.T == "gap" and self._stories:
            story = self._stories[-1]
            story.gaps.setdefault(message.id, len(story.serials))
        elif message.T == "position":
            if message.resumed:
                self.resumed += 1
                self._forget_what_is_unsure()
            elif message.resumed is False or self._is_new(visit):
                self._begins_anew = False
                self._begin_a_story(visit)
            if not self._begins_anew:
                self._position = f"{message.epoch}:{message.sequence}"
            self._sure = len(self._stories[-1].serials), len(self._stories[-1].filled)

    def _is_new(self, visit: Visit) -> bool:
        return not self._stories or (self._begins_anew and len(visit.stretches) == 1)

    def hear_topics(self, visit: Visit, stretch: Stretch) -> None:
        # On coming back it says first what it wants, which it had before. Who lost a topic
        # doesn't go on there: it would want what it had given up.
        if self._stories and len(visit.stretches) > 1:
            self._stories[-1].stretches.append(stretch)
            self._begins_anew, self._position = True, ""

    def _forget_what_is_unsure(self) -> None:
        serials, filled = self._sure
        del self._stories[-1].serials[serials:], self._stories[-1].filled[filled:]

    def _begin_a_story(self, visit: Visit) -> None:
        if self._stories:
            self._stories[-1].ended = self.visits[-2].ended
        story = Visit(visit.began)
        story.stretches = [visit.stretches[-1]]
        self._stories.append(story)


class Staller(Client):
    """Stops reading now and then, for longer than its queue holds out."""

    async def act(self, visit: Visit) -> None:
        random = self._random
        while True:
            await asyncio.sleep(random.expovariate(1 / _SELDOM_SECONDS))
            self.stop_reading()
            await asyncio.sleep(random.uniform(1, _SELDOM_SECONDS))
            self.read_on()


class Hostile(Client):
    """Sends what nobody should, and is cut for it."""

    async def act(self, visit: Visit) -> None:
        random = self._random
        while True:
            await asyncio.sleep(random.expovariate(1 / _OFTEN_SECONDS))
            match random.randrange(6):
                case 0:
                    self.send_raw(client_frame(BINARY, b"\xc1\xff\x00 neither JSON nor msgpack"))
                case 1:
                    self.send_raw(b"\xff\xff garbage instead of a frame")
                case 2:
                    self.say({"action": "subscribe", "trades": [17], "imbalances": "AAPL"})
                case 3:
                    for _ in range(300):
                        self.say({"action": "unsubscribe", "trades": ["AAPL"]})
                case 4:
                    self.send_raw(client_frame(BINARY, b"\x81\xa6")[:7])
                case _:
                    self.say({"action": "auth", "key": "again", "secret": "again"})


TEMPERS: dict[str, type[Client]] = {
    "steady": Steady,
    "everything": Everything,
    "fickle": Fickle,
    "resumer": Resumer,
    "staller": Staller,
    "hostile": Hostile,
}
