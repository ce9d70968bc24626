"""All consumers of a case in one process, as light as they can be: they count and nothing else.

    python -m bench.sinks CASE alpaca|nats PORT

``{"expect": n}`` on standard input opens a round of n messages: every consumer is told its exact
share, and the line that ends the round comes when the last one has it. ``{"check": true}`` then
proves it: nobody has more, and the first consumer of each kind kept what it got, whose checksum is
taken only now, after the clock has stopped. ``{"cycle": true}`` asks after how many messages the
traffic repeats itself.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from zlib import crc32

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from bench.machine import raise_open_files
from bench.talk import commands, tell
from bench.traffic import EVERYTHING, Tally, Traffic, Wish, case_from
from stream_proxy.runtime.loop import run
from stream_proxy.wire.alpaca.codec import CODECS

_NEVER = 1 << 62
_READ_BYTES = 256 * 1024
_AT_ONCE = 50
"""Consumers that connect at the same time."""


class Sink:
    """One consumer's account of a round.

    ``seen`` counts in whatever is cheapest to count exactly: messages of msgpack frames, whose
    header says how many; bytes of JSON frames, less what the framing itself adds; bytes of NATS.
    """

    def __init__(self, room: Room, wish: Wish, tally: Tally, number: int) -> None:
        self.room = room
        self.wish = wish
        self.tally = tally
        self.number = number
        self.keeps = False
        self.kept: list[bytes] = []
        self.seen = 0
        self.frames = 0
        self.target = _NEVER
        self.expected = 0
        self.ready = asyncio.Event()

    def expect(self, messages: int) -> None:
        self.kept.clear()
        self.seen = self.frames = 0
        self.expected = self.tally.of(self.wish.symbols, messages)
        self.target = self.expected or _NEVER

    def reached(self) -> None:
        self.target = _NEVER
        self.room.reached()

    async def connect(self, port: int) -> None:
        """Come in, and return once everything that was asked for is on its way."""
        raise NotImplementedError("each protocol's consumer has its own way in")

    def items(self) -> Iterable[bytes]:
        """The messages that were kept, as they came."""
        raise NotImplementedError("each protocol's consumer says what it kept")


class WebSocketSink(Sink, WSListener):
    """Speaks Alpaca's protocol as a client."""

    def __init__(self, room: Room, wish: Wish, tally: Tally, number: int) -> None:
        WSListener.__init__(self)
        Sink.__init__(self, room, wish, tally, number)
        self._codec = CODECS[wish.codec]
        self._kind = WSMsgType.BINARY if self._codec.binary else WSMsgType.TEXT
        self._binary = self._codec.binary
        self._subscribed = False

    async def connect(self, port: int) -> None:
        await ws_connect(
            lambda: self,
            f"ws://127.0.0.1:{port}/v2/sip",
            extra_headers={"Content-Type": f"application/{self._codec.name}"},
            websocket_handshake_timeout=30,
            read_buffer_init_size=64 * 1024,
        )
        await self.ready.wait()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != self._kind:
            return
        if not self._subscribed:
            self._control(transport, frame.get_payload_as_bytes())
            return
        payload = frame.get_payload_as_memoryview()
        if self._binary:
            head = payload[0]
            if head == 0xDC:
                self.seen += payload[1] << 8 | payload[2]
            elif head == 0xDD:
                self.seen += int.from_bytes(payload[1:5], "big")
            else:
                self.seen += head & 0x0F
        else:
            self.seen += len(payload) - 1  # [a,b]: one byte an item, and one to spare
        self.frames += 1
        if self.keeps:
            self.kept.append(bytes(payload))
        if self.seen >= self.target:
            self.reached()

    def _control(self, transport: WSTransport, payload: bytes) -> None:
        for message in self._codec.decode(payload):
            if message.get("msg") == "connected":
                self._say(transport, {"action": "auth", "key": "any", "secret": "any"})
            elif message.get("msg") == "authenticated":
                wanted = {"trades": self.wish.symbols, "quotes": self.wish.symbols}
                self._say(transport, {"action": "subscribe", **wanted})
            elif message["T"] == "subscription":
                self._subscribed = True
                self.ready.set()
            else:
                tell(error=f"consumer {self.number} was told {message}")

    def _say(self, transport: WSTransport, message: dict[str, object]) -> None:
        transport.send(self._kind, self._codec.encode(message))

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.room.lost(self)

    def items(self) -> Iterator[bytes]:
        for payload in self.kept:
            yield from map(bytes, self._codec.ticks.items(payload))


class NatsSink(Sink, asyncio.BufferedProtocol):
    """Subscribes, answers the server's first ping, and counts bytes."""

    _buffer = memoryview(bytearray(_READ_BYTES))
    subject: Callable[[str, str], str]

    async def connect(self, port: int) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", port)
        await self.ready.wait()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        lines = [b'CONNECT {"verbose":false,"pedantic":false}']
        for sid, symbol in enumerate(self.wish.symbols, 100):
            lines.append(f"SUB {self.subject(symbol, self.wish.codec)} {sid}".encode())
        transport.write(b"\r\n".join([*lines, b""]))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, count: int) -> None:
        if not self.ready.is_set():
            # The server pings once, about two seconds after the connect; its bytes must not be
            # taken for data later. The next is half an hour away.
            if b"PING\r\n" in bytes(self._buffer[:count]):
                self._transport.write(b"PONG\r\n")
                self.ready.set()
            return
        self.seen += count
        self.frames += 1
        if self.keeps:
            self.kept.append(bytes(self._buffer[:count]))
        if self.seen >= self.target:
            self.reached()

    def connection_lost(self, exc: Exception | None) -> None:
        self.room.lost(self)

    def items(self) -> Iterator[bytes]:
        data, position = b"".join(self.kept), 0
        while position < len(data):
            line_end = data.index(b"\r\n", position)
            length = int(data[position:line_end].rsplit(b" ", 1)[1])
            position = line_end + 2 + length + 2
            yield data[line_end + 2 : position - 2]


class Room:
    """All consumers."""

    def __init__(self, traffic: Traffic, kind: Callable[[Room, Wish, Tally, int], Sink]) -> None:
        self.traffic = traffic
        self._checksums = {codec: self._checksum(traffic, codec) for codec in traffic.case.codecs()}
        self._messages = traffic.tally([1] * len(traffic))
        self._waiting = 0
        self._round = 0
        wishes = traffic.wishes()
        measures = functools.cache(functools.partial(self._measures, nats=kind is NatsSink))
        self.sinks: Sequence[Sink] = [
            kind(self, wish, measures(wish.codec, wish.symbols == (EVERYTHING,)), number)
            for number, wish in enumerate(wishes)
        ]
        kinds: dict[tuple[str, int], Sink] = {}
        for sink in self.sinks:
            kinds.setdefault((sink.wish.codec, len(sink.wish.symbols)), sink).keeps = True

    def _checksum(self, traffic: Traffic, codec: str) -> Tally:
        return traffic.checksums(codec)

    def _measures(self, codec: str, everything: bool, *, nats: bool) -> Tally:
        """What each message adds to a consumer's ``seen``."""
        if nats:
            return self.traffic.tally(
                len(f"MSG {self.traffic.subject(symbol, codec)} 100 {len(item)}") + len(item) + 4
                for symbol, item in zip(
                    self.traffic.symbols, self.traffic.items[codec], strict=True
                )
            )
        if codec == "json":
            return self.traffic.tally(len(item) + 1 for item in self.traffic.items[codec])
        return self._messages

    async def fill(self, port: int) -> None:
        turn = asyncio.Semaphore(_AT_ONCE if isinstance(self.sinks[0], WebSocketSink) else 5000)

        async def come_in(sink: Sink) -> None:
            async with turn:
                await sink.connect(port)

        await asyncio.gather(*map(come_in, self.sinks))

    def lost(self, sink: Sink) -> None:
        tell(error=f"consumer {sink.number} was cut off")

    def expect(self, messages: int) -> None:
        self._round = messages
        for sink in self.sinks:
            sink.expect(messages)
        self._waiting = sum(1 for sink in self.sinks if sink.expected)
        deliveries = sum(self._messages.of(sink.wish.symbols, messages) for sink in self.sinks)
        tell(deliveries=deliveries)

    def reached(self) -> None:
        self._waiting -= 1
        if not self._waiting:
            frames = sum(sink.frames for sink in self.sinks)
            tell(finished_ns=time.monotonic_ns(), frames=frames)

    def missing(self) -> None:
        """Tell who still waits, for whoever wants to know why a round never ended."""
        waiting = {s.number: f"{s.seen} of {s.expected}" for s in self.sinks if s.seen < s.expected}
        tell(waiting=len(waiting), first=list(waiting.items())[:5])

    def check(self) -> None:
        """Tell whether everybody has exactly what was theirs."""
        for sink in self.sinks:
            if sink.seen != sink.expected:
                tell(error=f"consumer {sink.number} saw {sink.seen} instead of {sink.expected}")
                return
            if sink.keeps:
                found = sum(map(crc32, sink.items()))
                expected = self._checksums[sink.wish.codec].of(sink.wish.symbols, self._round)
                if found != expected:
                    tell(error=f"consumer {sink.number}: the checksum is wrong")
                    return
        tell(exact=True)


async def main(case: str, protocol: str, port: int) -> None:
    raise_open_files()
    traffic = Traffic(case_from(case))
    NatsSink.subject = staticmethod(traffic.subject)
    await serve(Room(traffic, NatsSink if protocol == "nats" else WebSocketSink), port)


async def serve(room: Room, port: int) -> None:
    """Fill the room, and do what the process that started this one says."""
    async with asyncio.timeout(120):
        await room.fill(port)
    tell(ready=len(room.sinks))
    async for command in commands():
        if "expect" in command:
            room.expect(command["expect"])
        elif "check" in command:
            room.check()
        elif "missing" in command:
            room.missing()
        else:
            tell(cycle=len(room.traffic))
    sys.stdout.flush()


if __name__ == "__main__":
    run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
