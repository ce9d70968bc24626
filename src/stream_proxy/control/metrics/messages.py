"""Metrics of messages: what came in, what became of it, and how long that took.

For each stream, class and protocol: offered = delivered + filtered + conflated + dropped +
waiting, where offered are the received messages, each times the consumers that there were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from stream_proxy.control.metrics.family import PREFIX, Durations, Family, Labels, Numbers
from stream_proxy.control.metrics.measured import Measured
from stream_proxy.control.metrics.upstream import TRADING
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.hub.hub import Hub
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

ORDER_CLASS = "trade_updates"

Counted = Mapping[tuple[str, str], int]


def _class(letter: str) -> str:
    return CLASSES.get(letter, "unknown")


def _received(measured: Measured) -> Iterator[Sample]:
    for handler in measured.market.handlers.values():
        for letter in handler.feed.types:
            yield (handler.feed.kind, _class(letter)), 0
        for letter, count in handler.received.items():
            yield (handler.feed.kind, _class(letter)), count
    for account in measured.orders.feeds.values():
        yield (TRADING, ORDER_CLASS), account.counts.received


def _by_protocol(counted: Callable[[Hub], Counted]) -> Callable[[Measured], Iterable[Sample]]:
    """One series for each class that was offered, whether any of it met this fate or not."""

    def read(measured: Measured) -> Iterator[Sample]:
        for handler in measured.market.handlers.values():
            for protocol, letter in _offered(handler.hub):
                yield (handler.feed.kind, _class(letter), protocol), 0
            for (protocol, letter), count in counted(handler.hub).items():
                yield (handler.feed.kind, _class(letter), protocol), count

    return read


def _offered(hub: Hub) -> Counted:
    return {
        (protocol, letter): count
        for protocol, flow in hub.flows.items()
        for letter, count in flow.offered.items()
    }


def _sent(measured: Measured) -> Iterator[Sample]:
    for clients in measured.clients:
        for name, count in clients.counts.sent.items():
            yield (name, clients.protocol), count
        for name, outbox in clients.outboxes():
            yield (name, clients.protocol), outbox.messages


def _of_feed(
    latency: Callable[[FeedHandler], Latency],
) -> Callable[[Measured], Iterable[tuple[Labels, Latency]]]:
    def read(measured: Measured) -> Iterator[tuple[Labels, Latency]]:
        for name, handler in measured.market.handlers.items():
            yield (name, handler.feed.kind), latency(handler)

    return read


def _of_all(measured: Measured) -> Iterator[tuple[Labels, Latency]]:
    yield (), Latency()
    for handler in measured.market.handlers.values():
        yield (), handler.latency


_BY = ("stream", "type", "protocol")
_FEED = ("feed", "stream")
_FROM_SOCKET_TO_SOCKET = (
    "From upstream's socket to the consumer's: how long a message was in the proxy"
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
        "five say, and they add up to this.",
        _by_protocol(_offered),
    ),
    Numbers(
        f"{PREFIX}messages_delivered_total",
        "counter",
        _BY,
        "Messages written to consumers' sockets.",
        _by_protocol(lambda hub: hub.delivered()),
    ),
    Numbers(
        f"{PREFIX}messages_filtered_total",
        "counter",
        _BY,
        "Messages that a consumer of the feed had not subscribed to.",
        _by_protocol(lambda hub: hub.filtered()),
    ),
    Numbers(
        f"{PREFIX}messages_conflated_total",
        "counter",
        _BY,
        "Messages that a newer one of the same symbol took the place of, for a slow consumer "
        "that accepts that.",
        _by_protocol(lambda hub: hub.conflated()),
    ),
    Numbers(
        f"{PREFIX}messages_dropped_total",
        "counter",
        _BY,
        "Messages that a consumer did not get because it was too slow, or went while they waited.",
        _by_protocol(lambda hub: hub.dropped()),
    ),
    Numbers(
        f"{PREFIX}messages_waiting",
        "gauge",
        _BY,
        "Messages that wait for slow consumers now.",
        _by_protocol(lambda hub: hub.waiting()),
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
        _of_feed(lambda handler: handler.latency),
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
        "From the time in a message to our receiving it, looked at once a batch. Both clocks have "
        "to be right; the feed delayed_sip is late on purpose.",
        _of_feed(lambda handler: handler.lag),
    ),
)
