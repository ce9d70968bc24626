"""One WebSocket client, before and below what it talks about.

Host, Origin and path are judged here, and floods, silence and slowness noticed. What is said is
the business of its dialog, which the path chooses: market data or order updates.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from stream_proxy.hub.outbox import Outbox
from stream_proxy.outlets.limits import BURST_SECONDS, BYTES_PER_MESSAGE
from stream_proxy.runtime.tracing import NO_SPAN, Span
from stream_proxy.runtime.websocket_server import WebSocketConnection

if TYPE_CHECKING:
    from stream_proxy.outlets.websocket import WebSocketOutlet


class BadHandshake(ValueError):
    """What a client asks for in its handshake can't be; the message says what can."""


class Dialog(Protocol):
    """What is said on a connection.

    Attributes:
        identity: the name of the access token that was shown; empty until then.
    """

    identity: str

    @property
    def admitted(self) -> bool:
        """Whether the client is served: only then its silence ends the connection."""

    def opened(self) -> None:
        """The handshake is done."""

    def heard(self, payload: bytes, binary: bool) -> None:
        """A whole message came, within the client's budget."""

    def flooded(self) -> None:
        """More came than one client may send: say so and end."""

    def overflowed(self) -> None:
        """The client reads too slowly: say so and end."""

    def drained(self) -> None:
        """The socket takes bytes again."""

    def tick(self, now: float) -> None:
        """Once a second."""

    def fast_tick(self, now: float) -> None:
        """Several times a second: what a client's own three-second patience hangs on."""

    def goodbye(self, code: int, reason: str) -> None:
        """End politely: the proxy goes down."""

    def release(self) -> None:
        """Let go of everything; the socket is gone or about to go."""


class ServedConnection(WebSocketConnection):
    """One client."""

    def __init__(self, outlet: WebSocketOutlet) -> None:
        super().__init__(outlet.limits.message_bytes, outlet.forget)
        self.outlet = outlet
        self.dialog: Dialog | None = None
        self._opened = False
        self.trace: Span = NO_SPAN
        self._deadline = self.opened_at + outlet.limits.handshake_seconds
        self._budget = outlet.limits.messages_per_second * BURST_SECONDS
        self._budget_at = self.opened_at
        self._pinged_at = self.opened_at
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
        self.outlet.connections[self] = None
        wait_seconds = self.outlet.turnstile.wait_seconds(self._loop.time())
        if wait_seconds is None:
            self.outlet.counts.rejected += 1
            self.abort()
        elif wait_seconds:
            self.transport.pause_reading()
            self._deadline += wait_seconds
            self._loop.call_later(wait_seconds, self._come_in)

    def _come_in(self) -> None:
        """Its turn has come."""
        if not self.transport.is_closing():
            self.transport.resume_reading()

    # Handshake

    def on_request(self, request: Request) -> Response | None:
        response = self._judge(request)
        if response is not None:
            self.outlet.counts.rejected += 1
        else:
            self._begin_trace(request)
        return response

    def _begin_trace(self, request: Request) -> None:
        tracer, headers = self.outlet.tracer, request.headers
        caller = tracer.remote_parent(
            single_header(headers, "traceparent"), single_header(headers, "tracestate")
        )
        path = request.path.partition("?")[0]
        self.trace = tracer.start(
            "websocket.session",
            {"url.path": path, "peer": self.peer},
            parent=caller,
            kind="server",
        )

    def _judge(self, request: Request) -> Response | None:
        headers, outlet = request.headers, self.outlet
        hosts = headers.get_all("Host")
        if len(hosts) != 1 or not outlet.doorkeeper.allows_host(hosts[0]):
            return self.reject(
                HTTPStatus.MISDIRECTED_REQUEST,
                "This server doesn't go by the name in the Host header. Connect to the address it "
                "is bound to, or add the name to STREAM_PROXY_ALLOWED_HOSTS.",
            )
        if not outlet.doorkeeper.allows_origin(headers.get_all("Origin"), hosts[0]):
            return self.reject(
                HTTPStatus.FORBIDDEN,
                "Pages of this Origin may not read the feed. Add it, exactly, to "
                "STREAM_PROXY_ALLOWED_ORIGINS if it is yours.",
            )
        path, _, query = request.path.partition("?")
        try:
            self.dialog = outlet.dialog_for(self, path, query, headers)
        except BadHandshake as refusal:
            return self.reject(HTTPStatus.BAD_REQUEST, str(refusal))
        if self.dialog is None:
            return self.reject(
                HTTPStatus.NOT_FOUND,
                "No stream is served at this path. Try /v2/iex, /v2/sip, /v2/test, "
                "/v1beta1/indicative, /v1beta3/crypto/us, /v1beta1/news or /stream.",
            )
        if outlet.stopping:
            return self.reject(HTTPStatus.SERVICE_UNAVAILABLE, "The proxy is going down.")
        if len(outlet.connections) > outlet.limits.connections:
            return self.reject(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "Too many consumers are connected: raise STREAM_PROXY_MAX_CONNECTIONS.",
            )
        return None

    def on_open(self) -> None:
        assert self.dialog is not None
        self._opened = True
        self.outlet.counts.accepted += 1
        self.dialog.opened()

    # Life

    def on_message(self, payload: bytes, binary: bool) -> None:
        assert self.dialog is not None
        if self._within_rate(1 + len(payload) / BYTES_PER_MESSAGE):
            self.dialog.heard(payload, binary)
        else:
            self.outlet.counts.rate_limited += 1
            self.trace.fail("it sent too much")
            self.dialog.flooded()

    def _within_rate(self, cost: float) -> bool:
        """A token bucket: bursts of a few seconds pass, a flood ends the connection.

        Large messages cost more: reading one holds everybody up a little.
        """
        limits = self.outlet.limits
        now = self._loop.time()
        burst = limits.messages_per_second * BURST_SECONDS
        self._budget = min(
            burst, self._budget + (now - self._budget_at) * limits.messages_per_second
        )
        self._budget_at = now
        # One message within the size limit is never a flood by itself.
        cost = min(cost, burst)
        if self._budget < cost:
            return False
        self._budget -= cost
        return True

    def _overflow(self) -> None:
        """The outbox is full."""
        self.outlet.counts.slow_consumers += 1
        self.trace.fail("it read too slowly")
        if self.dialog is not None:
            # Not now: the hub may be in the middle of writing to this consumer's group.
            self._loop.call_soon(self.dialog.overflowed)

    def end_outbox(self) -> None:
        """Take nothing more for this client, and count what it didn't get."""
        self.outbox.close()
        if self.outbox.messages or self.outbox.dropped_messages:
            # Only now: they are counted into the whole next, and begin again at nothing.
            self.trace.set(
                {
                    "messages.sent": self.outbox.messages,
                    "messages.dropped": self.outbox.dropped_messages,
                }
            )
        identity = self.dialog.identity if self.dialog is not None else ""
        self.outlet.counts.leave(identity, self.outbox)

    def on_closed(self) -> None:
        if self.dialog is not None:
            self.dialog.release()
        self._end_trace()

    def _end_trace(self) -> None:
        if self.dialog is not None:
            self.trace.set({"identity": self.dialog.identity})
        if self.close_code is not None:
            self.trace.set({"websocket.close_code": self.close_code})
        self.trace.end()

    def on_pause(self) -> None:
        self.outbox.pause()

    def on_resume(self) -> None:
        self.outbox.resume(int(self._loop.time() * 1e9))
        if self.dialog is not None and not self.outbox.paused:
            self.dialog.drained()

    def goodbye(self, code: int, reason: str) -> None:
        """End politely: the proxy goes down."""
        if self.dialog is None:
            self.close(code, reason)
        else:
            self.dialog.goodbye(code, reason)

    # Time

    def tick(self, now: float) -> None:
        """Once a second: deadlines, pings, the age of what waits."""
        limits = self.outlet.limits
        self.outbox.tick(int(now * 1e9))
        dialog = self.dialog
        if dialog is None or not self._opened:
            if now > self._deadline:
                self.abort()
                return
        else:
            dialog.tick(now)
            unheard = now - self.last_heard > limits.pong_seconds + limits.ping_seconds
            if dialog.admitted and limits.ping_seconds and unheard:
                self.abort()
                return
        if limits.ping_seconds and now - self._pinged_at > limits.ping_seconds:
            self._pinged_at = now
            self.ping()

    def fast_tick(self, now: float) -> None:
        if self.dialog is not None and self._opened:
            self.dialog.fast_tick(now)


def single_header(headers: Headers, name: str) -> str | None:
    """The value of a header that came exactly once."""
    values = headers.get_all(name)
    return values[0] if len(values) == 1 else None
