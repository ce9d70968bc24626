"""Metrics of upstream: connections, interruptions, gaps, and what is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from stream_proxy.control.metrics.family import PREFIX, Family, Labels, Numbers
from stream_proxy.control.metrics.measured import Measured
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.feed.upstream_status import UpstreamState, UpstreamStatus
from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.time import NS_PER_SECOND
from stream_proxy.wire.alpaca.codes import ERROR_CODES

TRADING = "trading"
"""The stream of order updates; its feeds are accounts."""

STREAMS = (*dict.fromkeys(feed.kind for feed in FEEDS.values()), TRADING)

Sample = tuple[Labels, float]


def upstreams(measured: Measured) -> Iterator[tuple[str, str, UpstreamStatus]]:
    """The stream, the name and the state of everything that was started."""
    for name, handler in measured.market.handlers.items():
        yield handler.feed.kind, name, handler.upstream
    for name, account in measured.orders.feeds.items():
        yield TRADING, name, account.upstream


def _by_stream(value: Callable[[UpstreamStatus], float]) -> Callable[[Measured], Iterable[Sample]]:
    """One series a stream, whether anything of it was started or not."""

    def read(measured: Measured) -> Iterator[Sample]:
        for stream in STREAMS:
            yield (stream,), 0
        for stream, _, status in upstreams(measured):
            yield (stream,), value(status)

    return read


def _by_feed(value: Callable[[FeedHandler], float]) -> Callable[[Measured], Iterable[Sample]]:
    def read(measured: Measured) -> Iterator[Sample]:
        for name, handler in measured.market.handlers.items():
            yield (name, handler.feed.kind), value(handler)

    return read


def _is_connected(status: UpstreamStatus) -> int:
    return status.state is UpstreamState.CONNECTED


def _connected(measured: Measured) -> Iterator[Sample]:
    for stream, name, status in upstreams(measured):
        yield (name, stream), _is_connected(status)


def _wanted(measured: Measured) -> Iterator[Sample]:
    configured = measured.market.configured
    for name, handler in measured.market.handlers.items():
        wanted = name in configured or bool(handler.consumers)
        yield (name, handler.feed.kind), wanted
    for name in measured.orders.feeds:
        yield (name, TRADING), 1


def _last_message(measured: Measured) -> Iterator[Sample]:
    for stream, name, status in upstreams(measured):
        if status.last_message_ns:
            yield (name, stream), status.last_message_ns / NS_PER_SECOND


def _causes(measured: Measured) -> Iterator[Sample]:
    for stream, _, status in upstreams(measured):
        for cause, count in status.causes.items():
            yield (stream, cause.value), count


def _errors(measured: Measured) -> Iterator[Sample]:
    for stream, _, status in upstreams(measured):
        for code, count in status.errors.items():
            yield (stream, str(code) if code in ERROR_CODES else "other"), count


def _open_gap_seconds(handler: FeedHandler) -> float:
    gap = handler.gaps.current
    return 0 if gap is None else gap.from_ns / NS_PER_SECOND


def _demand(measured: Measured) -> Iterator[Sample]:
    for name, handler in measured.market.handlers.items():
        topics = handler.demand.wanted()
        for channel in handler.feed.channels:
            yield (name, channel), len(topics.symbols(channel))


def _subscriptions(measured: Measured) -> Iterator[Sample]:
    for stream in STREAMS:
        yield (stream,), 0
    for handler in measured.market.handlers.values():
        yield (handler.feed.kind,), sum(len(consumer.topics) for consumer in handler.consumers)
    for account in measured.orders.feeds.values():
        yield (TRADING,), len(account.consumers)


_FEED = ("feed", "stream")

FAMILIES: tuple[Family, ...] = (
    Numbers(
        f"{PREFIX}upstream_connections_active",
        "gauge",
        ("stream",),
        "Connections to Alpaca that are authenticated.",
        _by_stream(_is_connected),
    ),
    Numbers(
        f"{PREFIX}upstream_reconnections_total",
        "counter",
        ("stream",),
        "Connections to Alpaca that were made again after an end.",
        _by_stream(lambda status: max(0, status.connections - 1)),
    ),
    Numbers(
        f"{PREFIX}reconnects_total",
        "counter",
        ("stream", "cause"),
        "Reasons to connect again, by what ended the connection or kept it from being made.",
        _causes,
    ),
    Numbers(
        f"{PREFIX}websocket_errors_total",
        "counter",
        ("stream", "code"),
        "Errors that Alpaca sent, by its code; see `docs/errors.md`.",
        _errors,
    ),
    Numbers(
        f"{PREFIX}feed_connected",
        "gauge",
        _FEED,
        "Whether the feed, or the account, is connected and authenticated.",
        _connected,
    ),
    Numbers(
        f"{PREFIX}feed_wanted",
        "gauge",
        _FEED,
        "Whether it has to be connected: it is configured, has consumers, or is an account.",
        _wanted,
    ),
    Numbers(
        f"{PREFIX}feed_last_message_timestamp_seconds",
        "gauge",
        _FEED,
        "When its last message came, in seconds since 1970, to a quarter of a second.",
        _last_message,
    ),
    Numbers(
        f"{PREFIX}gaps_total",
        "counter",
        _FEED,
        "Intervals in which messages may have been missed.",
        _by_feed(lambda handler: handler.gaps.count),
    ),
    Numbers(
        f"{PREFIX}gap_seconds_total",
        "counter",
        _FEED,
        "The length of the gaps that have ended.",
        _by_feed(lambda handler: handler.gaps.closed_ns / NS_PER_SECOND),
    ),
    Numbers(
        f"{PREFIX}gap_open_since_timestamp_seconds",
        "gauge",
        _FEED,
        "When the gap began that is still open, in seconds since 1970; 0 if none is.",
        _by_feed(_open_gap_seconds),
    ),
    Numbers(
        f"{PREFIX}back_filled_messages_total",
        "counter",
        _FEED,
        "Messages that were missed, and asked for afterwards.",
        _by_feed(lambda handler: handler.back_filled),
    ),
    Numbers(
        f"{PREFIX}ring_bytes",
        "gauge",
        _FEED,
        "What is kept of the recent past, for consumers that were away.",
        _by_feed(lambda handler: handler.ring.bytes),
    ),
    Numbers(
        f"{PREFIX}demand_topics",
        "gauge",
        ("feed", "channel"),
        "Symbols that consumers want, each counted once; `*` counts as one.",
        _demand,
    ),
    Numbers(
        f"{PREFIX}subscriptions_total",
        "gauge",
        ("stream",),
        "Topics that consumers hold now, counted once for each consumer. A number that falls as "
        "well: other programs gave it this name.",
        _subscriptions,
    ),
    Numbers(
        f"{PREFIX}upstream_frames_total",
        "counter",
        _FEED,
        "WebSocket messages from Alpaca; each holds one market-data message or many.",
        _by_feed(lambda handler: handler.frames),
    ),
    Numbers(
        f"{PREFIX}upstream_bytes_total",
        "counter",
        _FEED,
        "Their payload.",
        _by_feed(lambda handler: handler.bytes),
    ),
    Numbers(
        f"{PREFIX}bad_messages_total",
        "counter",
        _FEED,
        "Messages from Alpaca that could not be read.",
        _by_feed(lambda handler: handler.bad_messages),
    ),
    Numbers(
        f"{PREFIX}unknown_messages_total",
        "counter",
        _FEED,
        "Messages of a type that this version doesn't know; they are passed on.",
        _by_feed(lambda handler: handler.unknown_messages),
    ),
)
