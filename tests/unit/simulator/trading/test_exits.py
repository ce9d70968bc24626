"""Bracket, OCO and OTO orders: which exits live, and what ends them."""

from __future__ import annotations

from typing import Any

import pytest

Venue = Any


@pytest.fixture
def bracket(venue: Venue) -> Any:
    return venue.trade(
        time_in_force="gtc",
        order_class="bracket",
        take_profit={"limit_price": 110},
        stop_loss={"stop_price": 95, "limit_price": 94},
    )


def test_a_filled_bracket_lets_its_profit_side_live_and_watches_the_loss(
    venue: Venue, bracket: Any
) -> None:
    profit, loss = bracket.legs
    assert (bracket.status, profit.status, loss.status) == ("filled", "new", "held")
    assert (profit.side, loss.type) == ("sell", "stop_limit")
    assert [leg["id"] for leg in bracket.as_dict()["legs"]] == [profit.id, loss.id]


def test_the_profit_side_ends_the_loss_side(venue: Venue, bracket: Any) -> None:
    profit, loss = bracket.legs
    venue.market.set("AAPL", "111", "111.1")
    venue.step()
    assert (profit.status, loss.status) == ("filled", "canceled")
    assert venue.held() == 0


def test_the_loss_side_takes_over_what_is_left(venue: Venue, bracket: Any) -> None:
    profit, loss = bracket.legs
    venue.force(profit, "partial_fill", qty=4)
    venue.market.set("AAPL", "94.5", "94.6")
    venue.step()
    assert (profit.status, loss.status) == ("canceled", "filled")
    assert (profit.filled_qty, loss.filled_qty) == (4, 6)
    assert venue.held() == 0


def test_canceling_one_exit_cancels_the_other(venue: Venue, bracket: Any) -> None:
    profit, loss = bracket.legs
    venue.cancel(loss)
    venue.step()
    assert {profit.status, loss.status} == {"canceled"}


def test_exits_of_an_entry_that_never_fills_are_canceled(venue: Venue) -> None:
    entry = venue.trade(
        type="limit",
        limit_price=90,
        order_class="bracket",
        take_profit={"limit_price": 110},
        stop_loss={"stop_price": 80},
    )
    assert [leg.status for leg in entry.legs] == ["held", "held"]
    venue.cancel(entry)
    venue.step()
    assert [leg.status for leg in entry.legs] == ["canceled", "canceled"]
    assert not venue.account.working


def test_exits_of_a_day_bracket_expire_together(venue: Venue) -> None:
    entry = venue.trade(
        order_class="bracket", take_profit={"limit_price": 110}, stop_loss={"stop_price": 80}
    )
    venue.step(5 * 3600)
    assert {leg.status for leg in entry.legs} == {"expired", "canceled"}


def test_an_oco_order_is_its_own_profit_side(venue: Venue) -> None:
    venue.trade()
    order = venue.trade(
        side="sell",
        type="limit",
        time_in_force="gtc",
        order_class="oco",
        take_profit={"limit_price": 110},
        stop_loss={"stop_price": 95},
    )
    (loss,) = order.legs
    assert (order.status, loss.status) == ("new", "held")
    venue.market.set("AAPL", "94", "94.1")
    venue.step()
    assert (order.status, loss.status) == ("canceled", "filled")


def test_an_oto_order_wakes_its_exit(venue: Venue) -> None:
    order = venue.trade(time_in_force="gtc", order_class="oto", stop_loss={"stop_price": 95})
    (loss,) = order.legs
    assert loss.status == "new"
    venue.market.set("AAPL", "94", "94.1")
    venue.step()
    assert loss.status == "filled"


def test_an_exit_can_be_replaced(venue: Venue, bracket: Any) -> None:
    profit, loss = bracket.legs
    higher = venue.replace(profit, limit_price=120)
    lower = venue.replace(loss, stop_price=90, limit_price=89)
    venue.step()
    assert (higher.status, lower.status) == ("new", "held")
    assert bracket.legs == [higher, lower]
    venue.market.set("AAPL", "89.5", "89.6")
    venue.step()
    assert (higher.status, lower.status) == ("canceled", "filled")


def test_an_entry_that_is_replaced_keeps_its_exits(venue: Venue) -> None:
    entry = venue.trade(
        type="limit",
        limit_price=90,
        order_class="bracket",
        take_profit={"limit_price": 110},
        stop_loss={"stop_price": 80},
    )
    better = venue.replace(entry, limit_price=101)
    venue.step()
    assert entry.status == "replaced"
    assert better.status == "filled"
    assert [leg.status for leg in better.legs] == ["new", "held"]
