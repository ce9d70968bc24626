"""What is reconstructed from orders and fills is what happened, by the simulator's own account."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.json import encode

from stream_proxy.model.orders import FILLS, KnownOrder, Origin, plain_quantity
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
def test_a_gap_in_random_trading(seed: int, before: int, after: int) -> None:
    """Everything that happened after an instant and leaves a trace, in order, nothing else."""
    engine = Engine(WalkingMarket(seed), Random(seed), rules=EngineRules(partial_share=0.4))
    account = engine.account("paper", "PK", START)
    chatter = Chatter(engine, account, 12.0, seed, START)
    now = START
    known: dict[str, KnownOrder] = {}
    for _ in range(before):
        now += STEP
        chatter.step(now)
        engine.step(now)
    for _, happened in engine.take_events():
        event = read_event(encode(happened.data), Origin.STREAM)
        known[event.order_id] = KnownOrder(
            event.order_id, event.status, event.filled_qty, event.submitted_ns
        )
    for _ in range(after):
        now += STEP
        chatter.step(now)
        engine.step(now)
    happened_in_gap = [
        read_event(encode(one.data), Origin.STREAM) for _, one in engine.take_events()
    ]
    orders = list_orders(account, OrderFilter("all", 10_000, ascending=True, nested=True), None)
    fills = list_activities(account, ActivityFilter(10_000, ascending=True), None)

    made = missing_events(known, orders, fills, START)

    expected = [e for e in happened_in_gap if e.event in TRACED]
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
