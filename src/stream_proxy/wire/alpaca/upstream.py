"""The client side of one Alpaca data connection, without the connection.

Theory. A connection goes GREETING → AUTHENTICATING → READY, driven by what Alpaca says; it never
goes back. Alpaca's control messages are ``success``, ``error`` and ``subscription``; all else is
data and never comes here. What follows from an error is the table in ``codes.py``; what was asked
and in which order is kept by ``hub/demand.py``. The table below is complete: a pair that isn't in
it is a protocol surprise, which is counted and ignored, since Alpaca may add messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from stream_proxy.model.feeds import Feed
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.wire.alpaca.codec import Codec
from stream_proxy.wire.alpaca.codes import (
    ERROR_CODES,
    INTERNAL_ERROR,
    ErrorCode,
    Verdict,
    known_or_internal,
)
from stream_proxy.wire.alpaca.requests import Credentials, read_acknowledgement


class State(Enum):
    """How far the handshake has come."""

    GREETING = "greeting"
    AUTHENTICATING = "authenticating"
    READY = "ready"


@dataclass(frozen=True, slots=True)
class Ready:
    """Authenticated: subscriptions may be sent."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Upstream's full set after a subscribe or unsubscribe."""

    topics: SubscriptionSet


@dataclass(frozen=True, slots=True)
class Refused:
    """The request in flight failed; the connection stays."""

    error: ErrorCode


@dataclass(frozen=True, slots=True)
class Failed:
    """The connection is of no more use; the verdict says what next."""

    error: ErrorCode


@dataclass(frozen=True, slots=True)
class Surprise:
    """A control message that doesn't belong here."""

    text: str


Event = Ready | Acknowledged | Refused | Failed | Surprise

# (state, success text) -> next state. With header authentication "authenticated" comes unasked.
TRANSITIONS: dict[tuple[State, str], State] = {
    (State.GREETING, "connected"): State.AUTHENTICATING,
    (State.GREETING, "authenticated"): State.READY,
    (State.AUTHENTICATING, "authenticated"): State.READY,
}


class UpstreamSession:
    """Says hello, authenticates, asks, and tells what came back."""

    __slots__ = ("_credentials", "_outgoing", "asked", "codec", "feed", "state")

    def __init__(self, feed: Feed, codec: Codec, credentials: Credentials) -> None:
        self.feed = feed
        self.codec = codec
        self.state = State.GREETING
        self.asked: SubscriptionSet | None = None
        self._credentials = credentials
        self._outgoing: list[bytes] = []

    def frames_to_send(self) -> list[bytes]:
        """Take the messages that are to go out, each in its own WebSocket message."""
        frames, self._outgoing = self._outgoing, []
        return frames

    def ask(self, add: bool, topics: SubscriptionSet) -> None:
        """Subscribe or unsubscribe; one request at a time.

        Raises:
            RuntimeError: not ready, or a request is in flight.
        """
        if self.state is not State.READY or self.asked is not None:
            raise RuntimeError("one request at a time, on a ready connection")
        self.asked = topics
        action = "subscribe" if add else "unsubscribe"
        self._outgoing.append(self.codec.encode({"action": action, **topics.as_dict()}))

    def receive(self, message: dict[str, Any]) -> Event | None:
        """Take one control message; None when it only moved the handshake on."""
        match message:
            case {"T": "success", "msg": str(text)}:
                return self._success(text)
            case {"T": "error", "code": int(code)}:
                return self._error(known_or_internal(code, str(message.get("msg", ""))[:200]))
            case {"T": "subscription"}:
                if self.state is not State.READY:
                    return Surprise(f"subscription while {self.state.value}")
                self.asked = None
                return Acknowledged(read_acknowledgement(message, self.feed.channels))
            case _:
                return Surprise(f"control message of an unknown form: {message.get('T')!r:.20}")

    def _success(self, text: str) -> Event | None:
        following = TRANSITIONS.get((self.state, text))
        if following is None:
            return Surprise(f"{text[:40]!r} while {self.state.value}")
        self.state = following
        if following is State.READY:
            return Ready()
        key, secret = self._credentials.key, self._credentials.secret
        self._outgoing.append(self.codec.encode({"action": "auth", "key": key, "secret": secret}))
        return None

    def _error(self, error: ErrorCode) -> Event:
        if self.state is not State.READY:
            return Failed(error)
        if self.asked is not None and (
            error.verdict is Verdict.IGNORE or _may_be_the_request(error)
        ):
            # Reconnecting for it would send the same request again, for ever; if the trouble is
            # larger than that, upstream closes.
            self.asked = None
            return Refused(error)
        if error.verdict is Verdict.IGNORE:
            return Surprise(f"error {error.code} with nothing asked")
        return Failed(error)


def _may_be_the_request(error: ErrorCode) -> bool:
    """Whether an error while a request is in flight may speak of that request alone."""
    return error.code == INTERNAL_ERROR.code or error.code not in ERROR_CODES
