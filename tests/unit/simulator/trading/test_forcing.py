"""Every event can be made to happen, and none that can't follow."""

from __future__ import annotations

from typing import Any

import pytest

from stream_proxy.simulator.trading.announcements import RARE_EVENTS
from stream_proxy.simulator.trading.forcing import EVENTS
from stream_proxy.simulator.trading.refusals import Refusal

Venue = Any

DOCUMENTED = {
    *("accepted", "pending_new", "new", "partial_fill", "fill", "done_for_day", "canceled"),
    *("expired", "replaced", "rejected", "stopped", "pending_cancel", "pending_replace"),
    *("calculated", "suspended", "order_replace_rejected", "order_cancel_rejected", "restated"),
    *("held", "pending_review"),
}
"""The protocol reference, section 6.4."""


def test_every_documented_event_can_be_forced() -> None:
    assert set(EVENTS) >= DOCUMENTED


@pytest.mark.parametrize("event", [*RARE_EVENTS, "restated", "canceled", "expired", "rejected"])
def test_each_from_the_moment_an_order_is_there(venue: Venue, event: str) -> None:
    order = venue.submit(type="limit", limit_price=90)
    if event in ("done_for_day", "stopped", "calculated"):
        venue.step()
    venue.force(order, event)
    assert venue.events(order)[-1] == event
    if event not in ("restated",):
        assert order.status == event


def test_a_rare_status_stops_trading_until_new(venue: Venue) -> None:
    order = venue.trade(type="limit", limit_price=90)
    venue.force(order, "suspended")
    venue.market.set("AAPL", "80", "80.1")
    venue.step()
    assert order.status == "suspended"
    venue.force(order, "new")
    venue.step()
    assert order.status == "filled"


def test_partial_fills_leave_something(venue: Venue) -> None:
    order = venue.trade(type="limit", limit_price=90)
    venue.force(order, "partial_fill")
    assert order.filled_qty == 5
    with pytest.raises(Refusal, match="must fit what remains"):
        venue.force(order, "partial_fill", qty=5)
    venue.force(order, "fill", price=89)
    assert order.status == "filled"


@pytest.mark.parametrize("event", ["fill", "canceled", "new", "suspended", "replaced"])
def test_a_final_order_stays_as_it_is(venue: Venue, event: str) -> None:
    order = venue.trade()
    before = len(venue.account.events)
    with pytest.raises(Refusal):
        venue.force(order, event)
    assert order.status == "filled"
    assert len(venue.account.events) == before


def test_a_refused_cancel_leaves_the_order_at_work(venue: Venue) -> None:
    order = venue.trade(type="limit", limit_price=90)
    venue.cancel(order)
    venue.force(order, "order_cancel_rejected")
    assert order.status == "new"
    venue.step()
    assert order.status == "new"


def test_a_refused_change_ends_the_successor(venue: Venue) -> None:
    order = venue.trade(type="limit", limit_price=90)
    new = venue.replace(order, limit_price=91)
    venue.force(order, "order_replace_rejected")
    venue.step()
    assert (order.status, new.status) == ("new", "rejected")


def test_unknown_events_are_named(venue: Venue) -> None:
    order = venue.trade(type="limit", limit_price=90)
    with pytest.raises(Refusal, match="no event is called 'exploded'; there are fill"):
        venue.force(order, "exploded")
