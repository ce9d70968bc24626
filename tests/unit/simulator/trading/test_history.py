"""Lists of orders and fills: filters, pages, and how they looked a while ago."""

from __future__ import annotations

from typing import Any

import pytest

from stream_proxy.simulator.trading.history import (
    ActivityFilter,
    OrderFilter,
    holdings_at,
    list_activities,
    list_orders,
)
from stream_proxy.simulator.trading.refusals import Refusal

Venue = Any


def test_a_lagging_list_shows_orders_as_they_were(venue: Venue) -> None:
    order = venue.submit()
    between = venue.now_ns
    venue.step()
    everything = OrderFilter(status="all")
    assert list_orders(venue.account, everything, None)[0]["status"] == "filled"
    (then,) = list_orders(venue.account, everything, between)
    assert (then["id"], then["status"], then["filled_qty"]) == (order.id, "pending_new", "0")
    assert list_orders(venue.account, everything, between - 1) == []
    assert list_activities(venue.account, ActivityFilter(), between) == []
    assert not holdings_at(venue.account, between).positions


def test_lagging_legs_are_as_old_as_their_order(venue: Venue) -> None:
    venue.submit(
        order_class="bracket", take_profit={"limit_price": 110}, stop_loss={"stop_price": 90}
    )
    between = venue.now_ns
    venue.step()
    (then,) = list_orders(venue.account, OrderFilter(status="all", nested=True), between)
    assert [leg["status"] for leg in then["legs"]] == ["held", "held"]


def test_status_divides_open_from_closed(venue: Venue) -> None:
    done, resting = venue.trade(), venue.trade(type="limit", limit_price=90)
    listed = {
        status: [o["id"] for o in list_orders(venue.account, OrderFilter(status=status), None)]
        for status in ("open", "closed", "all")
    }
    assert listed == {"open": [resting.id], "closed": [done.id], "all": [resting.id, done.id]}


def test_filters_of_time_symbol_and_side(venue: Venue) -> None:
    first = venue.trade()
    second = venue.trade("BTC/USD", qty="0.1", time_in_force="gtc")
    third = venue.trade(side="sell")

    def ids(**wanted: Any) -> list[str]:
        found = list_orders(
            venue.account, OrderFilter(status="all", ascending=True, **wanted), None
        )
        return [order["id"] for order in found]

    assert ids(after_ns=first.submitted_ns) == [second.id, third.id]
    assert ids(until_ns=second.submitted_ns) == [first.id]
    assert ids(symbols=frozenset({"BTC/USD"})) == [second.id]
    assert ids(side="sell") == [third.id]
    assert ids(asset_class="crypto") == [second.id]
    assert ids(limit=2) == [first.id, second.id]


def test_nested_rolls_legs_up(venue: Venue) -> None:
    venue.trade(order_class="oto", take_profit={"limit_price": 110})
    flat = list_orders(venue.account, OrderFilter(status="all"), None)
    nested = list_orders(venue.account, OrderFilter(status="all", nested=True), None)
    assert [order["legs"] for order in flat] == [None, None]
    assert [len(order["legs"]) for order in nested] == [1]


def test_pages_of_fills_cover_everything_once(venue: Venue) -> None:
    for _ in range(7):
        venue.trade(qty=1)
    found: list[str] = []
    token = None
    while page := list_activities(
        venue.account, ActivityFilter(limit=3, ascending=True, after_id=token), None
    ):
        found += [item["id"] for item in page]
        token = page[-1]["id"]
    assert found == sorted(found)
    assert [item.split("::")[1] for item in found] == [e.id for e in venue.account.executions]


def test_a_fill_has_every_field(venue: Venue) -> None:
    venue.market.set("AAPL", "100", "100.02", size="4")
    order = venue.trade()
    (item,) = list_activities(venue.account, ActivityFilter(), None)
    assert item.pop("id").startswith("20261118170002000::")
    assert item.pop("transaction_time").startswith("2026-11-18T17:00:02")
    assert item == {
        "account_id": venue.account.id,
        "activity_type": "FILL",
        "type": "partial_fill",
        "price": "100.02",
        "qty": "4",
        "side": "buy",
        "symbol": "AAPL",
        "leaves_qty": "6",
        "order_id": order.id,
        "cum_qty": "4",
        "order_status": "partially_filled",
    }


def test_a_page_token_must_be_a_fill(venue: Venue) -> None:
    with pytest.raises(Refusal, match="page_token"):
        list_activities(venue.account, ActivityFilter(after_id="nothing"), None)


def test_fills_of_a_day(venue: Venue) -> None:
    venue.trade(qty=1)
    assert len(list_activities(venue.account, ActivityFilter(date="2026-11-18"), None)) == 1
    assert not list_activities(venue.account, ActivityFilter(date="2026-11-17"), None)
