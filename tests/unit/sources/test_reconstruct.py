"""What is reconstructed from orders and fills is what happened, by the simulator's own account."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.json import encode

from stream_proxy.model.orders import FILLS, OrderEvent, Origin, plain_quantity
from stream_proxy.model.time import parse_rfc3339
from stream_proxy.simulator.trading.chatter import Chatter
from stream_proxy.simulator.trading.engine import Engine, EngineRules
from stream_proxy.simulator.trading.history import (
    ActivityFilter,
    OrderFilter,
    list_activities,
    list_orders,
)
from stream_proxy.simulator.trading.prices import WalkingMarket
from stream_proxy.sources.trading.reconstruct import missing_events
from stream_proxy.wire.alpaca.trade_updates import read_event

START = 1_772_000_000_000_000_000
STEP = 50_000_000
TRACED = FILLS | {"new", "canceled", "expired", "rejected", "replaced"}
"""What leaves a trace in REST."""


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), before=st.integers(0, 150), after=st.integers(1, 150))
def test_random_trading(seed: int, before: int, after: int) -> None:
    """Everything since the record began that leaves a trace, in order, and nothing else."""
    engine = Engine(WalkingMarket(seed), Random(seed), rules=EngineRules(partial_share=0.4))
    account = engine.account("paper", "PK", START)
    chatter = Chatter(engine, account, 12.0, seed, START)
    now = START
    for _ in range(before):
        now += STEP
        chatter.step(now)
        engine.step(now)
    engine.take_events()
    since = now + 1
    for _ in range(after):
        now += STEP
        chatter.step(now)
        engine.step(now)
    happened = [read_event(encode(one.data), Origin.STREAM) for _, one in engine.take_events()]
    orders = list_orders(account, OrderFilter("all", 10_000, ascending=True, nested=True), None)
    fills = list_activities(account, ActivityFilter(10_000, ascending=True), None)

    made, left_out = missing_events(orders, fills, since, told={})

    assert not left_out
    submitted = {order["id"]: parse_rfc3339(order["submitted_at"]) for order in orders}
    expected = [
        event
        for event in happened
        # An order that was submitted before the record is new a moment later, and told as of then.
        if event.event in TRACED and (event.event != "new" or submitted[event.order_id] >= since)
    ]
    assert sorted(e.kind for e in made) == sorted(e.kind for e in expected)
    by_order: dict[str, list[str]] = {}
    for event in expected:
        by_order.setdefault(event.order_id, []).append(event.kind)
    for order_id, kinds in by_order.items():
        assert [e.kind for e in made if e.order_id == order_id] == kinds
    truth = {event.kind: event for event in expected}
    for event in made:
        assert event.origin is Origin.RECONSTRUCTED
        assert event.event == truth[event.kind].event
        assert plain_quantity(event.filled_qty) == plain_quantity(truth[event.kind].filled_qty)
        assert abs(event.timestamp_ns - truth[event.kind].timestamp_ns) < 1_000_000_000


def test_fills_that_rest_doesn_t_show_yet() -> None:
    """An order whose fills don't add up is left out, until nobody waits for them any more."""
    engine = Engine(WalkingMarket(1), Random(1), rules=EngineRules(partial_share=0.0))
    account = engine.account("paper", "PK", START)
    request = {"symbol": "AAPL", "qty": 4, "side": "buy", "type": "market", "time_in_force": "day"}
    engine.submit(account, request, START + 1)
    engine.step(START + STEP)
    orders = list_orders(account, OrderFilter("all", 10, nested=True), None)
    made, left_out = missing_events(orders, [], START, told={})
    assert not made and left_out == orders
    made, left_out = missing_events(orders, [], START, told={}, overdue_ns=START + STEP)
    assert [event.event for event in made] == ["new", "fill"] and not left_out
    assert made[1].filled_qty == "4"


def test_orders_that_were_shown_before_their_fills_happened() -> None:
    """Two answers of REST are of two instants; what is filled has come to the market before."""
    engine = Engine(WalkingMarket(1), Random(1), rules=EngineRules(partial_share=0.0))
    account = engine.account("paper", "PK", START)
    fields = {"symbol": "AAPL", "side": "buy", "qty": 1, "type": "market", "time_in_force": "day"}
    order = engine.submit(account, fields, START)
    orders = list_orders(account, OrderFilter("all", 10, ascending=True, nested=True), None)
    for step in range(1, 20):
        engine.step(START + step * STEP)
    fills = list_activities(account, ActivityFilter(10, ascending=True), None)
    assert orders[0]["status"] == "pending_new" and len(fills) == 1
    made, left_out = missing_events(orders, fills, START, told={})
    assert not left_out
    assert [event.kind for event in made] == [f"{order.id}:new", f"{order.id}:fill:1"]


def test_done_for_the_day_on_two_days() -> None:
    """The second is another event; the same told twice is one, on either side of midnight UTC."""

    def done(updated_at: str) -> OrderEvent:
        order = {
            "id": "o1",
            "status": "done_for_day",
            "submitted_at": "2026-07-01T14:00:00Z",
            "updated_at": updated_at,
        }
        made, _ = missing_events([order], [], 0, told={})
        return made[-1]

    first, again = done("2026-07-01T20:00:00Z"), done("2026-07-02T00:30:00Z")
    second = done("2026-07-02T20:00:00Z")
    assert first.event == "done_for_day"
    assert first.kind == again.kind == "o1:done_for_day:2026-07-01"
    assert second.kind == "o1:done_for_day:2026-07-02"
