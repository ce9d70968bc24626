"""Replacing an order: two orders, and races between the change and the market."""

from __future__ import annotations

from typing import Any

import pytest

from stream_proxy.simulator.trading.refusals import Refusal

Venue = Any


@pytest.fixture
def resting(venue: Venue) -> Any:
    return venue.trade(type="limit", limit_price=90, time_in_force="gtc")


def test_the_new_order_takes_over(venue: Venue, resting: Any) -> None:
    new = venue.replace(resting, qty=5, limit_price=91, client_order_id="second")
    assert (new.status, resting.status) == ("pending_new", "pending_replace")
    venue.step()
    assert (resting.status, resting.replaced_by, new.replaces) == ("replaced", new.id, resting.id)
    assert (new.status, new.qty, new.client_order_id) == ("new", 5, "second")
    assert [(e.event, e.order_id) for e in venue.account.events[2:]] == [
        ("pending_replace", resting.id),
        ("replaced", resting.id),
        ("new", new.id),
    ]


def test_a_fill_that_comes_first_rejects_the_change(venue: Venue, resting: Any) -> None:
    new = venue.replace(resting, limit_price=91)
    venue.force(resting, "fill")
    venue.step()
    assert (resting.status, new.status) == ("filled", "rejected")
    assert venue.events(resting)[-2:] == ["fill", "order_replace_rejected"]
    assert not venue.account.working


def test_a_cancel_during_a_change_ends_both(venue: Venue, resting: Any) -> None:
    new = venue.replace(resting, limit_price=91)
    venue.cancel(resting)
    venue.step()
    assert (resting.status, new.status) == ("canceled", "rejected")
    assert not venue.account.working


def test_what_was_filled_is_not_ordered_again(venue: Venue, resting: Any) -> None:
    venue.force(resting, "partial_fill", qty=4)
    new = venue.replace(resting, limit_price=91)
    assert new.qty == 6


def test_the_trail_of_a_trailing_stop_changes(venue: Venue) -> None:
    venue.trade()
    order = venue.trade(side="sell", type="trailing_stop", trail_percent=5)
    new = venue.replace(order, trail=1)
    venue.step()
    assert (new.trail_percent, new.stop_price) == (1, 99)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "at least one of"),
        ({"qty": "x"}, "qty must be a number"),
        ({"qty": 1.5}, "whole number"),
        ({"stop_price": 5}, "limit orders have no stop_price"),
        ({"time_in_force": "opg"}, "invalid time_in_force"),
    ],
)
def test_what_is_refused(venue: Venue, resting: Any, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(Refusal, match=says):
        venue.replace(resting, **changes)
    assert resting.status == "new"


def test_an_order_is_not_replaced_twice_at_once(venue: Venue, resting: Any) -> None:
    venue.replace(resting, limit_price=91)
    with pytest.raises(Refusal, match="pending_replace"):
        venue.replace(resting, limit_price=92)


def test_less_than_is_filled_is_refused(venue: Venue, resting: Any) -> None:
    venue.force(resting, "partial_fill", qty=4)
    with pytest.raises(Refusal, match="greater than filled_qty"):
        venue.replace(resting, qty=4)


def test_a_fill_after_a_cancel_during_a_change_ends_the_successor(
    venue: Venue, resting: Any
) -> None:
    new = venue.replace(resting, limit_price=91)
    venue.cancel(resting)
    venue.force(resting, "fill")
    venue.step()
    assert venue.events(resting)[-3:] == [
        "fill",
        "order_cancel_rejected",
        "order_replace_rejected",
    ]
    assert new.status == "rejected"


def test_a_successor_can_be_canceled_before_it_takes_over(venue: Venue, resting: Any) -> None:
    new = venue.replace(resting, limit_price=101)
    venue.cancel(new)
    venue.step()
    assert (resting.status, new.status) == ("replaced", "canceled")


def test_without_a_successor_the_order_goes_on(venue: Venue, resting: Any) -> None:
    new = venue.replace(resting, limit_price=91)
    venue.force(new, "rejected")
    venue.step()
    assert (resting.status, resting.replaced_by) == ("new", None)
    assert venue.events(resting)[-1] == "order_replace_rejected"
