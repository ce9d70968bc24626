"""What a call asks for, read and judged before anything is done for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message
from grpclib.const import Status
from grpclib.server import Stream

from stream_proxy.model.feeds import FEEDS, Feed
from stream_proxy.model.slow_policy import SlowPolicy, read_slow_policy
from stream_proxy.model.topics import WILDCARD, Channel, SubscriptionSet
from stream_proxy.outlets.grpc.refusals import invalid_symbol, refusal
from stream_proxy.outlets.limits import ConsumerLimits
from stream_proxy.outlets.slow import SLOW_HEADER
from stream_proxy.wire.alpaca.requests import Credentials, header_credentials
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb
from stream_proxy.wire.grpc.boundaries import PREFIX_BYTES
from stream_proxy.wire.grpc.occ import occ_root

M = TypeVar("M", bound=Message)

_LONGEST_SYMBOL = 30
_NOT_IN_SYMBOLS = frozenset(" \t\r\n\"'`,;*\\")


@dataclass(frozen=True, slots=True)
class MarketDataMethod:
    """One streaming method: which kind of feed and which channel it gives."""

    name: str
    kind: str
    channel: Channel
    request: type[Message]
    response: type[Message]


def _method(name: str, kind: str, channel: Channel) -> MarketDataMethod:
    return MarketDataMethod(
        name, kind, channel, getattr(pb, f"{name}Request"), getattr(pb, f"{name}Response")
    )


MARKET_DATA = tuple(
    _method(*row)
    for row in (
        ("StreamQuotes", "stocks", "quotes"),
        ("StreamTrades", "stocks", "trades"),
        ("StreamBars", "stocks", "bars"),
        ("StreamUpdatedBars", "stocks", "updatedBars"),
        ("StreamDailyBars", "stocks", "dailyBars"),
        ("StreamStatuses", "stocks", "statuses"),
        ("StreamLulds", "stocks", "lulds"),
        ("StreamCorrections", "stocks", "trades"),
        ("StreamCancelErrors", "stocks", "trades"),
        ("StreamImbalances", "stocks", "imbalances"),
        ("StreamOptionQuotes", "options", "quotes"),
        ("StreamOptionTrades", "options", "trades"),
        ("StreamCryptoQuotes", "crypto", "quotes"),
        ("StreamCryptoTrades", "crypto", "trades"),
        ("StreamCryptoBars", "crypto", "bars"),
        ("StreamCryptoUpdatedBars", "crypto", "updatedBars"),
        ("StreamCryptoDailyBars", "crypto", "dailyBars"),
        ("StreamCryptoOrderBooks", "crypto", "orderbooks"),
        ("StreamNews", "news", "news"),
    )
)


async def receive(stream: Stream[Any, Any], kind: type[M], limits: ConsumerLimits) -> M:
    """The call's one request.

    Raises:
        GRPCError: it is missing, late, compressed, too large or damaged.
    """
    try:
        async with asyncio.timeout(limits.handshake_seconds):
            return await _receive(stream, kind, limits.message_bytes)
    except TimeoutError:
        raise refusal(
            Status.DEADLINE_EXCEEDED,
            f"the request wasn't whole within {limits.handshake_seconds:g} s",
            "LATE_REQUEST",
        ) from None
    except AssertionError:  # what grpclib says of a half that ends early
        raise refusal(
            Status.INVALID_ARGUMENT, "the request ends in its middle", "DAMAGED_REQUEST"
        ) from None


async def _receive(stream: Stream[Any, Any], kind: type[M], most_bytes: int) -> M:
    prefix = await stream._stream.recv_data(PREFIX_BYTES)
    if not prefix:
        raise refusal(Status.INVALID_ARGUMENT, "the call has no request", "NO_REQUEST")
    if prefix[0]:
        raise refusal(
            Status.UNIMPLEMENTED, "compressed requests are not read", "COMPRESSED", "Send it plain"
        )
    size = int.from_bytes(prefix[1:], "big")
    if size > most_bytes:
        raise refusal(
            Status.RESOURCE_EXHAUSTED,
            f"a request of {size} bytes is too large: the most is {most_bytes}",
            "REQUEST_TOO_LARGE",
        )
    try:
        return kind.FromString(await stream._stream.recv_data(size))
    except DecodeError:
        raise refusal(
            Status.INVALID_ARGUMENT, f"the request is no {kind.__name__}", "DAMAGED_REQUEST"
        ) from None


def credentials_of(stream: Stream[Any, Any]) -> Credentials:
    """What a call shows in its metadata, in any of the forms that Alpaca takes in headers."""
    metadata = stream.metadata

    def single(name: str) -> str | None:
        values = [] if metadata is None else metadata.getall(name.lower(), [])
        return str(values[0]) if len(values) == 1 else None

    return header_credentials(single) or Credentials("", "")


def slow_policy_of(stream: Stream[Any, Any], wanted: str) -> SlowPolicy | None:
    """What a call gets should it be slow, by its request or else its metadata; None by neither.

    Raises:
        GRPCError: there is no such policy.
    """
    metadata = stream.metadata
    said = [] if metadata is None else metadata.getall(SLOW_HEADER.lower(), [])
    text = wanted or (str(said[0]) if len(said) == 1 else "")
    try:
        return read_slow_policy(text) if text else None
    except ValueError as problem:
        raise refusal(
            Status.INVALID_ARGUMENT,
            f"slow_policy {text!r} is not known",
            "UNKNOWN_POLICY",
            str(problem),
        ) from None


def feed_of(method: MarketDataMethod, wanted: str, default: str) -> Feed:
    """The feed that a request names, or the configured one of its kind.

    Raises:
        GRPCError: there is no such feed, or it is of another kind.
    """
    feed = FEEDS.get(wanted or default)
    if feed is None or feed.kind != method.kind:
        names = ", ".join(name for name, feed in FEEDS.items() if feed.kind == method.kind)
        raise refusal(
            Status.INVALID_ARGUMENT,
            f"{wanted!r} is no feed of {method.name}",
            "UNKNOWN_FEED",
            f"Use one of {names}",
        )
    return feed


def topics_of(
    method: MarketDataMethod, feed: Feed, symbols: Iterable[str], most: int
) -> SubscriptionSet:
    """What a request subscribes to; no symbols means all.

    Raises:
        GRPCError: a symbol can't be one, there are too many, or this feed has no "all".
    """
    names = list(symbols) or [WILDCARD]
    if len(names) > most:
        raise refusal(
            Status.RESOURCE_EXHAUSTED,
            f"{len(names)} symbols in one call are too many: the most is {most}",
            "TOO_MANY_SYMBOLS",
            "Ask for all by naming none, or raise STREAM_PROXY_MAX_SUBSCRIPTIONS",
        )
    if WILDCARD in names:
        if method.channel not in feed.wildcard_channels:
            raise refusal(
                Status.INVALID_ARGUMENT,
                f"Alpaca doesn't serve the {method.channel} of all {feed.kind} at once",
                "NO_WILDCARD",
                "Name the contracts in symbols, or stocks in underlyings",
            )
        return SubscriptionSet({method.channel: [WILDCARD]})
    for name in names:
        _expect_symbol(method, name)
    return SubscriptionSet({method.channel: names})


def _expect_symbol(method: MarketDataMethod, name: str) -> None:
    if method.kind == "options":
        if not occ_root(name):
            raise invalid_symbol(
                name, "is no option contract: one is called like AAPL261218C00200000"
            )
    elif not 0 < len(name) <= _LONGEST_SYMBOL or not name.isascii() or not name.isprintable():
        raise invalid_symbol(name[:100], "can't be a symbol")
    elif not _NOT_IN_SYMBOLS.isdisjoint(name) or name != name.upper():
        raise invalid_symbol(name, "can't be a symbol: those are upper case, without blanks")
