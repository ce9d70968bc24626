"""The list of consumers is bounded and holds up nobody; feeds and accounts tell their counts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from harness.sides import MINUTE_NS, NOW_NS, Market, Orders
from stream_proxy.control.readiness import Readiness
from stream_proxy.control.status import Status
from stream_proxy.feed.upstream_status import UpstreamState
from stream_proxy.hub.demand import Demand
from stream_proxy.hub.outbox import Outbox
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.outlets.consumer_status import ConsumerStatus, consumer_status

THREE = SubscriptionSet({"trades": ["A", "B"], "bars": ["*"]})


class Crowd:
    """So many consumers of one protocol, each with an outbox of its own."""

    def __init__(self, protocol: str, count: int) -> None:
        self.protocol = protocol
        self.outboxes = [
            Outbox(lambda frames: None, 1000, 10**12, lambda: None) for _ in range(count)
        ]

    def consumer_count(self) -> int:
        return len(self.outboxes)

    def consumer_statuses(self, now_ns: int) -> Iterator[ConsumerStatus]:
        for outbox in self.outboxes:
            yield consumer_status(
                self.protocol,
                "127.0.0.1:5",
                "bots",
                connected_ns=now_ns - MINUTE_NS,
                outbox=outbox,
                outbox_now_ns=5_000_000_000,
                feed="iex",
                topics=SubscriptionSet({"trades": ["A", "B"]}),
            )


def status(market: Market, orders: Orders, *crowds: Crowd) -> Status:
    return Status(orders, market, Readiness(orders, market), crowds, NOW_NS - MINUTE_NS)


async def test_the_list_is_bounded_and_the_total_is_told():
    made = status(Market(), Orders(), Crowd("websocket", 700), Crowd("grpc", 800))
    consumers = (await made.report(NOW_NS)).consumers
    assert (consumers.total, len(consumers.listed)) == (1500, 1000)
    assert [row.protocol for row in consumers.listed[699:701]] == ["websocket", "grpc"]
    assert (await made.report(NOW_NS, 0)).consumers.listed == []
    assert len((await made.report(NOW_NS, 9999)).consumers.listed) == 1500


async def test_others_run_while_a_long_list_is_made():
    made = status(Market(), Orders(), Crowd("websocket", 1000))
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(other())
    await made.report(NOW_NS)
    running.cancel()
    assert turns >= 9


async def test_a_consumer_that_waits_shows_for_how_long():
    crowd = Crowd("websocket", 1)
    (outbox,) = crowd.outboxes
    outbox.tick(2_000_000_000)
    outbox.pause()
    outbox.offer([b"four", b"five!"], 2)
    outbox.tick(4_000_000_000)
    outbox.offer([b"more"], 1)
    (row,) = (await status(Market(), Orders(), crowd).report(NOW_NS)).consumers.listed
    assert (row.outbox_bytes, row.lag_ms, row.messages) == (13, 3000, 0)
    assert (row.token, row.topics, row.first_topics) == ("bots", 2, ["trades:A", "trades:B"])
    assert row.connected_since == "2026-01-22T15:29:00Z"
    outbox.resume()
    (row,) = (await status(Market(), Orders(), crowd).report(NOW_NS)).consumers.listed
    assert (row.outbox_bytes, row.lag_ms, row.messages) == (0, 0, 3)


async def test_feeds_and_accounts():
    market, orders = Market("iex"), Orders("paper", "live")
    handler = market.feed("iex", UpstreamState.CONNECTED, consumers=2)
    demand: Demand[Any] = handler.demand
    demand.acquire(SubscriptionSet({"trades": ["A", "B"], "bars": ["*"]}), lambda error: None)
    handler.upstream.last_message_ns = NOW_NS - 1_500_000
    handler.gaps.begin(NOW_NS - MINUTE_NS, "no pong", THREE)
    handler.gaps.end(NOW_NS - MINUTE_NS // 2)
    handler.gaps.begin(NOW_NS - 1_000_000_000, "closed", THREE)
    orders.feed("paper", UpstreamState.RECONNECTING).counts.received = 7
    orders.journal_waiting, orders.journal_commits = 3, 40
    report = await status(market, orders).report(NOW_NS)
    feed = report.feeds["iex"]
    assert (feed.configured, feed.complete, feed.consumers) == (True, False, 2)
    assert feed.subscriptions == {"trades": 2, "bars": 1}
    assert (feed.last_message_age_ms, feed.away_since) == (1, None)
    assert (feed.data, feed.market_phase) == ("idle", "")
    assert feed.gaps.count == 2 and feed.gaps.current is not None and feed.gaps.latest is not None
    assert (feed.gaps.latest.why, feed.gaps.latest.until) == ("no pong", "2026-01-22T15:29:30.123Z")
    assert (feed.gaps.current.why, feed.gaps.current.until) == ("closed", None)
    assert (report.journal.waiting, report.journal.commits) == (3, 40)
    assert report.accounts["paper"].received == 7
    assert str(report.accounts["paper"].away_since).startswith("2026-01-22T15:29:00")
    assert report.accounts["live"].state is UpstreamState.IDLE
    assert report.uptime_seconds == 60
