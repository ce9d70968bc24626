"""Metrics of messages: what came in, what became of it, and how long that took.

For each stream, class and protocol: offered = delivered + filtered + conflated + dropped +
waiting, where offered are the received messages, each times the consumers that there were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from stream_proxy.control.metrics.family import PREFIX, Durations, Family, Labels, Numbers
from stream_proxy.control.metrics.measured import Measured
from stream_proxy.control.metrics.upstream import TRADING
from stream_proxy.feed.order_flow import ORDER_CLASS
from stream_proxy.hub.flow import Flow
from stream_proxy.hub.latency import Latency

Sample = tuple[Labels, float]

CLASSES = {
    "t": "trades",
    "q": "quotes",
    "b": "bars",
    "u": "updatedBars",
    "d": "dailyBars",
    "s": "statuses",
    "l": "lulds",
    "i": "imbalances",
    "c": "corrections",
    "x": "cancelErrors",
    "o": "orderbooks",
    "p": "pricing",
    "n": "news",
}
"""Alpaca's letters for kinds of messages, as words; whatever else comes is `unknown`."""


def _class(letter: str) -> str:
    return CLASSES.get(letter, ORDER_CLASS if letter == ORDER_CLASS else "unknown")


def _received(measured: Measured) -> Iterator[Sample]:
    for handler in measured.market.handlers.values():
        for letter in handler.feed.types:
            yield (handler.feed.kind, _class(letter)), 0
        for letter, count in handler.received.items():
            yield (handler.feed.kind, _class(letter)), count
    for account in measured.orders.feeds.values():
        yield (TRADING, ORDER_CLASS), account.counts.received


def _flows(measured: Measured) -> Iterator[tuple[str, str, Flow]]:
    """Stream and protocol of everything that is counted."""
    for handler in measured.market.handlers.values():
        for protocol, flow in handler.hub.flows.items():
            yield handler.feed.kind, protocol, flow
    for account in measured.orders.feeds.values():
        for protocol, flow in account.flow.flows.items():
            yield TRADING, protocol, flow


def _by_protocol(
    counted: Callable[[Flow], Mapping[str, int]],
) -> Callable[[Measured], Iterable[Sample]]:
    """One series for each class that was offered, whether any of it met this fate or not."""

    def read(measured: Measured) -> Iterator[Sample]:
        for stream, protocol, flow in _flows(measured):
            for letter in flow.offered:
                yield (stream, _class(letter), protocol), 0
            for letter, count in counted(flow).items():
                yield (stream, _class(letter), protocol), count

    return read


def _sent(measured: Measured) -> Iterator[Sample]:
    for clients in measured.clients:
        for name, count in clients.counts.sent.items():
            yield (name, clients.protocol), count
        for name, outbox in clients.outboxes():
            yield (name, clients.protocol), outbox.messages


def _latencies(measured: Measured) -> Iterator[tuple[Labels, Latency]]:
    for name, handler in measured.market.handlers.items():
        yield (name, handler.feed.kind), handler.latency
    for name, account in measured.orders.feeds.items():
        yield (name, TRADING), account.flow.latency


def _lags(measured: Measured) -> Iterator[tuple[Labels, Latency]]:
    for name, handler in measured.market.handlers.items():
        yield (name, handler.feed.kind), handler.lag
    for name, account in measured.orders.feeds.items():
        yield (name, TRADING), account.lag


def _of_all(measured: Measured) -> Iterator[tuple[Labels, Latency]]:
    yield (), Latency()
    for _, latency in _latencies(measured):
        yield (), latency


_BY = ("stream", "type", "protocol")
_FEED = ("feed", "stream")
_FROM_SOCKET_TO_SOCKET = (
    "From upstream's socket to the consumer's: how long a message was in the proxy; order updates "
    "from the moment when they wait no longer for earlier ones"
)

FAMILIES: tuple[Family, ...] = (
    Numbers(
        f"{PREFIX}messages_received_total",
        "counter",
        ("stream", "type"),
        "Messages from Alpaca.",
        _received,
    ),
    Numbers(
        f"{PREFIX}messages_sent_total",
        "counter",
        ("consumer", "protocol"),
        "Messages written to consumers' sockets, order updates included, by the name of the "
        "access token; `anybody` where none are configured.",
        _sent,
    ),
    Numbers(
        f"{PREFIX}messages_offered_total",
        "counter",
        _BY,
        "Messages from Alpaca, each times the consumers of its feed: what became of them, the next "
        "five say, and they add up to this. Order updates: also those that a consumer gets from "
        "the journal.",
        _by_protocol(lambda flow: flow.offered),
    ),
    Numbers(
        f"{PREFIX}messages_delivered_total",
        "counter",
        _BY,
        "Messages written to consumers' sockets.",
        _by_protocol(lambda flow: flow.delivered()),
    ),
    Numbers(
        f"{PREFIX}messages_filtered_total",
        "counter",
        _BY,
        "Messages that a consumer of the feed had not subscribed to.",
        _by_protocol(lambda flow: flow.filtered()),
    ),
    Numbers(
        f"{PREFIX}messages_conflated_total",
        "counter",
        _BY,
        "Messages that a newer one of the same symbol took the place of, for a slow consumer "
        "that accepts that.",
        _by_protocol(lambda flow: flow.conflated),
    ),
    Numbers(
        f"{PREFIX}messages_dropped_total",
        "counter",
        _BY,
        "Messages that a consumer did not get because it was too slow, or went while they waited.",
        _by_protocol(lambda flow: flow.dropped),
    ),
    Numbers(
        f"{PREFIX}messages_waiting",
        "gauge",
        _BY,
        "Messages that wait for slow consumers now.",
        _by_protocol(lambda flow: flow.waiting()),
    ),
    Durations(
        f"{PREFIX}message_latency_seconds",
        "summary",
        (),
        f"{_FROM_SOCKET_TO_SOCKET}; quantiles of the last one to two minutes, all feeds together.",
        _of_all,
    ),
    Durations(
        f"{PREFIX}message_duration_seconds",
        "histogram",
        _FEED,
        f"{_FROM_SOCKET_TO_SOCKET}, since the start.",
        _latencies,
    ),
    Durations(
        f"{PREFIX}message_processing_seconds",
        "histogram",
        (),
        "The same, all feeds together, under the name that other programs gave it.",
        _of_all,
    ),
    Durations(
        f"{PREFIX}exchange_lag_seconds",
        "histogram",
        _FEED,
        "From the time in a message to our receiving it, looked at once a batch of market data, "
        "and for every order update. Both clocks have "
        "to be right; the feed delayed_sip is late on purpose.",
        _lags,
    ),
)
