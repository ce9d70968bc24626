"""Metrics are what the proxy's own numbers say, under names that don't change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from stream_proxy.control.metrics.collector import FAMILIES, latencies_of, registry_of
from stream_proxy.control.metrics.family import BUCKETS_NS, PREFIX
from stream_proxy.control.metrics.measured import Clients, Measured
from stream_proxy.control.metrics.messages import CLASSES
from stream_proxy.feed.consumer import Consumer
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.feed.orders import Account, Environment, OrderFeed
from stream_proxy.feed.upstream_status import Cause, UpstreamState
from stream_proxy.hub.latency import EDGES_NS
from stream_proxy.hub.outbox import Outbox
from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.outlets.limits import OutletCounts
from stream_proxy.outlets.shapes import shape_for
from stream_proxy.runtime.clock import SystemClock
from stream_proxy.runtime.memory_limit import memory_limit_bytes
from stream_proxy.state.journal import JournalError
from stream_proxy.wire.alpaca.codec import JSON
from stream_proxy.wire.alpaca.codes import known_or_internal

# The seed's README, and the names in use before it.
SEED = {
    "upstream_connections_active": {"stream"},
    "upstream_reconnections_total": {"stream"},
    "messages_received_total": {"stream", "type"},
    "messages_sent_total": {"consumer"},
    "message_latency_seconds": {"quantile"},
}
OLDER = (
    *("messages_received_total", "messages_sent_total", "messages_dropped_total"),
    *("websocket_connections", "grpc_clients", "subscriptions_total", "websocket_errors_total"),
    *("reconnects_total", "message_processing_seconds"),
)


class Market:
    def __init__(self, *names: str) -> None:
        self.configured: list[str] = []
        self.handlers = {name: FeedHandler(FEEDS[name], JSON, SystemClock()) for name in names}


class Writer:
    def submit(self, work: object, done: object, failed: object = None) -> None:
        raise AssertionError("metrics ask nothing of the journal")


class Orders:
    def __init__(self) -> None:
        account = Account("paper", Environment.PAPER)
        self.feeds = {"paper": OrderFeed(account, Writer(), SystemClock())}
        self.trouble: JournalError | None = None
        self.journal_waiting = 3
        self.journal_commits = 7


class Proxy:
    """The real parts, without sockets."""

    def __init__(self, *feeds: str) -> None:
        self.market, self.orders = Market(*(feeds or ("iex",))), Orders()
        self.counts = OutletCounts()
        self.outboxes: list[tuple[str, Outbox]] = []
        self.written = 0
        clients = Clients("websocket", self.counts, lambda: iter(self.outboxes))
        self.measured = Measured(self.market, self.orders, (clients,))

    def join(self, feed: str, token: str, max_bytes: int = 1 << 20, **topics: list[str]) -> Outbox:
        def write(frame: bytes) -> None:
            self.written += 1

        outbox = Outbox(write, max_bytes, 10**12, lambda: None)
        handler = self.market.handlers[feed]
        consumer = Consumer("1.2.3.4:5", outbox, shape_for("json", "json"), lambda lost, why: None)
        handler.join(consumer)
        handler.subscribe(consumer, SubscriptionSet(topics), lambda refusal: None)
        handler.accept_unconfirmed(consumer)
        self.outboxes.append((token, outbox))
        return outbox

    def text(self) -> str:
        return generate_latest(registry_of(self.measured)).decode()

    def families(self) -> dict[str, Metric]:
        return {metric.name: metric for metric in read_text(self.text())}

    def value(self, name: str, **labels: str) -> float:
        """The value of the one series that has these labels, and perhaps more."""
        (found,) = [
            sample.value
            for metric in self.families().values()
            for sample in metric.samples
            if sample.name == PREFIX + name and labels.items() <= sample.labels.items()
        ]
        return found


def frame(kind: str, *symbols: str) -> bytes:
    items = (f'{{"T":"{kind}","S":"{symbol}","t":"2026-11-21T12:00:00Z"}}' for symbol in symbols)
    return f"[{','.join(items)}]".encode()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    return Proxy()


def test_the_names_that_others_know(proxy: Proxy) -> None:
    proxy.join("iex", "anybody", trades=["*"])
    proxy.market.handlers["iex"].upstream.failed(known_or_internal(406, ""))
    proxy.market.handlers["iex"].receive([frame("t", "AAPL")])
    found = {
        sample.name: set(sample.labels)
        for metric in proxy.families().values()
        for sample in metric.samples
    }
    for name, labels in SEED.items():
        assert labels <= found[PREFIX + name], name
    for part in ("_count", "_sum"):
        assert found[f"{PREFIX}message_latency_seconds{part}"] == set()
    for name in OLDER:
        assert {PREFIX + name, f"{PREFIX}{name}_bucket"} & found.keys(), name


def test_names_follow_prometheus_rules() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert re.fullmatch(r"alpaca_proxy_[a-z_]+", family.name)
        assert family.meaning.endswith(".")
        if family.kind == "counter":
            assert family.name.endswith("_total")
        if family.kind in ("summary", "histogram"):
            assert family.name.endswith("_seconds")


def test_both_forms_are_readable(proxy: Proxy) -> None:
    proxy.join("iex", "anybody", trades=["*"])
    proxy.market.handlers["iex"].receive([frame("t", "AAPL")])
    registry = registry_of(proxy.measured)
    text = {m.name for m in read_text(generate_latest(registry).decode())}
    open_metrics = {m.name for m in read_openmetrics(generate_openmetrics(registry).decode())}
    assert {name.removesuffix("_total") for name in text} == {
        name.removesuffix("_total") for name in open_metrics
    }


def test_every_message_of_every_consumer_has_one_fate(proxy: Proxy) -> None:
    """Delivered, filtered, dropped and waiting, class by class, with slow consumers among them."""
    handler = proxy.market.handlers["iex"]
    proxy.join("iex", "bots", trades=["*"], quotes=["AAPL"])
    waiting = proxy.join("iex", "bots", trades=["*"])
    small = proxy.join("iex", "desk", max_bytes=300, trades=["*"], quotes=["*"])
    handler.receive([frame("t", "AAPL", "MSFT"), frame("q", "AAPL", "MSFT", "TSLA")])
    waiting.pause()
    small.pause()
    for _ in range(5):
        handler.receive([frame("t", "AAPL", "MSFT"), frame("q", "AAPL", "MSFT", "TSLA")])
    assert small.closed and not waiting.closed
    for kind, received in (("trades", 12), ("quotes", 18)):
        of = {"stream": "stocks", "type": kind, "protocol": "websocket"}
        assert proxy.value("messages_received_total", stream="stocks", type=kind) == received
        offered = proxy.value("messages_offered_total", **of)
        fates = {
            name: proxy.value(f"messages_{name}", **of)
            for name in (
                *("delivered_total", "filtered_total", "conflated_total"),
                *("dropped_total", "waiting"),
            )
        }
        assert offered == 3 * received == sum(fates.values()), fates
    of = {"stream": "stocks", "protocol": "websocket"}
    assert proxy.value("messages_waiting", type="trades", **of) == 10
    assert proxy.value("messages_waiting", type="quotes", **of) == 0
    assert proxy.value("messages_dropped_total", type="trades", **of) > 0
    waiting.resume()
    assert proxy.value("messages_waiting", type="trades", **of) == 0


def test_sent_is_counted_by_token_and_does_not_fall(proxy: Proxy) -> None:
    handler = proxy.market.handlers["iex"]
    for token in ("bots", "bots", "desk"):
        proxy.join("iex", token, trades=["*"])
    handler.receive([frame("t", "AAPL", "MSFT")])
    assert proxy.value("messages_sent_total", consumer="bots") == 4
    assert proxy.value("messages_sent_total", consumer="desk") == 2
    token, outbox = proxy.outboxes.pop(0)
    proxy.counts.leave(token, outbox)
    proxy.counts.leave(token, outbox)
    assert proxy.value("messages_sent_total", consumer="bots") == 4


def test_the_number_of_series_is_bounded(proxy: Proxy) -> None:
    """A thousand consumers and as many symbols, names and errors: not a line more."""
    handler = proxy.market.handlers["iex"]
    proxy.join("iex", "anybody", trades=["*"])
    handler.upstream.failed(known_or_internal(999, "new"))
    handler.receive([frame("t", "AAPL"), frame("?", "AAPL")])
    before = len(proxy.text().splitlines())
    for number in range(1000):
        proxy.join("iex", "anybody", trades=[f"S{number}"])
        handler.upstream.failed(known_or_internal(1000 + number, "new"))
        handler.receive([frame("t", f"S{number}"), frame(f"new{number}", "AAPL")])
    assert len(proxy.text().splitlines()) == before
    assert proxy.value("consumers", protocol="websocket") == 1001
    assert proxy.value("subscriptions_total", stream="stocks") == 1001
    assert proxy.value("demand_topics", feed="iex", channel="trades") == 1001


def test_feeds_of_one_stream_are_added_up() -> None:
    proxy = Proxy("iex", "sip", "news")
    for name, connections in (("iex", 3), ("sip", 2), ("news", 0)):
        status = proxy.market.handlers[name].upstream
        status.connections = connections
        status.enter(UpstreamState.CONNECTED, "", 1)
    assert proxy.value("upstream_connections_active", stream="stocks") == 2
    assert proxy.value("upstream_reconnections_total", stream="stocks") == 3
    assert proxy.value("upstream_connections_active", stream="news") == 1
    assert proxy.value("upstream_reconnections_total", stream="news") == 0
    assert proxy.value("upstream_connections_active", stream="options") == 0


def test_causes_are_classes(proxy: Proxy) -> None:
    """All of them are there from the start: else the first of each would go unseen."""
    status = proxy.market.handlers["iex"].upstream
    status.interrupted(Cause.MUTE)
    status.interrupted(Cause.MUTE)
    for cause in Cause:
        count = proxy.value("reconnects_total", stream="stocks", cause=cause.value)
        assert count == (2 if cause is Cause.MUTE else 0)


def test_a_feed_is_wanted_while_somebody_uses_it(proxy: Proxy) -> None:
    assert proxy.value("feed_wanted", feed="iex") == 0
    proxy.join("iex", "anybody", trades=["*"])
    assert proxy.value("feed_wanted", feed="iex") == 1
    proxy.market.handlers["iex"].consumers.clear()
    proxy.market.configured.append("iex")
    assert proxy.value("feed_wanted", feed="iex") == 1
    assert proxy.value("feed_wanted", feed="paper", stream="trading") == 1


def test_gaps(proxy: Proxy) -> None:
    handler = proxy.market.handlers["iex"]
    gaps = handler.gaps
    gaps.begin(5_000_000_000, "lost", SubscriptionSet({"trades": ["A"]}))
    assert proxy.value("gap_open_since_timestamp_seconds", feed="iex") == 5
    gaps.end(7_500_000_000)
    assert proxy.value("gap_open_since_timestamp_seconds", feed="iex") == 0
    assert proxy.value("gap_seconds_total", feed="iex") == 2.5
    handler.keep_back_filled([b"1234"] * 3, 0)
    assert proxy.value("back_filled_messages_total", feed="iex") == 3
    assert proxy.value("ring_bytes", feed="iex") == handler.ring.bytes
    assert proxy.value("gaps_total", feed="iex") == 1


def test_durations(proxy: Proxy) -> None:
    latency = proxy.market.handlers["iex"].latency
    latency.observe(90_000, 90)
    latency.observe(3_000_000, 10)
    buckets = [
        proxy.value("message_duration_seconds_bucket", feed="iex", le=str(edge / 1e9))
        for edge in BUCKETS_NS
    ]
    assert all(low <= high for low, high in pairwise(buckets))
    assert dict(zip(BUCKETS_NS, buckets, strict=True))[100_000] == 90
    assert dict(zip(BUCKETS_NS, buckets, strict=True))[5_000_000] == 100
    assert proxy.value("message_duration_seconds_bucket", feed="iex", le="+Inf") == 100
    assert proxy.value("message_duration_seconds_sum", feed="iex") == pytest.approx(0.0381)
    assert proxy.value("message_processing_seconds_count") == 100
    assert proxy.value("message_latency_seconds_count") == 100
    assert proxy.value("message_latency_seconds", quantile="0.5") == pytest.approx(90e-6, rel=0.15)
    assert proxy.value("message_latency_seconds", quantile="0.99") == pytest.approx(3e-3, rel=0.15)


def test_buckets_are_exact_sums() -> None:
    assert set(BUCKETS_NS) <= set(EDGES_NS)
    assert (BUCKETS_NS[0], BUCKETS_NS[-1]) == (50_000, 50_000_000_000)


def test_every_latency_is_turned(proxy: Proxy) -> None:
    """What has quantiles is found by whoever turns the windows."""
    handler, feed = proxy.market.handlers["iex"], proxy.orders.feeds["paper"]
    found = list(latencies_of(proxy.measured))
    market, orders = (handler.latency, handler.lag), (feed.flow.latency, feed.lag)
    for latency in (*market, *orders, feed.journal_latency, proxy.measured.stalls):
        assert any(latency is one for one in found)


def test_the_order_side(proxy: Proxy) -> None:
    feed = proxy.orders.feeds["paper"]
    feed.counts.received, feed.counts.duplicates, feed.counts.passed_early = 5, 2, 1
    feed.reconciled, feed.reconciled_until_ns = True, 4_000_000_000
    feed.journal_latency.observe(1_000_000, 5)
    assert proxy.value("account_reconciled", account="paper") == 1
    assert proxy.value("account_reconciled_until_timestamp_seconds", account="paper") == 4
    assert proxy.value("order_events_total", account="paper", what="received") == 5
    assert proxy.value("order_events_total", account="paper", what="duplicate") == 2
    assert proxy.value("messages_received_total", stream="trading", type="trade_updates") == 5
    assert proxy.value("order_holds_expired_total", account="paper") == 1
    assert proxy.value("journal_jobs_waiting") == 3
    assert proxy.value("journal_commits_total") == 7
    assert proxy.value("journal_duration_seconds_count") == 5
    assert proxy.value("journal_works") == 1
    proxy.orders.trouble = JournalError("the disk is full")
    assert proxy.value("journal_works") == 0


def test_every_kind_of_message_has_a_word() -> None:
    assert {letter for feed in FEEDS.values() for letter in feed.types} <= CLASSES.keys()
    assert len(set(CLASSES.values())) == len(CLASSES)


def test_the_memory_limit_is_the_containers_if_it_has_one(tmp_path: Path) -> None:
    limited, unlimited = tmp_path / "limited", tmp_path / "unlimited"
    limited.write_text("1048576\n")
    unlimited.write_text("max\n")
    machine = memory_limit_bytes(())
    assert machine is not None and machine > 1 << 28
    assert memory_limit_bytes((limited,)) == 1048576
    assert memory_limit_bytes((unlimited, tmp_path / "missing")) == machine
