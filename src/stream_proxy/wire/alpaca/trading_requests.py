"""What a client of Alpaca's trading stream says, and what it is answered.

Two dialects. Alpaca's own answers with objects that name a stream. The plain one, of small proxies
that fan order updates out, answers authentication with the market-data form and sends everything
from then on. Both take both forms of authentication. ``ack`` is ours.
Source: Alpaca, "WebSocket Streaming" (trading).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from stream_proxy.wire.alpaca.requests import Credentials
from stream_proxy.wire.alpaca.trade_updates import STREAM


@dataclass(frozen=True, slots=True)
class Login:
    credentials: Credentials


@dataclass(frozen=True, slots=True)
class Listen:
    """From now on these streams, and no others."""

    streams: tuple[str, ...]

    @property
    def updates(self) -> bool:
        return STREAM in self.streams


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """The client has dealt with everything up to this sequence."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Misunderstood:
    """A message that is answered with an error; the text is for its sender."""

    text: str


def parse_trading_request(
    payload: bytes, msgpack: bool
) -> Login | Listen | Acknowledge | Misunderstood:
    """Read one client message."""
    try:
        decode = msgspec.msgpack.decode if msgpack else msgspec.json.decode
        message = decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return Misunderstood("this is not a message in the codec of this connection")
    if not isinstance(message, dict):
        return Misunderstood("a message is an object with an `action`")
    data = message.get("data")
    body: dict[Any, Any] = data if isinstance(data, dict) else {}
    match message.get("action"):
        case "auth":
            return _login(message.get("key"), message.get("secret"))
        case "authenticate":
            if isinstance(body.get("oauth_token"), str):
                return Login(Credentials("", body["oauth_token"]))
            return _login(body.get("key_id"), body.get("secret_key"))
        case "listen":
            streams = body.get("streams")
            if not isinstance(streams, list) or not all(isinstance(s, str) for s in streams):
                return Misunderstood('listen needs {"streams": ["trade_updates"]}')
            return Listen(tuple(streams))
        case "ack":
            sequence = body.get("sequence")
            if not isinstance(sequence, int) or isinstance(sequence, bool) or sequence < 0:
                return Misunderstood('ack needs {"sequence": n}')
            return Acknowledge(sequence)
        case action:
            return Misunderstood(f"unknown action {str(action)[:40]!r}")


def _login(key: object, secret: object) -> Login | Misunderstood:
    if not isinstance(key, str) or not isinstance(secret, str):
        return Misunderstood("authentication needs a key and a secret")
    return Login(Credentials(key, secret))


def authorization(status: str, action: str = "authenticate") -> dict[str, Any]:
    return {"stream": "authorization", "data": {"status": status, "action": action}}


def listening(streams: list[str]) -> dict[str, Any]:
    return {"stream": "listening", "data": {"streams": streams}}


def failure(text: str) -> dict[str, Any]:
    return {"action": "error", "data": {"error_message": text}}
