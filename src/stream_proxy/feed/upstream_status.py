"""What can be said of a feed's upstream: its state, since when, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from stream_proxy.wire.alpaca.codes import ErrorCode


class UpstreamState(Enum):
    """Where a feed's one connection stands."""

    IDLE = "idle"
    """Not wanted: nobody asked for this feed yet."""
    CONNECTING = "connecting"
    AUTHENTICATING = "authenticating"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    """Waiting before the next attempt."""
    SLOT_TAKEN = "slot_taken"
    """Alpaca says that another connection holds the one slot: waiting it out."""
    REFUSED = "refused"
    """Alpaca refuses for good: the configuration has to change."""
    STOPPED = "stopped"


class Cause(Enum):
    """What ended a connection, or kept it from being made."""

    UNREACHABLE = "unreachable"
    """No socket: address, network, TLS, or no answer in time."""
    REFUSED = "refused"
    """An HTTP status instead of a WebSocket."""
    SLOT_TAKEN = "slot_taken"
    """Error 406 or HTTP 429: another connection holds the one slot."""
    ERROR = "error"
    """Any other error that Alpaca sent."""
    UNANSWERED = "unanswered"
    """A handshake, a subscribe or a question got no answer in time."""
    HALF_OPEN = "half_open"
    """A ping got no pong in time."""
    MUTE = "mute"
    """Connected, but without data while the market was open."""
    LOST = "lost"
    """The other side ended it, with a close frame or without."""
    INTERNAL = "internal"
    """A mistake in the proxy."""


@dataclass(slots=True)
class UpstreamStatus:
    """Kept by the source, read by everybody. Times are wall-clock nanoseconds.

    Attributes:
        since_ns: since when it is in this state.
        connected_ns: when it was connected last; 0 if it never was.
        away_since_ns: since when it isn't connected, over all attempts; 0 while it is.
        causes: the interruptions by what caused them.
        errors: what Alpaca refused or ended with an error, by its code.
        last_heard_ns: the instant of ``last_message_ns`` by the monotonic clock.
        data: how its data flows while it is connected, in a word; see ``docs/liveness.md``.
        market_phase: the part of the trading day that was judged by.
    """

    state: UpstreamState = UpstreamState.IDLE
    since_ns: int = 0
    away_since_ns: int = 0
    connected_ns: int = 0
    why: str = ""
    error: ErrorCode | None = None
    attempts: int = 0
    connections: int = 0
    open_connections: int = 0
    peak_open_connections: int = 0
    interruptions: int = 0
    last_message_ns: int = 0
    last_heard_ns: int = 0
    data: str = "idle"
    market_phase: str = ""
    surprises: dict[str, int] = field(default_factory=dict)
    causes: dict[Cause, int] = field(default_factory=lambda: dict.fromkeys(Cause, 0))
    errors: dict[int, int] = field(default_factory=dict)

    def enter(
        self, state: UpstreamState, why: str, now_ns: int, error: ErrorCode | None = None
    ) -> None:
        """Note a state and its reason."""
        if state is not self.state:
            self.since_ns = now_ns
        if state is not UpstreamState.CONNECTED:
            self.data = "idle"
        if state is UpstreamState.CONNECTED:
            self.away_since_ns = 0
            self.connected_ns = now_ns
        elif not self.away_since_ns:
            self.away_since_ns = now_ns
        self.state, self.why, self.error = state, why, error

    def interrupted(self, cause: Cause) -> None:
        """A connection ended, or couldn't be made, and not because we wanted it."""
        self.interruptions += 1
        self.causes[cause] += 1

    def failed(self, error: ErrorCode) -> None:
        """Alpaca sent an error."""
        self.errors[error.code] = self.errors.get(error.code, 0) + 1
