"""One word for the whole, a sentence for each thing that is wrong, and readiness beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.sides import MINUTE_NS, NOW_NS, Market, Orders
from stream_proxy.control.health import Health, milliseconds
from stream_proxy.control.readiness import Readiness
from stream_proxy.feed.upstream_status import UpstreamState
from stream_proxy.hub.demand import Demand
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.state.journal import JournalError

CONNECTED, RECONNECTING = UpstreamState.CONNECTED, UpstreamState.RECONNECTING
STARTED_NS = NOW_NS - 90 * 1_000_000_000


def health(market: Market, orders: Orders, detailed: bool = True) -> dict[str, Any]:
    made = Health(orders, market, Readiness(orders, market), [], STARTED_NS)
    answer: dict[str, Any] = json.loads(
        made.report(NOW_NS, detailed).model_dump_json(by_alias=True)
    )
    return answer


def readiness(market: Market, orders: Orders, account: str = "") -> dict[str, Any]:
    report = Readiness(orders, market).report(NOW_NS, account)
    answer: dict[str, Any] = json.loads(report.model_dump_json())
    return answer


def test_the_shape_that_dashboards_know():
    market, orders = Market("iex"), Orders("paper")
    market.feed("iex", CONNECTED).upstream.last_message_ns = NOW_NS
    market.feed("indicative", CONNECTED, consumers=2).upstream.last_message_ns = NOW_NS - 1
    orders.feed("paper", CONNECTED, reconciled=True).upstream.last_message_ns = NOW_NS
    demand: Demand[Any] = market.handlers["iex"].demand
    demand.acquire(SubscriptionSet({"trades": ["A", "B"], "quotes": ["A"]}), lambda error: None)
    answer = health(market, orders)
    at = "2026-01-22T15:30:00.123Z"
    assert list(answer)[:4] == ["status", "upstream", "subscriptions", "consumers"]
    assert answer["status"] == "healthy" and answer["consumers"] == 0
    connected = {"connected": True, "lastMessage": at, "state": "connected"}
    assert answer["upstream"] == {"stocks": connected, "options": connected, "trading": connected}
    assert answer["subscriptions"] == {"stocks": 3, "options": 0}
    assert (answer["startedAt"], answer["uptimeSeconds"]) == ("2026-01-22T15:28:30.123Z", 90)


def test_what_nobody_asked_for_is_idle():
    """Nor does a feed that was connected on demand hold anybody up once nobody reads it."""
    market, orders = Market(), Orders("paper")
    assert health(market, orders)["status"] == "healthy"
    assert health(market, orders)["upstream"]["stocks"] == {
        "connected": False,
        "lastMessage": None,
        "state": "idle",
    }
    market.feed("sip", RECONNECTING)
    assert health(market, orders)["status"] == "healthy"
    assert readiness(market, orders)["ready"] is True


@pytest.mark.parametrize("kind", ["crypto-us", "news"])
def test_other_kinds_show_once_they_are_configured(kind: str):
    shown = {"crypto-us": "crypto"}.get(kind, kind)
    assert shown not in health(Market(), Orders())["upstream"]
    answer = health(Market(kind), Orders())
    assert answer["upstream"][shown]["connected"] is False
    assert answer["subscriptions"][shown] == 0
    assert answer["status"] == "unhealthy", "it is wanted, and not even started"


@pytest.mark.parametrize(
    ("feeds", "accounts", "expected"),
    [
        ([CONNECTED], [True], "healthy"),
        ([RECONNECTING], [True], "degraded"),
        ([CONNECTED, RECONNECTING], [], "degraded"),
        ([RECONNECTING], [], "unhealthy"),
        ([RECONNECTING, UpstreamState.SLOT_TAKEN], [False], "unhealthy"),
        ([CONNECTED], [False], "degraded"),
    ],
)
def test_one_word_for_the_whole(feeds: list[UpstreamState], accounts: list[bool], expected: str):
    market, orders = Market("iex"), Orders("a")
    for name, state in zip(("iex", "opra"), feeds, strict=False):
        market.feed(name, state, consumers=1)
    for works in accounts:
        orders.feed("a", CONNECTED if works else RECONNECTING, reconciled=works)
    answer = health(market, orders)
    assert answer["status"] == expected
    wrong = sum(state is not CONNECTED for state in feeds) + accounts.count(False)
    assert len(answer["reasons"]) == wrong


def test_a_connected_account_that_still_asks_for_what_it_missed():
    market, orders = Market(), Orders("paper")
    orders.feed("paper", CONNECTED)
    assert health(market, orders)["status"] == "degraded"
    assert readiness(market, orders)["waiting_for"] == [
        "account paper is connected since 2026-01-22T15:29:00Z and asks Alpaca for what it missed. "
        "It takes seconds; if it lasts, the log says what Alpaca answers."
    ]


def test_an_open_gap_degrades_and_does_not_hold_up():
    market, orders = Market("iex"), Orders()
    handler = market.feed("iex", CONNECTED)
    handler.gaps.begin(
        NOW_NS - MINUTE_NS, "not confirmed by upstream yet", SubscriptionSet({"trades": ["A"]})
    )
    answer = health(market, orders)
    assert answer["status"] == "degraded"
    (reason,) = answer["reasons"]
    assert "data is missing since 2026-01-22T15:29:00Z: not confirmed" in reason
    assert readiness(market, orders)["ready"] is True
    handler.gaps.end(NOW_NS)
    assert health(market, orders)["status"] == "healthy"


def test_a_journal_that_fails_makes_all_of_it_unhealthy():
    market, orders = Market("iex"), Orders("paper")
    market.feed("iex", CONNECTED)
    orders.trouble = JournalError("the disk is full: make room.")
    answer = health(market, orders)
    assert answer["status"] == "unhealthy"
    assert answer["reasons"] == [
        "the order journal can't be used since 2026-01-22T15:30:00Z: the disk is full: make room."
    ]


def test_a_refused_feed_is_told_and_holds_nobody_up():
    """Its consumers were sent away, so nobody waits for it; the operator has to know."""
    market, orders = Market("iex"), Orders()
    market.feed("iex", CONNECTED)
    market.feed("sip", UpstreamState.REFUSED, "409 insufficient subscription: upgrade the plan.")
    answer = health(market, orders)
    assert answer["status"] == "degraded"
    assert answer["reasons"] == [
        "feed sip is away since 2026-01-22T15:29:00Z (refused): 409 insufficient subscription: "
        "upgrade the plan. Correct that and restart the proxy."
    ]
    assert readiness(market, orders)["ready"] is True


def test_since_when_a_feed_is_away_survives_its_attempts():
    market, orders = Market("iex"), Orders()
    status = market.feed("iex", RECONNECTING, "no pong within 10 s").upstream
    status.enter(UpstreamState.CONNECTING, "connecting", NOW_NS)
    status.enter(RECONNECTING, "can't connect: refused", NOW_NS)
    (sentence,) = readiness(market, orders)["waiting_for"]
    assert sentence.startswith(
        "feed iex is away since 2026-01-22T15:29:00Z (reconnecting): can't connect: refused. It is"
    )


def test_readiness_names_what_is_not_ready():
    market, orders = Market("iex", "news"), Orders("paper", "live")
    market.feed("iex", UpstreamState.SLOT_TAKEN, "406 connection limit exceeded")
    market.feed("sip", CONNECTED, consumers=1)
    orders.feed("paper", CONNECTED, reconciled=True)
    answer = readiness(market, orders)
    assert answer["ready"] is False
    started, slot = answer["waiting_for"]
    assert started.startswith("feed news is not started yet")
    assert "(slot taken): 406 connection limit exceeded" in slot
    assert {name: feed["ready"] for name, feed in answer["feeds"].items()} == {
        "iex": False,
        "news": False,
        "sip": True,
    }
    assert answer["accounts"]["live"]["state"] == "idle"
    # Asked about an account, feeds don't matter.
    assert readiness(market, orders, "paper")["ready"] is True
    assert "nobody asked" in readiness(market, orders, "live")["waiting_for"][0]


def test_without_a_token_names_are_told_and_no_reasons():
    market, orders = Market("iex"), Orders("paper")
    market.feed("iex", RECONNECTING, "can't connect: a telling detail")
    feed = orders.feed("paper", RECONNECTING)
    feed.reconciled_until_ns = NOW_NS
    orders.trouble = JournalError("/a/telling/path is full")
    report = Readiness(orders, market).report(NOW_NS, detailed=False).model_dump_json()
    brief = json.dumps(health(market, orders, detailed=False))
    for answer in (report, brief):
        assert "telling" not in answer and "for a reason" not in answer
        assert "feed iex: show an access token" in answer
        assert "the order journal: show" in answer and "account paper: show" in answer
    assert json.loads(report)["accounts"]["paper"]["reconciled_until"] is None
    assert json.loads(report)["feeds"]["iex"]["state"] == "reconnecting"


def test_milliseconds_are_cut_and_always_three():
    assert milliseconds(NOW_NS) == "2026-01-22T15:30:00.123Z"
    assert milliseconds(1_769_095_800_000_000_000) == "2026-01-22T15:30:00.000Z"
    assert milliseconds(1_769_095_800_120_000_000) == "2026-01-22T15:30:00.120Z"
