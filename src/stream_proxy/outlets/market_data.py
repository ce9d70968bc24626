"""Alpaca's own market-data protocol, spoken as the server.

A client is greeted with ``connected``, authenticates, and then subscribes. Its requests are
answered strictly in order; one that waits for upstream holds the later ones back, since Alpaca too
answers one by one. Data never passes the client's first acknowledgement, because the client enters
the hub only after it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any
from urllib.parse import parse_qs

from websockets.datastructures import Headers

from stream_proxy.feed.consumer import Consumer
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.feed.upstream_status import UpstreamState
from stream_proxy.model.feeds import Feed
from stream_proxy.model.slow_policy import SlowPolicy
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.outlets.back_fill import form_for
from stream_proxy.outlets.close_codes import close_code_for
from stream_proxy.outlets.connection import BadHandshake, ServedConnection, single_header
from stream_proxy.outlets.continuity import HEADER
from stream_proxy.outlets.continuity_dialog import Continuity
from stream_proxy.outlets.limits import CLOSE_POLICY, MOST_WAITING_REQUESTS
from stream_proxy.outlets.shapes import shape_for
from stream_proxy.outlets.slow import SLOW_HEADER, LagReport, SlowConsumer, policy_asked_for
from stream_proxy.state.gaps import Gap
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


class _Phase(Enum):
    AUTHENTICATION = 1
    ADMISSION = 2
    """Credentials are fine, upstream's word is awaited."""
    READY = 3
    CLOSING = 4


class MarketDataDialog:
    """What is said with one client of a feed."""

    def __init__(
        self, connection: ServedConnection, feed: Feed, query: str, headers: Headers
    ) -> None:
        self._connection = connection
        self.outlet = connection.outlet
        self._loop = asyncio.get_running_loop()
        self._phase = _Phase.AUTHENTICATION
        self._deadline = float("inf")
        self._requests: deque[tuple[Change, float]] = deque()
        self._topics_ahead = 0
        self._waiting_since = 0.0
        asked = parse_qs(query)
        self._snapshot = asked.get("snapshot", ["0"])[-1] in ("1", "true")
        self._continuity = Continuity(self, asked, single_header(headers, HEADER))
        self._slow_policy = _slow_policy(asked, headers)
        self.slow: SlowConsumer | None = None
        self._header_credentials = header_credentials(lambda name: single_header(headers, name))
        codec = codec_for(single_header(headers, "Content-Type"), feed)
        self._codec_refused = codec is None
        self.feed = feed
        self.codec: Codec = codec or JSON
        self.identity = ""
        self.handler: FeedHandler | None = None
        self.consumer: Consumer | None = None
        self.outbox = connection.outbox

    @property
    def peer(self) -> str:
        return self._connection.peer

    @property
    def admitted(self) -> bool:
        return self._phase is _Phase.READY

    def opened(self) -> None:
        self._enter(_Phase.AUTHENTICATION, self.outlet.limits.authentication_seconds)
        self._say(success(self.codec, "connected"))
        if self._codec_refused:
            self._fail(MSGPACK_ONLY)
        elif self._header_credentials is not None:
            self._authenticate(self._header_credentials)

    # Requests

    def heard(self, payload: bytes, binary: bool) -> None:
        if self._phase is _Phase.CLOSING:
            return
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
                self.outlet.log_bad_request(self._connection, code, detail)
                self._bad_request(code)

    def _queue(self, change: Change) -> None:
        """Take a request in order, within what one client may have waiting."""
        if len(self._requests) >= MOST_WAITING_REQUESTS:
            self.outlet.counts.rate_limited += 1
            self._fail(INVALID_SYNTAX, "too many unanswered requests")
        elif self._topics_ahead + len(change.topics) > self.outlet.limits.subscriptions:
            self._bad_request(SYMBOL_LIMIT)
        else:
            self._requests.append((change, self._loop.time()))
            self._topics_ahead += len(change.topics)
            self._next_request()

    def _bad_request(self, code: ErrorCode) -> None:
        self.outlet.counts.bad_requests += 1
        self._say(error(self.codec, code))

    # Authentication

    def _authenticate(self, credentials: Credentials) -> None:
        identity = self.outlet.doorkeeper.identify(credentials)
        if identity is None:
            self.outlet.counts.authentications_failed += 1
            self._fail(AUTH_FAILED)
            return
        handler = self.outlet.lobby.handler_for(self.feed)
        if handler is None:
            self._fail(INSUFFICIENT_SUBSCRIPTION)
            return
        self.identity = identity
        self.handler = handler
        self._enter(_Phase.ADMISSION, self.outlet.limits.acknowledgement_seconds)
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
        shape = self._continuity.shape(self.handler) or shape_for(
            self.handler.codec.name, self.codec.name
        )
        self.consumer = Consumer(
            self.peer, self.outbox, shape, self._revoked, back_fill=form_for(shape)
        )
        self.handler.join(self.consumer)
        self.slow = SlowConsumer(
            self._slow_policy
            or self.outlet.doorkeeper.slow_policy(self.identity)
            or self.outlet.limits.slow_policy,
            self.handler,
            self.consumer,
            self._tell_lag,
        )
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
            elif len(consumer.topics | change.topics) > self.outlet.limits.subscriptions:
                self._bad_request(SYMBOL_LIMIT)
            else:
                self._waiting_since = asked_at
                added = change.topics - consumer.topics
                self._continuity.before_subscribing()
                handler.subscribe(consumer, added, self._settler(added))
                # Requests sent ahead of their answers don't wait one after the other.
                self._lose_patience(self._loop.time())

    def _settler(self, topics: SubscriptionSet) -> Callable[[ErrorCode | None], None]:
        def settle(refusal: ErrorCode | None) -> None:
            if refusal is None:
                self._acknowledge()
                known = self._continuity.begin() or self._snapshot
                self._send_what_is_known(topics, known)
            else:
                self._bad_request(refusal)
            if self._requests:
                # Not from within the demand that is just settling somebody.
                self._loop.call_soon(self._next_request)

        return settle

    def _acknowledge(self) -> None:
        assert self.consumer is not None
        self._say(acknowledgement(self.codec, self.feed, self.consumer.topics))

    def caught_up(self) -> None:
        """It has all of the past: changes of order books need whole ones to go on from."""
        if self.consumer is not None:
            self._send_what_is_known(self.consumer.topics, with_last=False)

    def _send_what_is_known(self, topics: SubscriptionSet, with_last: bool) -> None:
        """Whole order books always; last trades and quotes to who asked, or can't resume."""
        assert self.consumer is not None and self.handler is not None
        if self.consumer.replay is not None:
            return  # they are of now, and it is still in the past
        items = list(self.handler.book_snapshot(topics))
        if with_last:
            items += self.handler.snapshot(topics)
        shape = self.consumer.shape
        if shape.transcode is not None:
            # They are of the past, so nothing that has been sent is behind them.
            others = shape.transcode(items, [self.handler.sequence] * len(items), 0)
            items = [other for other in others if other is not None]
        if items:
            frames = shape.frames(items)
            meter = self.outbox.meter = self.handler.hub.meter(shape)
            meter.flow.aside(shape.classify(frames))
            self.outbox.offer(frames, len(items))

    def _revoked(self, topics: SubscriptionSet, code: ErrorCode) -> None:
        self._say(error(self.codec, code))
        self._acknowledge()

    # Ends

    def flooded(self) -> None:
        self._fail(INVALID_SYNTAX, "too many messages per second")

    def _tell_lag(self, report: LagReport) -> None:
        if self._continuity.asked:
            payload = self.codec.encode([report.message()])
            self.outbox.urgent(frame(payload, self.codec.binary))

    def overflowed(self) -> None:
        """Alpaca's 407 behind what the socket already holds, then the end."""
        self._fail(SLOW_CLIENT)

    def drained(self) -> None:
        if self.consumer is not None and self.consumer.replay is not None:
            self.consumer.replay.drained()

    def gap_changed(self, gap: Gap) -> None:
        """A gap has opened, closed, or was filled."""
        self._continuity.tell(gap)

    def _fail(self, code: ErrorCode, reason: str = "") -> None:
        """Say the error, say goodbye, and let go of everything."""
        connection = self._connection
        if self._phase is _Phase.CLOSING or connection.lost:
            return
        self.outlet.log_end(connection, code)
        payload = frame(error(self.codec, code), self.codec.binary)
        self.release()
        if connection.open:
            # Straight to the socket: the outbox takes no more.
            connection.transport.write(payload)
            told = close_code_for(code) if self._continuity.asked else CLOSE_POLICY
            connection.close(told, reason or code.text)
        else:
            connection.abort()

    def goodbye(self, code: int, reason: str) -> None:
        self.release()
        self._connection.close(code, reason)

    def release(self) -> None:
        if self._phase is _Phase.CLOSING:
            return
        self._phase = _Phase.CLOSING
        self._requests.clear()
        self._topics_ahead = 0
        if self.slow is not None:
            self.slow.close()
        if self.consumer is not None and self.handler is not None:
            self.handler.leave(self.consumer)
            self.consumer = None
        self._connection.end_outbox()

    # Time

    def _enter(self, phase: _Phase, seconds: float | None) -> None:
        self._phase = phase
        self._deadline = float("inf") if seconds is None else self._loop.time() + seconds

    def tick(self, now: float) -> None:
        if self._phase is _Phase.AUTHENTICATION and now > self._deadline:
            self.outlet.counts.authentication_timeouts += 1
            self._fail(AUTH_TIMEOUT)

    def fast_tick(self, now: float) -> None:
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
            and now - self._waiting_since > self.outlet.limits.acknowledgement_seconds
        ):
            self.outlet.counts.unconfirmed_acknowledgements += 1
            self.handler.accept_unconfirmed(self.consumer)

    def say(self, message: dict[str, Any]) -> None:
        """Say something that isn't Alpaca's, to who asked for that."""
        self._say(self.codec.encode([message]))

    def _say(self, payload: bytes) -> None:
        self.outbox.control(frame(payload, self.codec.binary))


def _slow_policy(query: Mapping[str, Sequence[str]], headers: Headers) -> SlowPolicy | None:
    """What the client asks for, should it be slow.

    Raises:
        BadHandshake: there is no such policy.
    """
    try:
        return policy_asked_for(query, single_header(headers, SLOW_HEADER))
    except ValueError as problem:
        raise BadHandshake(str(problem)) from None
