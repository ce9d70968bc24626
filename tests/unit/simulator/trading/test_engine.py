"""The life of simple orders: what happens to each type and time in force, event by event."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from stream_proxy.simulator.trading.refusals import Refusal

Venue = Any

ORDER_KEYS = {
    *("id", "client_order_id", "created_at", "updated_at", "submitted_at", "filled_at"),
    *("expired_at", "expires_at", "cancel_requested_at", "canceled_at", "failed_at"),
    *("replaced_at", "replaced_by", "replaces", "asset_id", "symbol", "asset_class", "notional"),
    *("qty", "filled_qty", "filled_avg_price", "order_class", "order_type", "type", "side"),
    *("position_intent", "time_in_force", "limit_price", "stop_price", "status"),
    *("extended_hours", "legs", "trail_percent", "trail_price", "hwm", "ratio_qty"),
}
"""From the protocol reference, section 6.4."""


def test_a_market_order_is_new_and_then_filled_at_the_ask(venue: Venue) -> None:
    order = venue.submit()
    assert order.status == "pending_new"
    venue.step()
    assert venue.events(order) == ["pending_new", "new", "fill"]
    assert order.status == "filled"
    assert order.filled_avg_price == Decimal("100.02")
    assert venue.account.holdings.cash == Decimal("98999.8")


def test_every_event_is_complete(venue: Venue) -> None:
    venue.trade()
    for event in venue.account.events:
        data = event.data
        assert {"at", "event_id", "event", "timestamp", "order"} <= data.keys()
        assert data["order"].keys() == ORDER_KEYS
        assert data["order"]["qty"] == "10"
    fill = venue.last().data
    assert fill["price"] == "100.02"
    assert fill["qty"] == fill["position_qty"] == "10"
    assert fill["execution_id"] == venue.account.executions[0].id


def test_what_the_quote_does_not_hold_waits_for_the_next(venue: Venue) -> None:
    venue.market.set("AAPL", "100", "100.02", size="4")
    order = venue.trade()
    assert order.status == "partially_filled"
    venue.step()
    venue.step()
    assert venue.events(order) == ["pending_new", "new", "partial_fill", "partial_fill", "fill"]
    assert [event.data["order"]["filled_qty"] for event in venue.account.events[2:]] == [
        "4",
        "8",
        "10",
    ]


def test_two_orders_do_not_get_the_same_shares(venue: Venue) -> None:
    venue.market.set("AAPL", "100", "100.02", size="15")
    first, second = venue.submit(), venue.submit()
    venue.step()
    assert (first.filled_qty, second.filled_qty) == (10, 5)


def test_a_limit_order_waits_for_its_price_and_gets_a_better_one(venue: Venue) -> None:
    order = venue.trade(type="limit", limit_price="99.50")
    assert order.status == "new"
    venue.market.set("AAPL", "99.30", "99.40")
    venue.step()
    assert order.filled_avg_price == Decimal("99.40")


def test_a_stop_is_triggered_and_then_trades_at_the_market(venue: Venue) -> None:
    venue.trade()
    order = venue.trade(side="sell", type="stop", stop_price=98)
    assert order.status == "new"
    venue.market.set("AAPL", "97.5", "97.6")
    venue.step()
    assert order.filled_avg_price == Decimal("97.5")


def test_a_stop_limit_once_triggered_stays_a_limit_order(venue: Venue) -> None:
    venue.trade()
    order = venue.trade(side="sell", type="stop_limit", stop_price=98, limit_price=97)
    venue.market.set("AAPL", "96", "96.1")
    venue.step()
    assert order.status == "new"
    venue.market.set("AAPL", "99", "99.1")
    venue.step()
    assert order.filled_avg_price == 99


@pytest.mark.parametrize("trail", [{"trail_price": 2}, {"trail_percent": 2}])
def test_a_trailing_stop_follows_the_best_price(venue: Venue, trail: dict[str, int]) -> None:
    venue.trade()
    order = venue.trade(side="sell", type="trailing_stop", **trail)
    assert (order.hwm, order.stop_price) == (100, 98)
    venue.market.set("AAPL", "110", "110.1")
    venue.step()
    assert order.hwm == 110
    venue.market.set("AAPL", "109", "109.1")
    venue.step()
    assert order.status == "new"
    venue.market.set("AAPL", "107.5", "107.6")
    venue.step()
    assert order.status == "filled"


def test_a_trailing_stop_that_buys_follows_the_lowest_price(venue: Venue) -> None:
    order = venue.trade(type="trailing_stop", trail_price=1)
    venue.market.set("AAPL", "89.9", "90")
    venue.step()
    assert order.stop_price == 91
    venue.market.set("AAPL", "91.4", "91.5")
    venue.step()
    assert order.filled_avg_price == Decimal("91.5")


def test_ioc_takes_what_is_there_and_cancels_the_rest(venue: Venue) -> None:
    venue.market.set("AAPL", "100", "100.02", size="4")
    order = venue.trade(time_in_force="ioc")
    assert venue.events(order) == ["pending_new", "new", "partial_fill", "canceled"]
    assert order.filled_qty == 4


def test_fok_takes_all_or_nothing(venue: Venue) -> None:
    venue.market.set("AAPL", "100", "100.02", size="4")
    assert venue.events(venue.trade(time_in_force="fok")) == ["pending_new", "new", "canceled"]
    assert venue.trade(qty=4, time_in_force="fok").status == "filled"


def test_a_day_order_expires_at_the_close(venue: Venue) -> None:
    order = venue.trade(type="limit", limit_price=90)
    assert order.as_dict()["expires_at"] == "2026-11-18T21:00:00Z"
    venue.step(4 * 3600)
    assert order.status == "expired"
    assert order.as_dict()["expired_at"] is not None


def test_extended_hours_expire_four_hours_later(venue: Venue) -> None:
    order = venue.trade(type="limit", limit_price=90, extended_hours=True)
    assert order.as_dict()["expires_at"] == "2026-11-19T01:00:00Z"


def test_an_order_for_the_close_waits_for_it(venue: Venue) -> None:
    order = venue.trade(time_in_force="cls")
    assert venue.events(order) == ["pending_new", "accepted"]
    venue.step(4 * 3600)
    assert venue.events(order)[2:] == ["new", "fill"]


def test_an_order_that_misses_the_auction_is_rejected_on_the_stream(venue: Venue) -> None:
    order = venue.trade(time_in_force="opg")  # at noon, after the open
    assert venue.events(order) == ["pending_new", "rejected"]


def test_a_limit_that_the_auction_does_not_meet_is_canceled(venue: Venue) -> None:
    order = venue.trade(type="limit", limit_price=50, time_in_force="cls")
    venue.step(4 * 3600)
    assert venue.events(order)[-1] == "canceled"


def test_with_market_hours_an_order_waits_for_the_open(make_venue: type[Venue]) -> None:
    venue = make_venue(keep_hours=True)
    venue.tick(9 * 3600)  # nine in the evening
    order = venue.trade()
    assert order.status == "accepted"
    crypto = venue.trade("BTC/USD", qty="0.5", time_in_force="gtc")
    assert crypto.status == "filled"
    venue.step(13 * 3600)
    assert order.status == "filled"


def test_notional_buys_a_fraction(venue: Venue) -> None:
    order = venue.trade(notional=50)
    assert order.qty is None
    assert order.as_dict()["filled_qty"] == "0.499900019"


def test_crypto_goes_by_either_name(venue: Venue) -> None:
    order = venue.trade("BTCUSD", qty="0.1", time_in_force="gtc")
    assert order.symbol == "BTC/USD"
    assert venue.account.holdings.cash == Decimal("94999")


def test_option_contracts_cost_a_hundred_times_their_price(venue: Venue) -> None:
    venue.market.set("AAPL261218C00100000", "2.00", "2.10")
    venue.trade("AAPL261218C00100000", qty=1)
    assert venue.account.holdings.cash == Decimal("99790")


def test_without_a_quote_nothing_trades(venue: Venue) -> None:
    venue.market.clear("AAPL")
    assert venue.trade().status == "new"


def test_a_short_position_has_a_negative_quantity(venue: Venue) -> None:
    venue.trade(side="sell")
    assert venue.last().data["position_qty"] == "-10"
    assert venue.held() == -10


def test_a_cancel_is_confirmed_a_step_later(venue: Venue) -> None:
    order = venue.trade(type="limit", limit_price=90)
    venue.cancel(order)
    assert order.status == "pending_cancel"
    venue.step()
    assert venue.events(order)[-2:] == ["pending_cancel", "canceled"]
    with pytest.raises(Refusal, match='already in "canceled" state'):
        venue.cancel(order)


def test_a_cancel_that_comes_too_late_is_rejected(venue: Venue) -> None:
    order = venue.trade(type="limit", limit_price=90)
    venue.cancel(order)
    venue.force(order, "fill")
    assert venue.events(order)[-2:] == ["fill", "order_cancel_rejected"]
    assert order.status == "filled"


def test_event_ids_rise_even_when_the_clock_goes_back(venue: Venue) -> None:
    venue.trade()
    venue.now_ns -= 3600 * 10**9
    venue.trade()
    ids = [event.id for event in venue.account.events]
    assert ids == sorted(set(ids))


def test_the_same_seed_and_calls_give_the_same_events(make_venue: type[Venue]) -> None:
    def run() -> list[Any]:
        venue = make_venue(partial_share=0.5)
        for _ in range(20):
            venue.trade()
        return [event.data for event in venue.account.events]

    assert run() == run()


def test_events_are_taken_once(venue: Venue) -> None:
    venue.trade()
    assert [event.event for _, event in venue.engine.take_events()] == [
        "pending_new",
        "new",
        "fill",
    ]
    assert venue.engine.take_events() == []
