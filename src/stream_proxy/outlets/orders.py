"""Order updates on a WebSocket: Alpaca's own trading protocol, and a plain dialect of it.

A client without further wishes gets what Alpaca would send, in Alpaca's bytes, from now on. One
that names a cursor or a place in the record gets each event with its sequence, and everything
since that place. Nobody is conflated: who reads too slowly is cut, and resumes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import parse_qs

import msgspec
from websockets.datastructures import Headers

from stream_proxy.feed.order_position import CannotResume, Joined, Start
from stream_proxy.feed.orders import OrderConsumer, OrderFeed
from stream_proxy.model.orders import OrderRecord, Origin
from stream_proxy.outlets.connection import ServedConnection, single_header
from stream_proxy.outlets.limits import CLOSE_POLICY
from stream_proxy.wire.alpaca.requests import Credentials, header_credentials
from stream_proxy.wire.alpaca.trade_updates import STREAM, message_of
from stream_proxy.wire.alpaca.trading_requests import (
    Acknowledge,
    Listen,
    Login,
    Misunderstood,
    authorization,
    failure,
    listening,
    parse_trading_request,
)
from stream_proxy.wire.websocket import frame

CLOSE_TRY_LATER = 1013
CLOSE_SLOW = 4408
"""Come back with the last sequence: all of it is kept."""
CLOSE_POSITION_LOST = 4410
"""Don't come back with this position: it can't be honoured."""


class Dialect(Enum):
    ALPACA = "alpaca"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class OrderPath:
    """What a path leads to.

    Attributes:
        account: the name of an account.
        missing: what to do when there is no such account; empty if there is.
        feed_for: the account's feed, its upstream started, for a client with these credentials;
            or why there is none.
    """

    account: str
    dialect: Dialect
    missing: str
    feed_for: Callable[[Credentials], OrderFeed | str]


class _Phase(Enum):
    AUTHENTICATION = 1
    READY = 2
    CLOSING = 3


class OrderDialog:
    """What is said with one client of an account's order updates."""

    def __init__(
        self,
        connection: ServedConnection,
        path: OrderPath,
        query: str,
        headers: Headers,
        binary_frames: bool,
    ) -> None:
        self._connection = connection
        self._outlet = connection.outlet
        self._path = path
        self._plain = path.dialect is Dialect.PLAIN
        self._msgpack = "msgpack" in (single_header(headers, "Content-Type") or "").lower()
        self._binary = self._msgpack or (binary_frames and not self._plain)
        options = {name: values[-1] for name, values in parse_qs(query).items()}
        self._start = Start(*(options.get(name, "")[:200] for name in ("cursor", "since", "epoch")))
        self._numbered = bool(
            self._start.cursor or self._start.since or options.get("numbered") in ("1", "true")
        )
        self._header_credentials = header_credentials(lambda name: single_header(headers, name))
        self._phase = _Phase.AUTHENTICATION
        self._deadline = float("inf")
        self._loop = asyncio.get_running_loop()
        self.identity = ""
        self.feed: OrderFeed | None = None
        self.consumer: OrderConsumer | None = None
        self._placed = False

    @property
    def admitted(self) -> bool:
        return self._phase is _Phase.READY

    def opened(self) -> None:
        self._deadline = self._loop.time() + self._outlet.limits.authentication_seconds
        if self._path.missing:
            self._fail(self._path.missing)
        elif self._header_credentials is not None:
            self._login(self._header_credentials)

    def heard(self, payload: bytes, binary: bool) -> None:
        if self._phase is _Phase.CLOSING:
            return
        match parse_trading_request(payload, self._msgpack):
            case Login(credentials):
                if self._phase is _Phase.AUTHENTICATION:
                    self._login(credentials)
                else:
                    self._welcome()
            case Listen() as listen:
                self._listen(listen)
            case Acknowledge(sequence):
                self._acknowledge(sequence)
            case Misunderstood(text):
                self._outlet.counts.bad_requests += 1
                self._say(failure(text))

    # Authentication

    def _login(self, credentials: Credentials) -> None:
        identity = self._outlet.doorkeeper.identify(credentials)
        if identity is None:
            self._outlet.counts.authentications_failed += 1
            if self._plain:
                self._say([{"T": "error", "code": 402, "msg": "auth failed"}])
            else:
                self._say(authorization("unauthorized"))
            self._fail("the credentials are none of the proxy's access tokens", tell=False)
            return
        feed = self._path.feed_for(credentials)
        if isinstance(feed, str):
            self._fail(feed, CLOSE_TRY_LATER)
            return
        self.identity = identity
        self.feed = feed
        self._phase = _Phase.READY
        self._welcome()
        if self._plain:
            self._join()

    def _welcome(self) -> None:
        if self._plain:
            self._say([{"T": "success", "msg": "authenticated"}])
        else:
            self._say(authorization("authorized"))

    def _listen(self, listen: Listen) -> None:
        if self._phase is not _Phase.READY:
            self._outlet.counts.bad_requests += 1
            self._say(authorization("unauthorized", "listen"))
            return
        self._say(listening([STREAM] if listen.updates else []))
        if not listen.updates:
            self._leave()
        elif self.consumer is None:
            self._join()

    # Updates

    def _join(self) -> None:
        assert self.feed is not None
        consumer = self.consumer = OrderConsumer(
            self._connection.peer, self._connection.outbox, self._frame, self._lost
        )

        def joined(found: Joined | CannotResume) -> None:
            if isinstance(found, CannotResume):
                self._lost(found)
                return
            self._placed = True
            if self._numbered:
                self._say(self._position(found))

        self.feed.join(consumer, self._start, joined)
        if self.feed.trouble is not None:
            self.trouble(str(self.feed.trouble))

    def _lost(self, refusal: CannotResume) -> None:
        self._fail(refusal.reason, CLOSE_POSITION_LOST)

    def _position(self, found: Joined) -> dict[str, Any]:
        state = found.state
        data: dict[str, Any] = {
            "account": state.account,
            "epoch": state.epoch,
            "sequence": found.position,
            "last_sequence": state.last_sequence,
        }
        if self._start.cursor:
            data["cursor"] = self._start.cursor
            data["new"] = found.new
        return {"stream": "position", "data": data}

    def _leave(self) -> None:
        if self.feed is not None and self.consumer is not None:
            if self._numbered and self._placed and self.feed.state is not None:
                # Who listens again goes on where it stopped, not where it once began.
                here = f"{self.feed.state.epoch}:{self.consumer.position}"
                self._start = Start(self._start.cursor, here)
            self.feed.leave(self.consumer)
        self.consumer, self._placed = None, False

    def _frame(self, record: OrderRecord) -> bytes:
        extra: dict[str, Any] | None = None
        if self._numbered:
            extra = {
                "account": record.account,
                "epoch": record.epoch,
                "sequence": record.sequence,
                "reconstructed": record.event.origin is Origin.RECONSTRUCTED,
            }
        payload = message_of(record.event.data, extra)
        if self._msgpack:
            payload = msgspec.msgpack.encode(msgspec.json.decode(payload))
        return frame(payload, self._binary)

    def _acknowledge(self, sequence: int) -> None:
        cursor = self._start.cursor
        if self.feed is None or self.consumer is None or not cursor:
            self._outlet.counts.bad_requests += 1
            self._say(failure("only who listens with ?cursor=<name> can acknowledge"))
            return
        if sequence > self.consumer.position:
            self._outlet.counts.bad_requests += 1
            self._say(
                failure(f"{sequence} was not sent yet: the last was {self.consumer.position}")
            )
            return

        def acknowledged(position: int) -> None:
            if self._phase is _Phase.READY:
                self._say({"stream": "ack", "data": {"cursor": cursor, "sequence": position}})

        self.feed.acknowledge(cursor, sequence, acknowledged)

    def trouble(self, text: str | None) -> None:
        """Events wait because of something, or no longer; the client may want to stop trading.

        Alpaca's protocol has a form for bad news only: good news are for those who know ours.
        """
        if self.consumer is None:
            return
        if text is not None:
            self._say(failure(text))
        elif self._numbered:
            self._say({"stream": "notice", "data": {"message": "order updates flow again"}})

    # Ends

    def refuse(self, text: str) -> None:
        """There is nothing to wait for; coming back may help."""
        self._fail(text, CLOSE_TRY_LATER)

    def flooded(self) -> None:
        self._fail("too many messages per second")

    def overflowed(self) -> None:
        self._outlet.log_order_client_cut(self._connection)
        self.release()
        self._connection.close(
            CLOSE_SLOW, "reads too slowly; nothing is lost, resume with since or cursor"
        )

    def drained(self) -> None:
        if self.feed is not None and self.consumer is not None:
            self.feed.drained(self.consumer)

    def _fail(self, text: str, code: int = CLOSE_POLICY, *, tell: bool = True) -> None:
        """Say why, in full as a message and in short as the reason of the close, and end."""
        if self._phase is _Phase.CLOSING or self._connection.lost:
            return
        if tell:
            self._say(failure(text))
        self.release()
        self._connection.close(code, _short_reason(text))

    def goodbye(self, code: int, reason: str) -> None:
        self.release()
        self._connection.close(code, reason)

    def release(self) -> None:
        if self._phase is _Phase.CLOSING:
            return
        self._phase = _Phase.CLOSING
        self._leave()
        self._connection.end_outbox()

    # Time

    def tick(self, now: float) -> None:
        if self._phase is _Phase.AUTHENTICATION and now > self._deadline:
            self._outlet.counts.authentication_timeouts += 1
            self._fail("no authentication came in time")

    def fast_tick(self, now: float) -> None:
        """Nothing here is that urgent."""

    def _say(self, message: dict[str, Any] | list[Any]) -> None:
        encode = msgspec.msgpack.encode if self._msgpack else msgspec.json.encode
        self._connection.outbox.control(frame(encode(message), self._binary))


def _short_reason(text: str) -> str:
    """What fits into a close frame (RFC 6455, section 5.5: 125 bytes with the code)."""
    return text.encode()[:120].decode(errors="ignore")
