"""Multi-leg option orders: one net price, legs filled together."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from stream_proxy.simulator.trading.identifiers import NOBODY
from stream_proxy.simulator.trading.refusals import Refusal

Venue = Any
LONG, SHORT = "AAPL261218C00100000", "AAPL261218C00110000"


def spread(venue: Venue, **fields: Any) -> Any:
    """Buy one call and sell a higher one; it costs 1.10 a unit."""
    venue.market.set(LONG, "2.00", "2.10", size="3")
    venue.market.set(SHORT, "1.00", "1.05", size="5")
    legs = [
        {"symbol": LONG, "ratio_qty": 1, "side": "buy", "position_intent": "buy_to_open"},
        {"symbol": SHORT, "ratio_qty": 1, "position_intent": "sell_to_open"},
    ]
    usual: dict[str, Any] = {"qty": 2, "type": "limit", "limit_price": "1.20", "legs": legs}
    return venue.trade(None, order_class="mleg", **(usual | fields))


def test_all_legs_fill_at_once_in_one_event(venue: Venue) -> None:
    order = spread(venue)
    data = venue.last().data
    assert data["event"] == "fill"
    assert (data["price"], data["qty"]) == ("1.1", "2")
    assert data["position_qtys"] == {LONG: "2", SHORT: "-2"}
    assert "position_qty" not in data
    assert [(leg["symbol"], leg["price"], leg["qty"]) for leg in data["legs"]] == [
        (LONG, "2.1", "2"),
        (SHORT, "1", "2"),
    ]
    assert [leg["order_id"] for leg in data["legs"]] == [leg.id for leg in order.legs]
    assert venue.account.holdings.cash == Decimal(100_000) - 220


def test_the_parent_has_no_symbol_and_its_legs_no_type(venue: Venue) -> None:
    shown = spread(venue).as_dict(nested=False)
    assert (shown["symbol"], shown["asset_class"], shown["asset_id"]) == ("", "", NOBODY)
    assert [leg["type"] for leg in shown["legs"]] == ["", ""]
    assert [leg["ratio_qty"] for leg in shown["legs"]] == ["1", "1"]
    assert shown["legs"][1]["side"] == "sell"


def test_it_waits_for_its_net_price(venue: Venue) -> None:
    order = spread(venue, limit_price="1.00")
    assert order.status == "new"
    venue.market.set(SHORT, "1.10", "1.20")
    venue.step()
    assert order.status == "filled"


def test_the_smallest_side_limits_it(venue: Venue) -> None:
    order = spread(venue, qty=4)
    assert order.filled_qty == 3
    assert [leg.status for leg in order.legs] == ["partially_filled"] * 2
    venue.step()
    assert order.status == "filled"


def test_a_cancel_ends_all_legs(venue: Venue) -> None:
    order = spread(venue, limit_price="-5")
    venue.cancel(order)
    venue.step()
    assert {member.status for member in order.family()} == {"canceled"}
    assert not venue.account.working


def test_a_forced_price_is_the_net_price(venue: Venue) -> None:
    order = spread(venue, limit_price="0.50")
    venue.force(order, "fill", price="0.40")
    assert order.filled_avg_price == Decimal("0.4")
    assert venue.account.holdings.cash == Decimal(100_000) - 80


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"legs": []}, "2 to 4 legs"),
        ({"legs": [{"symbol": LONG, "ratio_qty": 1, "side": "buy"}] * 2}, "different symbols"),
        ({"qty": "1.5"}, "whole qty"),
        ({"limit_price": None}, "limit_price"),
        ({"qty": 1000, "limit_price": 5}, "insufficient options buying power"),
    ],
)
def test_what_is_refused(venue: Venue, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(Refusal, match=says):
        spread(venue, **fields)
    assert venue.account.events == []
