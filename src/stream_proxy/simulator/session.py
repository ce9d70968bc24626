"""One client of the simulator, treated as Alpaca treats it: by the letter.

Source of the rules: Alpaca, "WebSocket Stream" (handshake, errors, limits) and "Real-time Stock
Data" (subscriptions); where the documentation is silent, what the SDKs were seen to rely on.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING
from zlib import crc32

from websockets.http11 import Request, Response

from stream_proxy.model.feeds import Feed
from stream_proxy.model.messages import Message
from stream_proxy.model.topics import WILDCARD, SubscriptionSet
from stream_proxy.runtime.websocket_server import WebSocketConnection
from stream_proxy.simulator.faults import Fault
from stream_proxy.simulator.ledger import ConnectionRecord
from stream_proxy.simulator.trading.stream import PATHS as TRADING_PATHS
from stream_proxy.simulator.trading.stream import TradingSession
from stream_proxy.wire.alpaca.codec import JSON, Codec
from stream_proxy.wire.alpaca.codes import (
    ALREADY_AUTHENTICATED,
    AUTH_TIMEOUT,
    CONNECTION_LIMIT,
    ERROR_CODES,
    INVALID_SYNTAX,
    MSGPACK_ONLY,
    NOT_AUTHENTICATED,
    SLOW_CLIENT,
    SYMBOL_LIMIT,
    ErrorCode,
)
from stream_proxy.wire.alpaca.requests import (
    Authenticate,
    Change,
    Credentials,
    Invalid,
    acknowledgement,
    codec_for,
    error,
    header_credentials,
    parse_request,
    success,
)
from stream_proxy.wire.websocket import frame

if TYPE_CHECKING:
    from stream_proxy.simulator.endpoint import Endpoint
    from stream_proxy.simulator.server import Simulator

_SYMBOLS = {
    "stocks": re.compile(r"[A-Z][A-Z0-9]*([./-][A-Z0-9]+)*"),
    "options": re.compile(r"[A-Z]+[0-9]?\d{6}[CP]\d{8}"),
    "crypto": re.compile(r"[A-Z0-9]+/[A-Z0-9]+"),
    "news": re.compile(r"[A-Z0-9][A-Z0-9./-]*"),
}
_GARBAGE = b"\xc1\xff\x00 this is neither JSON nor msgpack {"
_LIMITED_CHANNELS = ("trades", "quotes", "orderbooks")


class SimulatorConnection(WebSocketConnection):
    """A client's connection to one endpoint."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(16 << 20, simulator.forget)
        self._simulator = simulator
        self.feed: Feed | None = None
        self.trading: TradingSession | None = None
        self.endpoint: Endpoint | None = None
        self.codec: Codec = JSON
        self.record: ConnectionRecord | None = None
        self.key: str | None = None
        self.topics = SubscriptionSet()
        self.full = False
        self.mute_until = 0.0
        self._codec_refused = False
        self._unclean = "unclean"
        self._hold_slot = True
        self._header_credentials: Credentials | None = None
        self._wants: dict[str, set[str]] = {}
        self._stalled = False

    @property
    def authenticated(self) -> bool:
        return self.key is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._simulator.connections[self] = None

    # Handshake

    def on_request(self, request: Request) -> Response | None:
        simulator = self._simulator
        path = request.path.partition("?")[0].rstrip("/") or "/"
        if path in TRADING_PATHS:
            self.trading = TradingSession(simulator.trading, self, path)
            return self.trading.on_request(request)
        self.feed = simulator.paths.get(path)
        if self.feed is None:
            return self.reject(HTTPStatus.NOT_FOUND, "no stream at this path")
        fault = simulator.faults.strike("refuse_upgrade", self.feed.name)
        if fault is not None:
            simulator.ledger.refused_upgrade(self.feed.name)
            response = self.reject(HTTPStatus(fault.code or 503), "refused on purpose")
            if fault.seconds:
                response.headers["Retry-After"] = str(int(fault.seconds))
            return response
        codec = codec_for(request.headers.get("Content-Type"), self.feed)
        self._codec_refused = codec is None
        self.codec = codec or JSON
        self._header_credentials = header_credentials(request.headers.get)
        return None

    def on_open(self) -> None:
        simulator = self._simulator
        if self.trading is not None:
            self.trading.on_open()
            self._loop.call_later(
                simulator.options.authentication_seconds, self.trading.authentication_due
            )
            return
        assert self.feed is not None
        self.record = simulator.ledger.opened(
            self.feed.name, self.codec.name, self.peer, simulator.clock.now_ns()
        )
        if simulator.faults.strike("no_greeting", self.feed.name):
            return
        self._loop.call_later(simulator.options.authentication_seconds, self._authentication_due)
        self._say(success(self.codec, "connected"))
        if self._codec_refused:
            self._refuse(MSGPACK_ONLY)
        elif self._header_credentials is not None:
            self._authenticate(self._header_credentials)

    def _authentication_due(self) -> None:
        if not self.authenticated and self.open:
            self._refuse(AUTH_TIMEOUT)

    # Requests

    def on_message(self, payload: bytes, binary: bool) -> None:
        if self._stalled:
            return
        if self.trading is not None:
            self.trading.on_message(payload, binary)
            return
        assert self.feed is not None
        match parse_request(payload, self.codec, self.feed):
            case Authenticate(credentials):
                self._authenticate(credentials)
            case Change() if not self.authenticated:
                self._refuse(NOT_AUTHENTICATED)
            case Change() as change:
                self._change(change)
            case Invalid(code, _):
                self._refuse(code)

    def _authenticate(self, credentials: Credentials) -> None:
        assert self.feed is not None and self.record is not None
        simulator = self._simulator
        if self.authenticated:
            self._refuse(ALREADY_AUTHENTICATED)
            return
        if simulator.faults.strike("end_at_auth", self.feed.name):
            self.drop("ended at auth", hold_slot=False)
            return
        fault = simulator.faults.strike("refuse_auth", self.feed.name)
        code = ERROR_CODES[fault.code] if fault else simulator.judge(self.feed, credentials)
        if code is not None:
            self._refuse(code)
            return
        if not simulator.slots.take(self.feed.name, credentials.key, self):
            self._refuse(CONNECTION_LIMIT)
            return
        self.key = credentials.key
        self.record.key = credentials.key[:2] + "***"
        self.record.authenticated_ns = simulator.clock.now_ns()
        self.endpoint = simulator.endpoint(self.feed)
        self.endpoint.join(self)
        self._say(success(self.codec, "authenticated"))
        if simulator.faults.strike("flap", self.feed.name):
            self.end(1001, "flapping on purpose")

    def _change(self, change: Change) -> None:
        assert self.feed is not None and self.record is not None
        simulator, name = self._simulator, self.feed.name
        if change.add:
            self.record.subscribes += 1
        else:
            self.record.unsubscribes += 1
        if simulator.faults.strike("end_at_subscribe", name):
            self.drop("ended at subscribe", hold_slot=False)
            return
        for _, symbol in change.topics:
            if symbol != WILDCARD and not _SYMBOLS[self.feed.kind].fullmatch(symbol):
                self._refuse(INVALID_SYNTAX)
                return
        topics = self.topics | change.topics if change.add else self.topics - change.topics
        limited = sum(len(topics.symbols(channel)) for channel in _LIMITED_CHANNELS)
        if change.add and 0 < simulator.options.symbol_limit < limited:
            self._refuse(SYMBOL_LIMIT)
            return
        if simulator.faults.strike("no_acks", name):
            return
        delay = simulator.faults.strike("delay_acks", name)
        if delay is not None:
            self._loop.call_later(delay.seconds, self._apply, topics, change)
        else:
            self._apply(topics, change)

    def _apply(self, topics: SubscriptionSet, change: Change) -> None:
        if not self.open:
            return
        assert self.feed is not None and self.record is not None and self.endpoint is not None
        self.topics = self.record.topics = topics
        self._wants = {
            kind: set(topics.symbols(channel)) for kind, channel in self.feed.types.items()
        }
        self._say(acknowledgement(self.codec, self.feed, topics))
        if change.add:
            self.endpoint.greet(self, change.topics)

    # Data

    def wants(self, kind: str, symbol: str) -> bool:
        """Whether a message of this type and symbol is subscribed."""
        wanted = self._wants.get(kind, ())
        return symbol in wanted or WILDCARD in wanted

    def wants_news(self, symbols: Sequence[str]) -> bool:
        wanted = self._wants.get("n", set())
        return WILDCARD in wanted or not wanted.isdisjoint(symbols)

    @property
    def silent(self) -> bool:
        """Whether a fault keeps us from sending data."""
        return self._stalled or self._loop.time() < self.mute_until

    def deliver(self, topics: list[tuple[str, str]], items: list[bytes], arrays: list[int]) -> None:
        """Send a batch, cut into arrays of the given lengths, and note it in the ledger."""
        assert self.record is not None
        if self.silent:
            self.record.withheld += len(items)
            return
        join, binary = self.codec.join, self.codec.binary
        frames, start = [], 0
        for length in arrays:
            frames.append(frame(join(items[start : start + length]), binary))
            start += length
            if start >= len(items):
                break
        self.record.sent(topics, items)
        self.transport.write(b"".join(frames))
        if (
            self._simulator.options.rate
            and self.transport.get_write_buffer_size() > self._simulator.options.slow_client_bytes
        ):
            self._refuse(SLOW_CLIENT)

    def on_pause(self) -> None:
        self.full = True

    def on_resume(self) -> None:
        self.full = False
        if self.endpoint is not None:
            self.endpoint.wake()

    # Ends and faults

    def commit(self, fault: Fault) -> None:
        """Do something bad, now."""
        match fault.kind:
            case "garbage":
                payload = bytes.fromhex(fault.payload_hex) if fault.payload_hex else _GARBAGE
                self.transport.write(frame(payload, self.codec.binary))
            case "error":
                self._refuse(ERROR_CODES[fault.code])
            case _:
                self.commit_on_socket(fault)

    def commit_on_socket(self, fault: Fault) -> None:
        """Do something bad to the socket, whatever is spoken on it."""
        match fault.kind:
            case "drop":
                self.drop("dropped", fault.hold_slot)
            case "reset":
                self._linger_reset()
                self.drop("reset", fault.hold_slot)
            case "close":
                self.end(fault.code or 1001, "closed on purpose")
            case "mute":
                self.mute_until = self._loop.time() + fault.seconds
            case "stall":
                self._stall(fault.seconds)
            case "half_message":
                self.transport.write(frame(b"x" * 200, self.codec.binary)[:100])
                self._unclean, self._hold_slot = "dropped in a message", fault.hold_slot
                self.transport.close()

    def drop(self, how: str, hold_slot: bool) -> None:
        """End the TCP connection without a word."""
        self._unclean, self._hold_slot = how, hold_slot
        self.abort()

    def end(self, code: int, reason: str) -> None:
        """Close properly."""
        self._unclean, self._hold_slot = reason, False
        self.close(code, reason)

    def _linger_reset(self) -> None:
        raw = self.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _stall(self, seconds: float) -> None:
        self._stalled = True
        self.transport.pause_reading()
        self._loop.call_later(seconds, self._unstall)

    def _unstall(self) -> None:
        self._stalled = False
        if not self.lost and not self.transport.is_closing():
            self.transport.resume_reading()

    def _refuse(self, code: ErrorCode) -> None:
        if not self.open:
            return
        if self.record is not None:
            self.record.errors.append(code.code)
        self._say(error(self.codec, code))
        if code.closes:
            self.end(1008, code.text)

    def on_closed(self) -> None:
        # 1006 is what the protocol reports when no close frame came.
        clean = self.close_code not in (None, 1006)
        if self.trading is not None:
            self.trading.on_closed(clean, self._hold_slot, "clean" if clean else self._unclean)
            return
        if self.feed is not None and self.key is not None:
            hold = self._hold_slot and not clean
            self._simulator.slots.free(self.feed.name, self.key, self, hold)
        if self.endpoint is not None:
            self.endpoint.leave(self)
        if self.record is not None:
            how = "clean" if clean else self._unclean
            self._simulator.ledger.closed(self.record, self._simulator.clock.now_ns(), how)

    def _say(self, payload: bytes) -> None:
        if self.open and not self._stalled:
            self.transport.write(frame(payload, self.codec.binary))


def topic_of(message: Message) -> tuple[str, str]:
    """The type letter and symbol by which a message is counted; news counts under ``*``."""
    kind = str(message.__struct_config__.tag)
    return kind, getattr(message, "symbol", WILDCARD)


def checksum(items: Sequence[bytes]) -> int:
    """The ledger's checksum of these items, for receivers."""
    return sum(map(crc32, items)) % (1 << 64)
