"""The client side of Alpaca's trading stream, without the connection.

Theory. The server is silent until spoken to: AUTHORIZING → LISTENING → READY. All its messages are
JSON objects, in text or binary frames. Its answer to ``listen`` names what it will send; asking
again at any time is answered again, which proves more than a pong: somebody reads and answers.
Source: Alpaca, "WebSocket Streaming" (trading).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

from stream_proxy.wire.alpaca.codec import FrameDamaged
from stream_proxy.wire.alpaca.requests import Credentials
from stream_proxy.wire.alpaca.trade_updates import STREAM, split_message


class TradingState(Enum):
    """How far the handshake has come."""

    AUTHORIZING = "authorization"
    LISTENING = "listening"
    READY = "ready"


@dataclass(frozen=True, slots=True)
class Listening:
    """Updates flow from now on; also the answer to each `TradingSession.probe`."""

    first: bool


@dataclass(frozen=True, slots=True)
class Update:
    """An order event; ``data`` is its JSON object as it came."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """The keys are wrong, or not for this environment."""

    status: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The server says that it can't go on."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unexpected:
    """A message that doesn't belong here; counted and ignored, since Alpaca may add some."""

    text: str


TradingEvent = Listening | Update | Unauthorized | Broken | Unexpected

_LISTEN = b'{"action":"listen","data":{"streams":["trade_updates"]}}'


class TradingSession:
    """Authorizes, listens, and sorts what comes."""

    __slots__ = ("_outgoing", "state", "unanswered")

    def __init__(self, credentials: Credentials) -> None:
        self.state = TradingState.AUTHORIZING
        self.unanswered = False
        """Whether a probe waits for its answer."""
        data: dict[str, str] = (
            {"oauth_token": credentials.secret}
            if credentials.bearer
            else {"key_id": credentials.key, "secret_key": credentials.secret}
        )
        self._outgoing = [msgspec.json.encode({"action": "authenticate", "data": data})]

    def frames_to_send(self) -> list[bytes]:
        """Take the messages that are to go out, as text."""
        frames, self._outgoing = self._outgoing, []
        return frames

    def probe(self) -> None:
        """Ask the server to say again that we listen."""
        self.unanswered = True
        self._outgoing.append(_LISTEN)

    def receive(self, payload: bytes) -> TradingEvent | None:
        """Take one message; None when it only moved the handshake on.

        Raises:
            FrameDamaged: not a JSON object.
        """
        stream, data = split_message(payload)
        if stream == STREAM:
            return Update(data) if self.state is TradingState.READY else self._unexpected(stream)
        message = _object(payload)
        body = message.get("data")
        if not isinstance(body, dict):
            body = {}
        if stream == "authorization":
            return self._authorization(str(body.get("status")))
        if stream == "listening":
            return self._listening(body)
        if message.get("action") == "error":
            return Broken(str(body.get("error_message", "an error without a text"))[:200])
        return self._unexpected(stream or str(message.get("action")))

    def _authorization(self, status: str) -> TradingEvent | None:
        if status != "authorized":
            return Unauthorized(status[:40])
        if self.state is not TradingState.AUTHORIZING:
            return self._unexpected("authorization")
        self.state = TradingState.LISTENING
        self._outgoing.append(_LISTEN)
        return None

    def _listening(self, body: dict[str, Any]) -> TradingEvent:
        streams = body.get("streams")
        if not isinstance(streams, list) or STREAM not in streams:
            return Broken(str(body.get("error", "trade_updates were not granted"))[:200])
        first = self.state is TradingState.LISTENING
        self.state = TradingState.READY
        self.unanswered = False
        return Listening(first)

    def _unexpected(self, what: str) -> Unexpected:
        return Unexpected(f"{what[:40]!r} during {self.state.value}")


def _object(payload: bytes) -> dict[str, Any]:
    try:
        message = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FrameDamaged(str(error)) from error
    if not isinstance(message, dict):
        raise FrameDamaged("not an object")
    return message
