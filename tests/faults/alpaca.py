"""Alpaca's market-data stream at the far end of a simulated socket, by the letter, until told else.

A fault lies in wait at a named step of the conversation, or happens to the line that is open. What
the rules forbid the proxy (a second connection, coming back too early) is a complaint in itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Literal, get_args

from faults.frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    FrameReader,
    accept_key,
    close_frame,
    server_frame,
)
from faults.market import Market, Tick
from faults.network import End, connected
from stream_proxy.model.feeds import Feed
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.wire.alpaca.codec import Codec
from stream_proxy.wire.alpaca.codes import (
    ALREADY_AUTHENTICATED,
    AUTH_FAILED,
    CONNECTION_LIMIT,
    ERROR_CODES,
    NOT_AUTHENTICATED,
    SYMBOL_LIMIT,
)
from stream_proxy.wire.alpaca.requests import (
    Authenticate,
    Change,
    acknowledgement,
    error,
    parse_request,
    success,
)

Step = Literal["upgrade", "welcome", "auth", "subscribe", "ack", "data", "history"]
"""Of the conversation; the last is a question to REST, beside it."""
_FOR_GOOD = frozenset({402, 408, 409, 411, 412})
"""After these the same keys get the same answer. Written down here: the program may be wrong."""
STEPS: tuple[Step, ...] = get_args(Step)
Trap = Callable[["Line"], None]
"""Does at a step what a fault does instead of what is right."""
KEY, SECRET = "PKSIMULATED", "secret-of-the-simulated-account"
_ROUND_TRIP_SECONDS = 0.03


class Alpaca:
    """One account and the market-data endpoint that it may connect to once."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, random: Random, feed: Feed, codec: Codec
    ) -> None:
        self.loop = loop
        self._salt = random.randrange(1 << 30)
        self.feed = feed
        self.codec = codec
        self.market: Market | None = None
        self.lines: list[Line] = []
        self.holder: Line | None = None
        """Who was let in."""
        self.slot_free_at = 0.0
        self.not_before = 0.0
        """Until then nobody may come back: we said so."""
        self.banned = False
        """Whether the proxy heard an error after which trying again can't help."""
        self.symbol_limit = 0
        self.keys_valid = True
        self.dials: list[float] = []
        self.most_open = 0
        """Connections at one instant."""
        self.complaints: list[str] = []
        self.reached: Counter[str] = Counter()
        self.address = "a"
        """Where the endpoint listens; the name leads to `resolves_to`."""
        self.resolves_to = "a"
        self.dial_traps: list[Callable[[], Awaitable[None]]] = []
        self._traps: dict[Step, list[Trap]] = {step: [] for step in STEPS}
        self._alarms: dict[Step, list[Callable[[], None]]] = {step: [] for step in STEPS}
        self.on_near_end: Callable[[End], None] = lambda end: None
        self.on_unsubscribe: Callable[[SubscriptionSet, SubscriptionSet], None]
        self.on_unsubscribe = lambda removed, left: None

    # Faults in wait

    def trap(self, step: Step, trap: Trap, times: int = 1) -> None:
        """Let a fault lie in wait."""
        self._traps[step] += [trap] * times

    def alarm(self, step: Step, ring: Callable[[], None]) -> None:
        """Call something when the conversation comes to this step, which then takes place."""
        self._alarms[step].append(ring)

    def forgive(self) -> None:
        """Take every fault away that hasn't struck yet."""
        self.dial_traps.clear()
        for traps in self._traps.values():
            traps.clear()
        for alarms in self._alarms.values():
            alarms.clear()
        self.symbol_limit = 0
        self.keys_valid = True
        self.address = self.resolves_to = "a"

    def sprung(self, step: Step, line: Line) -> bool:
        """Whether a fault acted at this step instead of us."""
        self.reached[step] += 1
        alarms, self._alarms[step] = self._alarms[step], []
        for ring in alarms:
            ring()
        traps = self._traps[step]
        if not traps:
            return False
        traps.pop(0)(line)
        return True

    # The network's side

    async def dial(self, host: str, port: int, tls: bool) -> End:
        """Open a connection, as the proxy's loop does."""
        now = self.loop.time()
        self.dials.append(now)
        if now < self.not_before:
            self.complaints.append(f"came back {self.not_before - now:.1f} s too early")
        if self.banned:
            self.complaints.append("came back although it was refused for good")
        if host != "alpaca.invalid" or not tls:
            self.complaints.append(f"connected to {host}, TLS: {tls}")
        if self.dial_traps:
            await self.dial_traps.pop(0)()
        await asyncio.sleep(_ROUND_TRIP_SECONDS)
        if self.resolves_to != self.address:
            raise ConnectionRefusedError(111, "Connection refused")
        near, far = connected(self.loop, self._salt)
        still_open = sum(not line.near.ended for line in self.lines)
        self.most_open = max(self.most_open, still_open + 1)
        if still_open:
            self.complaints.append("a second connection while the first was open")
        self.lines = [line for line in self.lines if not line.near.ended or not line.gone]
        line = Line(self, near, far)
        self.lines.append(line)
        far.begin(line)
        self.on_near_end(near)
        return near

    @property
    def line(self) -> Line | None:
        """The newest line that is still open."""
        for line in reversed(self.lines):
            if not line.gone:
                return line
        return None

    @property
    def slot_taken(self) -> bool:
        return self.holder is not None or self.loop.time() < self.slot_free_at

    # The exchange's side

    def tell(self, ticks: list[Tick]) -> None:
        """Something happened: whoever holds the slot hears it."""
        if self.holder is not None:
            self.holder.bring(ticks)


class Line(asyncio.Protocol):
    """One connection, as Alpaca sees it; `near` is the proxy's end of it."""

    def __init__(self, alpaca: Alpaca, near: End, far: End) -> None:
        self.alpaca = alpaca
        self.near = near
        self.far = far
        self.topics = self.topics_before = SubscriptionSet()
        self.errors_sent = 0
        self.upgraded = False
        self.authenticated = False
        self.gone = False
        self.sending: list[Tick] = []
        """What is due at this instant."""
        self.mute = False
        """Answers pings, and says nothing else."""
        self.silent_since: float | None = None
        """Since when nothing comes from here, and nothing shows it."""
        self.was_reset = False
        self.stalled = False
        """Neither reads nor writes any more."""
        self.dead_since: float | None = None
        """Since when the proxy could know that this line is of no use."""
        self.hold_seconds = 0.0
        """How long the slot stays taken after an unclean end."""
        self._kept: list[tuple[bytes, list[int] | None]] = []
        self._clean = False
        self._reader = FrameReader()
        self._key = b""

    # What the proxy says

    def data_received(self, data: bytes) -> None:
        if self.stalled:
            return
        if not self.upgraded:
            head = self._reader.head(data)
            if head is not None:
                self._upgrade(head)
            return
        for opcode, payload in self._reader.frames(data):
            if self.gone:
                return
            if opcode == PING:
                self.far.write(server_frame(PONG, payload))
            elif opcode == CLOSE:
                self._clean = True
                self.far.write(close_frame(1000))
                self.end()
            elif opcode in (TEXT, BINARY):
                self._hear(payload)

    def _upgrade(self, head: bytes) -> None:
        self.upgraded = True
        fields = dict(row.split(b": ", 1) for row in head.split(b"\r\n")[1:])
        self._key = {name.lower(): value for name, value in fields.items()}[b"sec-websocket-key"]
        if not self.alpaca.sprung("upgrade", self):
            self.accept()

    def accept(self, key: str = "") -> None:
        """Answer the upgrade, and welcome."""
        answer = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {key or accept_key(self._key)}\r\n\r\n"
        )
        self.far.write(answer.encode())
        if not self.alpaca.sprung("welcome", self):
            self.welcome()

    def welcome(self) -> None:
        self.say(success(self.alpaca.codec, "connected"))

    def _hear(self, payload: bytes) -> None:
        alpaca = self.alpaca
        match parse_request(payload, alpaca.codec, alpaca.feed):
            case Authenticate(credentials):
                if self.authenticated:
                    self.refuse(ALREADY_AUTHENTICATED.code)
                elif not alpaca.sprung("auth", self):
                    valid = (credentials.key, credentials.secret) == (KEY, SECRET)
                    self.authenticate(valid and alpaca.keys_valid)
            case Change() as change if not self.authenticated:
                self.refuse(NOT_AUTHENTICATED.code)
            case Change() as change:
                self._change(change)
            case other:
                alpaca.complaints.append(f"not understood: {payload[:80]!r} ({other})")

    def authenticate(self, valid: bool = True) -> None:
        """Let in, or not."""
        alpaca = self.alpaca
        if not valid:
            self.refuse(AUTH_FAILED.code)
        elif alpaca.slot_taken:
            self.refuse(CONNECTION_LIMIT.code)
        else:
            alpaca.holder = self
            self.authenticated = True
            self.say(success(alpaca.codec, "authenticated"))

    def _change(self, change: Change) -> None:
        alpaca = self.alpaca
        if not change.add:
            alpaca.on_unsubscribe(change.topics, self.topics - change.topics)
        elif alpaca.sprung("subscribe", self):
            return
        topics = self.topics | change.topics if change.add else self.topics - change.topics
        if change.add and 0 < alpaca.symbol_limit < len(topics):
            self.refuse(SYMBOL_LIMIT.code)
            return
        self.topics_before, self.topics = self.topics, topics
        if not alpaca.sprung("ack", self):
            self.acknowledge()

    def acknowledge(self, topics: SubscriptionSet | None = None) -> None:
        """Say what we send, or claim to."""
        alpaca = self.alpaca
        shown = self.topics if topics is None else topics
        self.say(acknowledgement(alpaca.codec, alpaca.feed, shown))

    # What we say

    def say(self, payload: bytes, tag: list[int] | None = None) -> None:
        """Send one whole message."""
        self.put(self.framed(payload), tag)

    def put(self, data: bytes, tag: list[int] | None = None) -> None:
        """Send bytes as they are; while stalled, keep them for later."""
        if self.stalled:
            self._kept.append((data, tag))
        elif not self.gone:
            self.far.write(data, tag)

    def framed(self, payload: bytes) -> bytes:
        return server_frame(BINARY if self.alpaca.codec.binary else TEXT, payload)

    def refuse(self, code: int, text: str = "") -> None:
        """Send an error; end where Alpaca does."""
        self.errors_sent += 1
        known = ERROR_CODES.get(code)
        codec = self.alpaca.codec
        if known is None:
            self.say(codec.encode([{"T": "error", "code": code, "msg": text or "unheard of"}]))
            return
        self.say(error(codec, known))
        if code in _FOR_GOOD:
            self.alpaca.loop.call_at(self.far.last_arrival + 0.001, self._refusal_arrives)
        if known.closes:
            self.finish(1000)

    def _refusal_arrives(self) -> None:
        # Who was told something else first has ended the connection, and hears no more.
        if not (self.far.half_open or self.was_reset or self.errors_sent > 1):
            self.alpaca.banned = True

    def bring(self, ticks: list[Tick]) -> None:
        """Send what is subscribed of these, in one message."""
        if self.gone or self.mute:
            return
        wanted = [tick for tick in ticks if self.topics.covers(tick.channel, tick.symbol)]
        if not wanted:
            return
        self.sending = wanted
        if not self.alpaca.sprung("data", self):
            self.send(wanted)
        for tick in wanted:
            tick.due = max(tick.due, self.far.last_arrival)

    def send(self, ticks: list[Tick], at_seconds: float = 0.0) -> None:
        market = self.alpaca.market
        assert market is not None
        items = [market.item(tick, at_seconds) for tick in ticks]
        self.say(self.alpaca.codec.join(items), [tick.serial for tick in ticks])

    def cut_short(self, ticks: list[Tick], share: float, reset: bool) -> None:
        """Send a part of a message's bytes, and end."""
        market = self.alpaca.market
        assert market is not None
        whole = self.framed(self.alpaca.codec.join([market.item(tick) for tick in ticks]))
        self.far.write(whole[: max(1, int(share * len(whole)))])
        self.drop() if reset else self.end()

    # Ends

    def finish(self, code: int) -> None:
        """End with a close frame; what was sent before it arrives."""
        self._clean = True
        if not self.stalled and not self.gone:
            self.far.write(close_frame(code))
        self.end()

    def end(self) -> None:
        """End the socket (FIN)."""
        self._let_go()
        self.far.close()

    def drop(self) -> None:
        """Reset the socket."""
        self.was_reset = True
        self._let_go()
        self.far.abort()

    def fall_mute(self) -> None:
        """Say nothing more but pongs, for ever."""
        self.mute = True
        self.silent_since = self.silent_since or self.alpaca.loop.time()

    def vanish(self, seconds: float) -> None:
        """Nothing passes any more, and neither end knows; we let go after a while."""
        self.dead_since = self.alpaca.loop.time()
        self.silent_since = self.silent_since or self.dead_since
        self.near.half_open = self.far.half_open = True
        self.alpaca.loop.call_later(seconds, self._let_go)

    def stall(self, seconds: float) -> None:
        """Neither read nor write, the socket open; after that, go on."""
        self.dead_since = self.alpaca.loop.time()
        self.silent_since = self.silent_since or self.dead_since
        self.stalled = True
        self.far.reading = False
        self.alpaca.loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        if not self.gone:
            self.stalled = False
            self.dead_since = self.silent_since = None
            kept, self._kept = self._kept, []
            for data, tag in kept:
                self.put(data, tag)
            self.far.read_on()

    def _let_go(self) -> None:
        if self.gone:
            return
        self.gone = True
        if self.dead_since is None:
            self.dead_since = self.alpaca.loop.time()
        if self.alpaca.holder is self:
            self.alpaca.holder = None
            if not self._clean:
                self.alpaca.slot_free_at = self.alpaca.loop.time() + self.hold_seconds

    def eof_received(self) -> bool:
        self._let_go()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._let_go()


def describe(line: Line) -> dict[str, Any]:
    """A line's state, for a complaint."""
    return {
        "authenticated": line.authenticated,
        "topics": len(line.topics),
        "gone": line.gone,
        "near ended": line.near.ended,
    }
