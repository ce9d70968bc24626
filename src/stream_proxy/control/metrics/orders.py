"""Metrics of the order side: accounts, their events, and the journal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from stream_proxy.control.metrics.family import PREFIX, Durations, Family, Labels, Numbers
from stream_proxy.control.metrics.measured import Measured
from stream_proxy.feed.orders import OrderFeed
from stream_proxy.hub.latency import Latency
from stream_proxy.model.time import NS_PER_SECOND

Sample = tuple[Labels, float]


def _by_account(value: Callable[[OrderFeed], float]) -> Callable[[Measured], Iterable[Sample]]:
    def read(measured: Measured) -> Iterator[Sample]:
        for name, feed in measured.orders.feeds.items():
            yield (name,), value(feed)

    return read


def _events(measured: Measured) -> Iterator[Sample]:
    for name, feed in measured.orders.feeds.items():
        counts = feed.counts
        yield (name, "received"), counts.received
        yield (name, "journalled"), counts.journalled
        yield (name, "replayed"), counts.replayed
        yield (name, "reconstructed"), counts.reconstructed
        yield (name, "duplicate"), counts.duplicates
        yield (name, "unreadable"), counts.unreadable


def _single(value: Callable[[Measured], float]) -> Callable[[Measured], Iterable[Sample]]:
    return lambda measured: [((), value(measured))]


def _journal_latency(measured: Measured) -> Iterator[tuple[Labels, Latency]]:
    yield (), Latency()
    for feed in measured.orders.feeds.values():
        yield (), feed.journal_latency


FAMILIES: tuple[Family, ...] = (
    Numbers(
        f"{PREFIX}account_reconciled",
        "gauge",
        ("account",),
        "Whether the record was compared with Alpaca's since the stream was last connected.",
        _by_account(lambda feed: feed.reconciled),
    ),
    Numbers(
        f"{PREFIX}account_reconciled_until_timestamp_seconds",
        "gauge",
        ("account",),
        "Up to when the record was compared, in seconds since 1970; 0 if never.",
        _by_account(lambda feed: feed.reconciled_until_ns / NS_PER_SECOND),
    ),
    Numbers(
        f"{PREFIX}order_events_total",
        "counter",
        ("account", "what"),
        "Order events: `received` from the stream, `journalled` from anywhere, of which `replayed` "
        "from Alpaca's own record and `reconstructed` from its REST; `duplicate` and `unreadable` "
        "ones.",
        _events,
    ),
    Numbers(
        f"{PREFIX}order_holds_expired_total",
        "counter",
        ("account",),
        "How often fresh updates waited no longer for those that were missed before them, and went "
        "out first.",
        _by_account(lambda feed: feed.counts.passed_early),
    ),
    Numbers(
        f"{PREFIX}journal_works",
        "gauge",
        (),
        "Whether the order journal can be written; while it can't, order updates wait.",
        _single(lambda measured: measured.orders.trouble is None),
    ),
    Numbers(
        f"{PREFIX}journal_jobs_waiting",
        "gauge",
        (),
        "Reads and writes of the journal that aren't done yet.",
        _single(lambda measured: measured.orders.journal_waiting),
    ),
    Numbers(
        f"{PREFIX}journal_commits_total",
        "counter",
        (),
        "Transactions that are on the disk; one may hold many events.",
        _single(lambda measured: measured.orders.journal_commits),
    ),
    Durations(
        f"{PREFIX}journal_duration_seconds",
        "histogram",
        (),
        "From an event's receipt to its being on the disk.",
        _journal_latency,
    ),
)
