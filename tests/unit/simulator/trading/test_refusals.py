"""What is refused at once, with which status, and that it leaves no trace."""

from __future__ import annotations

from typing import Any

import pytest

from stream_proxy.simulator.trading.refusals import Refusal

Venue = Any
OPTION = "AAPL261218C00100000"

REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"symbol": "NOSUCH"}, 422, 'asset "NOSUCH" not found'),
    ({"symbol": "DELISTED"}, 422, "not active"),
    ({"symbol": ""}, 422, "symbol is required"),
    ({"side": "hold"}, 422, "invalid side"),
    ({"type": "iceberg"}, 422, "invalid type"),
    ({"time_in_force": None}, 422, "time_in_force is required"),
    ({"qty": None}, 422, "qty or notional is required"),
    ({"qty": -1}, 422, "qty must be a number greater than 0"),
    ({"qty": "many"}, 422, "qty must be a number"),
    ({"qty": True}, 422, "qty must be a number"),
    ({"qty": "NaN"}, 422, "qty must be a number"),
    ({"qty": 1, "notional": 5}, 422, "only one of"),
    ({"qty": 1.5, "time_in_force": "gtc"}, 422, "fractional orders must be DAY"),
    ({"type": "limit"}, 422, "limit orders require limit_price"),
    ({"type": "stop"}, 422, "stop orders require stop_price"),
    ({"limit_price": 5}, 422, "must not have a limit price"),
    ({"type": "trailing_stop"}, 422, "either trail_price or trail_percent"),
    ({"extended_hours": True}, 422, "extended hours order must be DAY limit orders"),
    ({"take_profit": {"limit_price": 5}}, 422, "need an order_class"),
    ({"order_class": "bracket"}, 422, "bracket orders require"),
    ({"order_class": "oto"}, 422, "either take_profit or stop_loss"),
    ({"client_order_id": "x" * 129}, 422, "at most 128"),
    ({"symbol": "BTC/USD"}, 422, "invalid time_in_force for crypto"),
    ({"symbol": OPTION, "qty": 1.5}, 422, "whole numbers"),
    ({"qty": 5000}, 403, "insufficient buying power"),
    ({"symbol": "BTC/USD", "time_in_force": "gtc", "qty": 3}, 403, "insufficient buying power"),
    ({"symbol": "BTC/USD", "time_in_force": "gtc", "side": "sell"}, 403, "insufficient balance"),
    ({"symbol": OPTION, "side": "sell"}, 403, "uncovered option contracts"),
    ({"side": "sell", "qty": "0.5"}, 403, "cannot be sold short"),
]


@pytest.mark.parametrize(("fields", "status", "says"), REFUSED)
def test_a_bad_order(venue: Venue, fields: dict[str, Any], status: int, says: str) -> None:
    with pytest.raises(Refusal, match=says) as refused:
        venue.submit(fields.pop("symbol", "AAPL"), **fields)
    assert refused.value.status == status
    assert str(refused.value.code).startswith("4" if status == 422 else "403")
    assert refused.value.body().keys() >= {"code", "message"}
    assert not venue.account.events and not venue.account.orders


def test_more_than_is_held_is_refused_once_the_rest_is_claimed(venue: Venue) -> None:
    venue.trade()
    venue.trade(side="sell", qty=6, type="limit", limit_price=200)
    with pytest.raises(Refusal, match="insufficient qty available") as refused:
        venue.submit(side="sell", qty=5)
    assert refused.value.details["available"] == "4"
    assert venue.submit(side="sell", qty=4).open


def test_open_orders_use_up_buying_power(venue: Venue) -> None:
    venue.trade(qty=1900, type="limit", limit_price=100)
    with pytest.raises(Refusal, match="insufficient buying power"):
        venue.submit(qty=200, type="limit", limit_price=100)


def test_a_client_order_id_is_used_once(venue: Venue) -> None:
    venue.trade(client_order_id="mine")
    with pytest.raises(Refusal, match="must be unique"):
        venue.submit(client_order_id="mine")


def test_a_symbol_is_rejected_on_the_stream_only(venue: Venue) -> None:
    order = venue.trade("REJECTME")
    assert venue.events(order) == ["pending_new", "rejected"]
    assert order.as_dict()["failed_at"] is not None


def test_a_suspended_account_takes_no_orders(venue: Venue) -> None:
    venue.account.configuration["suspend_trade"] = True
    with pytest.raises(Refusal, match="rejected by user request"):
        venue.submit()
