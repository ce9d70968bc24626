"""What a client of Alpaca's market-data protocol says, and what it is answered.

Requests are read leniently in form (any map, any key order, null lists, tuples) and strictly in
meaning. Answers are Alpaca's, each an array of exactly one element, because the Go SDK insists.
Source: Alpaca, "WebSocket Stream" and "Real-time Stock Data".
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from stream_proxy.model.feeds import Feed
from stream_proxy.model.topics import FOLLOWERS_OF_TRADES, WILDCARD, SubscriptionSet
from stream_proxy.wire.alpaca.codec import JSON, MSGPACK, Codec, FrameDamaged
from stream_proxy.wire.alpaca.codes import (
    INVALID_ACTION,
    INVALID_SYNTAX,
    NO_OPTION_QUOTE_STAR,
    ErrorCode,
)

MAX_SYMBOL_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key and its secret as sent, or a bearer token with an empty key."""

    key: str
    secret: str

    @property
    def bearer(self) -> bool:
        """Whether the secret is a token that stands for itself (OAuth, Broker API)."""
        return self.key in ("", "oauth", "access_token")

    def __repr__(self) -> str:
        return "Credentials(***)"


@dataclass(frozen=True, slots=True)
class Authenticate:
    credentials: Credentials


@dataclass(frozen=True, slots=True)
class Change:
    """A subscribe (``add``) or an unsubscribe of these topics."""

    add: bool
    topics: SubscriptionSet


@dataclass(frozen=True, slots=True)
class Invalid:
    """A message that is answered with an error; ``detail`` is for our log, never for the wire."""

    error: ErrorCode
    detail: str


def parse_request(payload: bytes, codec: Codec, feed: Feed) -> Authenticate | Change | Invalid:
    """Read one client message."""
    try:
        message = codec.decode(payload)
    except FrameDamaged as error:
        return Invalid(INVALID_SYNTAX, str(error))
    if not isinstance(message, dict):
        return Invalid(INVALID_SYNTAX, f"a {type(message).__name__} instead of a map")
    match message.get("action"):
        case "auth":
            return _authenticate(message)
        case "subscribe":
            return _change(True, message, feed)
        case "unsubscribe":
            return _change(False, message, feed)
        case action:
            return Invalid(INVALID_SYNTAX, f"unknown action {action!r:.40}")


def _authenticate(message: dict[Any, Any]) -> Authenticate | Invalid:
    key, secret = message.get("key"), message.get("secret")
    if not isinstance(key, str) or not isinstance(secret, str):
        return Invalid(INVALID_SYNTAX, "auth without a key and a secret")
    return Authenticate(Credentials(key, secret))


def _change(add: bool, message: dict[Any, Any], feed: Feed) -> Change | Invalid:
    wanted: dict[str, list[str]] = {}
    for channel, symbols in message.items():
        if channel == "action" or not symbols:
            # Go names every channel it knows with an empty or null list: no request at all.
            continue
        if channel in FOLLOWERS_OF_TRADES and "trades" in feed.channels:
            continue
        if channel not in feed.channels:
            return Invalid(INVALID_ACTION, f"{feed.name} has no channel {channel!r:.40}")
        if not isinstance(symbols, list | tuple) or not all(map(_is_symbol, symbols)):
            return Invalid(INVALID_SYNTAX, f"{channel} is not a list of symbols")
        if add and WILDCARD in symbols and channel not in feed.wildcard_channels:
            return Invalid(NO_OPTION_QUOTE_STAR, f"{channel}: *")
        wanted[channel] = list(symbols)
    return Change(add, SubscriptionSet(wanted))


def _is_symbol(value: object) -> bool:
    # Alpaca doesn't document its rule for symbols; this refuses only what can't be one.
    return (
        isinstance(value, str)
        and 0 < len(value) <= MAX_SYMBOL_LENGTH
        and value.isascii()
        and value.isprintable()
        and '"' not in value
    )


def header_credentials(get: Callable[[str], str | None]) -> Credentials | None:
    """Credentials that came with the handshake, in any of Alpaca's three forms.

    ``get`` gives the value of a header that came exactly once.
    """
    key, secret = get("APCA-API-KEY-ID"), get("APCA-API-SECRET-KEY")
    if key and secret:
        return Credentials(key, secret)
    scheme, _, value = (get("Authorization") or "").partition(" ")
    if scheme.lower() == "bearer" and value:
        return Credentials("", value.strip())
    if scheme.lower() == "basic" and value:
        try:
            key, separator, secret = base64.b64decode(value, validate=True).decode().partition(":")
        except ValueError:  # not base64, not ASCII, not UTF-8
            return None
        if separator:
            return Credentials(key, secret)
    return None


def success(codec: Codec, text: str) -> bytes:
    return codec.encode([{"T": "success", "msg": text}])


def error(codec: Codec, code: ErrorCode) -> bytes:
    return codec.encode([{"T": "error", "code": code.code, "msg": code.text}])


def acknowledgement(codec: Codec, feed: Feed, topics: SubscriptionSet) -> bytes:
    """The complete current set, every key of the feed present.

    JavaScript SDK 3 replaces its state by these fields and fails on a missing one.
    ``imbalances`` comes last, and only once asked for: no documented answer has it.
    """
    fields: dict[str, Any] = {"T": "subscription"}
    for channel in feed.channels:
        if channel != "imbalances":
            fields[channel] = topics.symbols(channel)
    if feed.kind == "stocks":
        for follower in FOLLOWERS_OF_TRADES:
            fields[follower] = topics.symbols("trades")
        if topics.symbols("imbalances"):
            fields["imbalances"] = topics.symbols("imbalances")
    return codec.encode([fields])


def read_acknowledgement(message: dict[str, Any], channels: Iterable[str]) -> SubscriptionSet:
    """What upstream says that we hold; channels it doesn't name are empty."""
    return SubscriptionSet(
        {
            channel: [s for s in message.get(channel) or () if isinstance(s, str)]
            for channel in channels
            if isinstance(message.get(channel), list)
        }
    )


def codec_for(content_type: str | None, feed: Feed) -> Codec | None:
    """The codec that the handshake's ``Content-Type`` selects; None where Alpaca sends 412.

    An option path without the header is msgpack: the C# SDK can't set headers.
    """
    if content_type is None or not content_type.strip():
        return MSGPACK if feed.msgpack_only else JSON
    if "msgpack" in content_type.lower():
        return MSGPACK
    return None if feed.msgpack_only else JSON
