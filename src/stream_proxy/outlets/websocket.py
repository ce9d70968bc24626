"""The WebSocket outlet: Alpaca's own market-data protocol, spoken as the server.

A client goes through handshake (Host, Origin, path, codec), ``connected``, authentication, and
then subscribes. Its requests are answered strictly in order; one that waits for upstream holds the
later ones back, since Alpaca too answers one by one. Data never passes the client's first
acknowledgement, because the client enters the hub only after it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Protocol
from urllib.parse import parse_qs

import structlog
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from stream_proxy.feed.consumer import Consumer
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.feed.upstream_status import UpstreamState
from stream_proxy.hub.outbox import Outbox
from stream_proxy.model.feeds import Feed
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.outlets.doorkeeper import Doorkeeper
from stream_proxy.outlets.shapes import WebSocketShape, shape_for
from stream_proxy.runtime.websocket_server import WebSocketConnection
from stream_proxy.wire.alpaca.codec import JSON, Codec
from stream_proxy.wire.alpaca.codes import (
    ALREADY_AUTHENTICATED,
    AUTH_FAILED,
    AUTH_TIMEOUT,
    INSUFFICIENT_SUBSCRIPTION,
    INTERNAL_ERROR,
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

CLOSE_POLICY = 1008
CLOSE_GOING_AWAY = 1001

BURST_SECONDS = 4
"""So many seconds' worth of messages may come at once, at the start too: SDKs subscribe then."""

BYTES_PER_MESSAGE = 16 * 1024
"""So many bytes count as one more message: a list of all US symbols costs as much as five."""

MOST_WAITING_REQUESTS = 500
"""Subscribes that a client may have sent ahead of their answers; the C# SDK sends one per 100
symbols without waiting."""


@dataclass(frozen=True, slots=True)
class ConsumerLimits:
    """What one consumer may take; all of them are settings."""

    handshake_seconds: float = 10.0
    authentication_seconds: float = 10.0
    acknowledgement_seconds: float = 2.5
    ping_seconds: float = 20.0
    pong_seconds: float = 40.0
    message_bytes: int = 1 << 20
    messages_per_second: float = 50.0
    subscriptions: int = 50_000
    outbox_bytes: int = 8 << 20
    outbox_age_seconds: float = 30.0
    connections: int = 10_000


class Lobby(Protocol):
    """What the outlet asks of the program around it."""

    def feed_for_path(self, path: str) -> Feed | None:
        """The feed that a path names, or None."""

    def handler_for(self, feed: Feed) -> FeedHandler | None:
        """The feed's middle, its upstream started; None when this feed isn't served."""


class _Phase(Enum):
    HANDSHAKE = 0
    AUTHENTICATION = 1
    ADMISSION = 2
    """Credentials are fine, upstream's word is awaited."""
    READY = 3
    CLOSING = 4


@dataclass(slots=True)
class OutletCounts:
    """Plain integers for whoever asks."""

    accepted: int = 0
    rejected: int = 0
    authentications_failed: int = 0
    authentication_timeouts: int = 0
    slow_consumers: int = 0
    dropped_messages: int = 0
    bad_requests: int = 0
    rate_limited: int = 0
    unconfirmed_acknowledgements: int = 0


class ConsumerConnection(WebSocketConnection):
    """One client of Alpaca's protocol."""

    def __init__(self, outlet: WebSocketOutlet) -> None:
        super().__init__(outlet.limits.message_bytes, outlet.forget)
        self._outlet = outlet
        self._phase = _Phase.HANDSHAKE
        self._requests: deque[tuple[Change, float]] = deque()
        self._topics_ahead = 0
        self._deadline = self.opened_at + outlet.limits.handshake_seconds
        self._budget = outlet.limits.messages_per_second * BURST_SECONDS
        self._budget_at = self.opened_at
        self._pinged_at = self.opened_at
        self._snapshot = False
        self._header_credentials: Credentials | None = None
        self._codec_refused = False
        self._waiting_since = 0.0
        self.feed: Feed | None = None
        self.codec: Codec = JSON
        self.identity = ""
        self.handler: FeedHandler | None = None
        self.consumer: Consumer | None = None
        self.outbox = Outbox(
            self._write,
            outlet.limits.outbox_bytes,
            int(outlet.limits.outbox_age_seconds * 1e9),
            self._overflow,
        )
        self.outbox.tick(int(self.opened_at * 1e9))

    def _write(self, frames: bytes) -> None:
        self.transport.write(frames)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # Not before: after a failed TLS handshake nobody would ever take it off the list.
        self._outlet.connections[self] = None

    # Handshake

    def on_request(self, request: Request) -> Response | None:
        response = self._judge(request)
        if response is not None:
            self._outlet.counts.rejected += 1
        return response

    def _judge(self, request: Request) -> Response | None:
        headers, outlet = request.headers, self._outlet
        hosts = headers.get_all("Host")
        if len(hosts) != 1 or not outlet.doorkeeper.allows_host(hosts[0]):
            return self.reject(
                HTTPStatus.MISDIRECTED_REQUEST,
                "This server doesn't go by the name in the Host header. Connect to the address it "
                "is bound to, or add the name to STREAM_PROXY_ALLOWED_HOSTS.",
            )
        if not outlet.doorkeeper.allows_origin(headers.get_all("Origin")):
            return self.reject(
                HTTPStatus.FORBIDDEN,
                "Pages of this Origin may not read the feed. Add it, exactly, to "
                "STREAM_PROXY_ALLOWED_ORIGINS if it is yours.",
            )
        path, _, query = request.path.partition("?")
        self.feed = outlet.lobby.feed_for_path(path)
        if self.feed is None:
            return self.reject(
                HTTPStatus.NOT_FOUND,
                "No stream is served at this path. Try /v2/iex, /v2/sip, /v2/test, "
                "/v1beta1/indicative, /v1beta3/crypto/us or /v1beta1/news.",
            )
        if outlet.stopping:
            return self.reject(HTTPStatus.SERVICE_UNAVAILABLE, "The proxy is going down.")
        if len(outlet.connections) > outlet.limits.connections:
            return self.reject(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "Too many consumers are connected: raise STREAM_PROXY_MAX_CONNECTIONS.",
            )
        codec = codec_for(_single(headers, "Content-Type"), self.feed)
        self._codec_refused = codec is None
        self.codec = codec or JSON
        self._snapshot = parse_qs(query).get("snapshot", ["0"])[-1] in ("1", "true")
        self._header_credentials = header_credentials(lambda name: _single(headers, name))
        return None

    def on_open(self) -> None:
        outlet = self._outlet
        outlet.counts.accepted += 1
        self._enter(_Phase.AUTHENTICATION, outlet.limits.authentication_seconds)
        self._say(success(self.codec, "connected"))
        if self._codec_refused:
            self._fail(MSGPACK_ONLY)
        elif self._header_credentials is not None:
            self._authenticate(self._header_credentials)

    # Requests

    def on_message(self, payload: bytes, binary: bool) -> None:
        if self._phase is _Phase.CLOSING:
            return
        if not self._within_rate(1 + len(payload) / BYTES_PER_MESSAGE):
            return
        assert self.feed is not None
        match parse_request(payload, self.codec, self.feed):
            case Authenticate(credentials):
                if self._phase is _Phase.AUTHENTICATION:
                    self._authenticate(credentials)
                else:
                    self._bad_request(ALREADY_AUTHENTICATED)
            case Change() as change if self._phase in (_Phase.READY, _Phase.ADMISSION):
                # JavaScript SDK 3 subscribes without waiting for "authenticated".
                self._queue(change)
            case Change():
                self._bad_request(NOT_AUTHENTICATED)
            case Invalid(code, detail):
                self._outlet.log_bad_request(self, code, detail)
                self._bad_request(code)

    def _queue(self, change: Change) -> None:
        """Take a request in order, within what one client may have waiting."""
        if len(self._requests) >= MOST_WAITING_REQUESTS:
            self._outlet.counts.rate_limited += 1
            self._fail(INVALID_SYNTAX, "too many unanswered requests")
        elif self._topics_ahead + len(change.topics) > self._outlet.limits.subscriptions:
            self._bad_request(SYMBOL_LIMIT)
        else:
            self._requests.append((change, self._loop.time()))
            self._topics_ahead += len(change.topics)
            self._next_request()

    def _within_rate(self, cost: float) -> bool:
        """A token bucket: bursts of a few seconds pass, a flood ends the connection.

        Large messages cost more: reading one holds everybody up a little.
        """
        limits = self._outlet.limits
        now = self._loop.time()
        burst = limits.messages_per_second * BURST_SECONDS
        self._budget = min(
            burst, self._budget + (now - self._budget_at) * limits.messages_per_second
        )
        self._budget_at = now
        # One message within the size limit is never a flood by itself.
        cost = min(cost, burst)
        if self._budget < cost:
            self._outlet.counts.rate_limited += 1
            self._fail(INVALID_SYNTAX, "too many messages per second")
            return False
        self._budget -= cost
        return True

    def _bad_request(self, code: ErrorCode) -> None:
        self._outlet.counts.bad_requests += 1
        self._say(error(self.codec, code))

    # Authentication

    def _authenticate(self, credentials: Credentials) -> None:
        assert self.feed is not None
        identity = self._outlet.doorkeeper.identify(credentials)
        if identity is None:
            self._outlet.counts.authentications_failed += 1
            self._fail(AUTH_FAILED)
            return
        handler = self._outlet.lobby.handler_for(self.feed)
        if handler is None:
            self._fail(INSUFFICIENT_SUBSCRIPTION)
            return
        self.identity = identity
        self.handler = handler
        self._enter(_Phase.ADMISSION, self._outlet.limits.acknowledgement_seconds)
        self.upstream_changed()

    def upstream_changed(self) -> None:
        """Admit, or refuse, a client that waits for upstream's word on this feed."""
        if self.handler is None:
            return
        upstream = self.handler.upstream
        if upstream.state is UpstreamState.REFUSED:
            # Also for who was admitted before: no data will ever come again.
            self._fail(upstream.error or INTERNAL_ERROR)
        elif self._phase is not _Phase.ADMISSION:
            return
        elif upstream.state is UpstreamState.CONNECTED or upstream.interruptions:
            self._admit()

    def _admit(self) -> None:
        assert self.handler is not None
        self._enter(_Phase.READY, None)
        shape: WebSocketShape = shape_for(self.handler.codec.name, self.codec.name)
        self.consumer = Consumer(self.peer, self.outbox, shape, self._revoked)
        self.handler.join(self.consumer)
        self._say(success(self.codec, "authenticated"))
        self._next_request()

    # Subscriptions

    def _next_request(self) -> None:
        """Work on waiting requests until one has to wait for upstream."""
        consumer, handler = self.consumer, self.handler
        if consumer is None or handler is None:
            return
        while self._requests and consumer.pending is None and self._phase is _Phase.READY:
            change, asked_at = self._requests.popleft()
            self._topics_ahead -= len(change.topics)
            if not change.add:
                handler.unsubscribe(consumer, change.topics)
                self._acknowledge()
            elif len(consumer.topics | change.topics) > self._outlet.limits.subscriptions:
                self._bad_request(SYMBOL_LIMIT)
            else:
                self._waiting_since = asked_at
                added = change.topics - consumer.topics
                handler.subscribe(consumer, added, self._settler(added))
                # Requests sent ahead of their answers don't wait one after the other.
                self._lose_patience(self._loop.time())

    def _settler(self, topics: SubscriptionSet) -> Callable[[ErrorCode | None], None]:
        def settle(refusal: ErrorCode | None) -> None:
            if refusal is None:
                self._acknowledge()
                self._send_what_is_known(topics)
            else:
                self._bad_request(refusal)
            if self._requests:
                # Not from within the demand that is just settling somebody.
                self._loop.call_soon(self._next_request)

        return settle

    def _acknowledge(self) -> None:
        assert self.feed is not None and self.consumer is not None
        self._say(acknowledgement(self.codec, self.feed, self.consumer.topics))

    def _send_what_is_known(self, topics: SubscriptionSet) -> None:
        """Whole order books always, last trades and quotes if ``?snapshot=1`` asked for them."""
        assert self.consumer is not None and self.handler is not None
        items = list(self.handler.book_snapshot(topics))
        if self._snapshot:
            items += self.handler.snapshot(topics)
        shape = self.consumer.shape
        if shape.transcode is not None:
            items = [other for item in items if (other := shape.transcode(item)) is not None]
        if items:
            self.outbox.offer(shape.frames(items), len(items))

    def _revoked(self, topics: SubscriptionSet, code: ErrorCode) -> None:
        self._say(error(self.codec, code))
        self._acknowledge()

    # Ends

    def _overflow(self) -> None:
        """The outbox is full: Alpaca's 407 behind what the socket already holds, then the end."""
        self._outlet.counts.slow_consumers += 1
        # Not now: the hub may be in the middle of writing to this consumer's group.
        self._loop.call_soon(self._fail, SLOW_CLIENT)

    def _fail(self, code: ErrorCode, reason: str = "") -> None:
        """Say the error, say goodbye, and let go of everything."""
        if self._phase is _Phase.CLOSING or self.lost:
            return
        self._outlet.log_end(self, code)
        payload = frame(error(self.codec, code), self.codec.binary)
        self._release()
        if self.open:
            # Straight to the socket: the outbox takes no more.
            self.transport.write(payload)
            self.close(CLOSE_POLICY, reason or code.text)
        else:
            self.abort()

    def goodbye(self, code: int, reason: str) -> None:
        """End politely: the proxy goes down."""
        self._release()
        self.close(code, reason)

    def _release(self) -> None:
        self._phase = _Phase.CLOSING
        self._requests.clear()
        self._topics_ahead = 0
        if self.consumer is not None and self.handler is not None:
            self.handler.leave(self.consumer)
            self.consumer = None
        self.outbox.close()
        self._outlet.counts.dropped_messages += self.outbox.dropped_messages
        self.outbox.dropped_messages = 0

    def on_closed(self) -> None:
        if self._phase is not _Phase.CLOSING:
            self._release()

    def on_pause(self) -> None:
        self.outbox.pause()

    def on_resume(self) -> None:
        self.outbox.resume()

    # Time

    def _enter(self, phase: _Phase, seconds: float | None) -> None:
        self._phase = phase
        self._deadline = float("inf") if seconds is None else self._loop.time() + seconds

    def tick(self, now: float) -> None:
        """Once a second: deadlines, pings, the age of what waits."""
        limits = self._outlet.limits
        self.outbox.tick(int(now * 1e9))
        match self._phase:
            case _Phase.HANDSHAKE if now > self._deadline:
                self.abort()
            case _Phase.AUTHENTICATION if now > self._deadline:
                self._outlet.counts.authentication_timeouts += 1
                self._fail(AUTH_TIMEOUT)
            case _Phase.READY if now - self.last_heard > limits.pong_seconds + limits.ping_seconds:
                if limits.ping_seconds:
                    self.abort()
            case _:
                pass
        if limits.ping_seconds and now - self._pinged_at > limits.ping_seconds:
            self._pinged_at = now
            self.ping()

    def fast_tick(self, now: float) -> None:
        """Several times a second: what a client's own three-second patience hangs on."""
        if self._phase is _Phase.ADMISSION and now > self._deadline:
            self._admit()
        else:
            self._lose_patience(now)

    def _lose_patience(self, now: float) -> None:
        """Answer a subscribe that upstream, being away, doesn't: it will be made good later."""
        if (
            self.consumer is not None
            and self.handler is not None
            and self.consumer.pending is not None
            and now - self._waiting_since > self._outlet.limits.acknowledgement_seconds
        ):
            self._outlet.counts.unconfirmed_acknowledgements += 1
            self.handler.accept_unconfirmed(self.consumer)

    def _say(self, payload: bytes) -> None:
        self.outbox.control(frame(payload, self.codec.binary))


class WebSocketOutlet:
    """All clients of Alpaca's protocol, on any number of listening sockets."""

    def __init__(self, lobby: Lobby, doorkeeper: Doorkeeper, limits: ConsumerLimits) -> None:
        self.lobby = lobby
        self.doorkeeper = doorkeeper
        self.limits = limits
        self.counts = OutletCounts()
        self.connections: dict[WebSocketConnection, None] = {}
        self.stopping = False
        self._log = structlog.get_logger("stream_proxy.websocket")
        self._task: asyncio.Task[None] | None = None

    def accept(self) -> asyncio.Protocol:
        """A protocol for one new socket: the factory for ``loop.create_server``."""
        return ConsumerConnection(self)

    def forget(self, connection: WebSocketConnection) -> None:
        self.connections.pop(connection, None)

    def consumers(self) -> list[ConsumerConnection]:
        """The clients that are admitted."""
        return [
            connection
            for connection in self.connections
            if isinstance(connection, ConsumerConnection) and connection.consumer is not None
        ]

    def upstream_changed(self, handler: FeedHandler) -> None:
        """Tell the clients that wait for this feed."""
        for connection in list(self.connections):
            if isinstance(connection, ConsumerConnection) and connection.handler is handler:
                connection.upstream_changed()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        turn = 0
        while True:
            await asyncio.sleep(0.25)
            turn += 1
            now = loop.time()
            for connection in list(self.connections):
                assert isinstance(connection, ConsumerConnection)
                connection.fast_tick(now)
                if turn % 4 == 0:
                    connection.tick(now)

    async def stop(self, timeout_seconds: float) -> None:
        """Say goodbye to all and wait until they are gone."""
        self.stopping = True
        if self._task is not None:
            self._task.cancel()
        for connection in list(self.connections):
            assert isinstance(connection, ConsumerConnection)
            connection.goodbye(CLOSE_GOING_AWAY, "the proxy is going down")
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        while self.connections and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection.abort()

    def log_bad_request(self, connection: ConsumerConnection, code: ErrorCode, detail: str) -> None:
        self._log.info(
            "consumer.bad_request", peer=connection.peer, code=code.code, detail=detail[:120]
        )

    def log_end(self, connection: ConsumerConnection, code: ErrorCode) -> None:
        self._log.warning(
            "consumer.refused",
            peer=connection.peer,
            code=code.code,
            text=code.text,
            dropped=connection.outbox.dropped_messages,
        )


def _single(headers: Headers, name: str) -> str | None:
    """The value of a header that came exactly once."""
    values = headers.get_all(name)
    return values[0] if len(values) == 1 else None
