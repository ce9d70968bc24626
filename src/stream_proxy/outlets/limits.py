"""What a WebSocket consumer may take, and what is counted of all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog

from stream_proxy.hub.outbox import Outbox
from stream_proxy.model.slow_policy import DISCONNECT, SlowPolicy
from stream_proxy.model.time import NS_PER_SECOND
from stream_proxy.runtime.clock import Clock

CLOSE_POLICY = 1008
CLOSE_GOING_AWAY = 1001

BURST_SECONDS = 4
"""So many seconds' worth of messages may come at once, at the start too: SDKs subscribe then."""

BYTES_PER_MESSAGE = 16 * 1024
"""So many bytes count as one more message: a list of all US symbols costs as much as five."""

MOST_WAITING_REQUESTS = 500
"""Subscribes that a client may have sent ahead of their answers; the C# SDK sends one per 100
symbols without waiting."""

_TOLD_EVERY_NS = 60 * NS_PER_SECOND


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
    connections_per_second: float = 2000.0
    binary_order_frames: bool = True
    slow_policy: SlowPolicy = DISCONNECT


@dataclass(slots=True)
class OutletCounts:
    """Plain integers for whoever asks.

    ``sent`` are the messages of consumers that have gone, by the name of their access token.
    """

    accepted: int = 0
    rejected: int = 0
    authentications_failed: int = 0
    authentication_timeouts: int = 0
    slow_consumers: int = 0
    dropped_messages: int = 0
    bad_requests: int = 0
    rate_limited: int = 0
    unconfirmed_acknowledgements: int = 0
    sent: dict[str, int] = field(default_factory=dict)

    def leave(self, identity: str, outbox: Outbox) -> None:
        """A consumer goes: keep what its outbox counted, once."""
        if outbox.messages:
            self.sent[identity] = self.sent.get(identity, 0) + outbox.messages
        self.dropped_messages += outbox.dropped_messages
        outbox.messages = outbox.dropped_messages = 0


class OneTooMany:
    """Notes connections that are closed at once since their server has no room: each is counted,
    and one a minute is logged.

    Args:
        protocol: whose server it is.
    """

    def __init__(self, protocol: str, counts: OutletCounts, clock: Clock) -> None:
        self._protocol = protocol
        self._counts = counts
        self._clock = clock
        self._quiet_until_ns = 0
        self._log = structlog.get_logger("stream_proxy.outlets")

    def __call__(self) -> None:
        self._counts.rejected += 1
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self._quiet_until_ns:
            self._quiet_until_ns = now_ns + _TOLD_EVERY_NS
            self._log.warning(
                "connections.full",
                protocol=self._protocol,
                refused=self._counts.rejected,
                cure="raise STREAM_PROXY_MAX_CONNECTIONS, or look who connects so often",
            )
