"""Order updates lose nothing on their way into the contract, and always give a message."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import msgspec
import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream_proxy.model.orders import OrderEvent, OrderRecord, Origin
from stream_proxy.model.time import NS_PER_SECOND, parse_rfc3339
from stream_proxy.simulator.trading.engine import Engine, EngineRules
from stream_proxy.simulator.trading.forcing import EVENTS, force
from stream_proxy.simulator.trading.order import Order
from stream_proxy.simulator.trading.prices import HandMarket
from stream_proxy.wire.alpaca.trade_updates import read_event
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb
from stream_proxy.wire.grpc.orders import order_update, order_updates_response

NOON_NS = parse_rfc3339("2026-11-18T12:00:00-05:00")
FROM_THE_BEGINNING = ("accepted", "accepted_for_bidding", "held", "pending_new", "pending_review")
"""Events that come before an order is at the market."""
CALL, HIGHER_CALL = "AAPL261218C00100000", "AAPL261218C00110000"


class Venue:
    """A simulated venue with one account; every call is a second after the one before."""

    def __init__(self) -> None:
        self.market = HandMarket()
        self.market.set("AAPL", "100", "100.02")
        self.market.set("BTC/USD", "50000", "50010")
        self.market.set(CALL, "2.00", "2.10", size="3")
        self.market.set(HIGHER_CALL, "1.00", "1.05", size="5")
        self.engine = Engine(self.market, Random(7), rules=EngineRules())
        self.now_ns = NOON_NS
        self.account = self.engine.account("paper", "PK1", self.now_ns)

    def tick(self) -> int:
        self.now_ns += NS_PER_SECOND
        return self.now_ns

    def submit(self, **fields: Any) -> Order:
        usual = {"side": "buy", "type": "market", "time_in_force": "day"}
        return self.engine.submit(self.account, usual | fields, self.tick())

    def step(self) -> None:
        self.engine.step(self.tick())


def all_sorts() -> list[dict[str, Any]]:
    """Every event that there is, and every kind of order."""
    venue = Venue()
    for event in EVENTS:
        order = venue.submit(symbol="AAPL", qty=10, type="limit", limit_price=90)
        if event not in FROM_THE_BEGINNING:
            venue.step()
        if event in ("order_cancel_rejected", "pending_cancel"):
            venue.engine.cancel(venue.account, order.id, venue.tick())
        if event in ("order_replace_rejected", "replaced"):
            venue.engine.replace(venue.account, order.id, {"limit_price": 91}, venue.tick())
        force(venue.engine, venue.account, order, event, venue.tick())
    exits = {
        "take_profit": {"limit_price": 110},
        "stop_loss": {"stop_price": 95, "limit_price": 94},
    }
    venue.submit(symbol="AAPL", qty=2, time_in_force="gtc", order_class="bracket", **exits)
    venue.submit(symbol="AAPL", notional=250)
    venue.submit(symbol="BTC/USD", qty="0.123456789", time_in_force="gtc")
    trailing = {"side": "sell", "type": "trailing_stop", "trail_percent": 5}
    venue.submit(symbol="AAPL", qty=1, time_in_force="gtc", **trailing)
    stop = {"type": "stop_limit", "stop_price": 120, "limit_price": 121}
    venue.submit(symbol="AAPL", qty=1, extended_hours=False, client_order_id="mine-µ", **stop)
    legs = [
        {"symbol": CALL, "ratio_qty": 1, "side": "buy", "position_intent": "buy_to_open"},
        {"symbol": HIGHER_CALL, "ratio_qty": 1, "position_intent": "sell_to_open"},
    ]
    spread = {"order_class": "mleg", "type": "limit", "limit_price": "1.20", "legs": legs}
    venue.submit(qty=2, **spread)
    for _ in range(5):
        venue.step()
    return [event.data for event in venue.account.events]


@pytest.fixture(scope="module")
def updates() -> list[dict[str, Any]]:
    return all_sorts()


def told(data: Mapping[str, Any], origin: Origin = Origin.STREAM) -> pb.OrderUpdate:
    return order_update(read_event(msgspec.json.encode(data), origin))


ENUMS = {
    "asset_class": (pb.AssetClass, "ASSET_CLASS"),
    "order_class": (pb.OrderClass, "ORDER_CLASS"),
    "order_type": (pb.OrderType, "ORDER_TYPE"),
    "side": (pb.OrderSide, "ORDER_SIDE"),
    "time_in_force": (pb.TimeInForce, "TIME_IN_FORCE"),
}


def same(message: Message, values: Mapping[str, Any], elsewhere: tuple[str, ...] = ()) -> None:
    """Every key of an object has a field of its name, with its value."""
    for key, value in values.items():
        if key in elsewhere:
            continue
        field = message.DESCRIPTOR.fields_by_name[key]
        there = getattr(message, key)
        if value is None:
            assert key not in {f.name for f, _ in message.ListFields()}, key
        elif key in ENUMS and field.enum_type:
            enum, prefix = ENUMS[key]
            word = "simple" if (key, value) == ("order_class", "") else value or "unspecified"
            assert enum.Name(there) == f"{prefix}_{word.upper()}"
            if f"{key}_name" in message.DESCRIPTOR.fields_by_name:
                assert getattr(message, f"{key}_name") == value
        elif isinstance(there, Timestamp):
            assert message.HasField(key) and there.ToNanoseconds() == parse_rfc3339(value), key
        else:
            assert there == value, key


def test_nothing_is_left_out(updates: list[dict[str, Any]]) -> None:
    """Key by key: of the event, of its order, and of the order's legs."""
    for data in updates:
        made = told(data)
        order = data["order"]
        same(made, data, elsewhere=("event", "order", "legs"))
        assert made.event_name == data["event"]
        assert order["order_type"] == order["type"]
        same(made.order, order, elsewhere=("type", "legs"))
        legs = order["legs"] or []
        assert len(made.order.legs) == len(made.order.leg_details) == len(legs)
        for short, full, leg in zip(made.order.legs, made.order.leg_details, legs, strict=True):
            same(full, leg, elsewhere=("type", "legs"))
            same(short, {f.name: leg[f.name] for f in short.DESCRIPTOR.fields})
        executions = data.get("legs", [])
        assert len(made.leg_executions) == len(executions)
        for execution, leg in zip(made.leg_executions, executions, strict=True):
            same(execution, leg)
    orders = [data["order"] for data in updates]
    assert {order["order_class"] for order in orders} >= {"", "bracket", "mleg"}
    assert {order["asset_class"] for order in orders} >= {"us_equity", "crypto", ""}
    assert any(data.get("position_qtys") for data in updates)


def test_every_event_has_its_value(updates: list[dict[str, Any]]) -> None:
    values = {data["event"]: pb.OrderEvent.Name(told(data).event) for data in updates}
    assert set(values) >= set(EVENTS)
    assert values == {event: f"ORDER_EVENT_{event.upper()}" for event in values}


def test_its_place_comes_with_it(updates: list[dict[str, Any]]) -> None:
    for origin, back_filled, reconstructed in (
        (Origin.STREAM, False, False), (Origin.REPLAYED, True, False),
        (Origin.RECONSTRUCTED, True, True),
    ):  # fmt: skip
        event = read_event(msgspec.json.encode(updates[0]), origin)
        record = OrderRecord("live", "01JEPOCH", 2**40, NOON_NS + 7, event)
        made = order_updates_response(record, "alpaca")
        assert (made.account, made.epoch, made.sequence) == ("live", "01JEPOCH", 2**40)
        assert made.received_at.ToNanoseconds() == NOON_NS + 7
        assert (made.source, made.back_filled) == ("alpaca", back_filled)
        assert made.reconstructed == reconstructed
        assert made.update == order_update(event)


def test_words_of_the_future(updates: list[dict[str, Any]]) -> None:
    """A value that the contract doesn't have is unspecified, and told as it is."""
    order = dict.fromkeys(
        ("type", "side", "time_in_force", "asset_class", "order_class"), "sürprise"
    )
    made = told({"event": "exploded", "order": {**updates[0]["order"], **order}})
    assert (made.event, made.event_name) == (pb.ORDER_EVENT_UNSPECIFIED, "exploded")
    for name in ENUMS:
        assert getattr(made.order, name) == 0
        assert getattr(made.order, f"{name}_name") == "sürprise"


def test_numbers_are_told_in_plain_digits() -> None:
    made = told({"event": "fill", "price": 1e-9, "qty": 10, "order": {"id": "o", "qty": 1.5}})
    assert (made.price, made.qty, made.order.qty) == ("0.000000001", "10", "1.5")
    assert not made.HasField("position_qty")


def test_what_cannot_be_read_gives_what_the_journal_knows() -> None:
    event = OrderEvent("fill", "o1", NOON_NS, b"{", "e1", "x1", "filled", "7")
    made = order_update(event)
    assert (made.event, made.order.id, made.event_id) == (pb.ORDER_EVENT_FILL, "o1", "e1")
    assert (made.order.status, made.order.filled_qty) == ("filled", "7")
    assert made.timestamp.ToNanoseconds() == NOON_NS


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = sorted(
    {f.name for m in (pb.OrderUpdate, pb.OrderDetails) for f in m.DESCRIPTOR.fields} | {"type"}
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # of a machine with much else to do
@given(
    st.dictionaries(st.sampled_from(KEYS), json),
    st.dictionaries(st.sampled_from(KEYS), json),
    st.sampled_from(
        [None, "0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00", "2026-02-30T00:00:00Z"]
    ),
)
def test_there_is_always_a_message(
    data: dict[str, Any], order: dict[str, Any], instant: str | None
) -> None:
    """Whatever an event holds beside its name and its order's."""
    order = {**order, "id": "o1", "created_at": instant, "legs": [order, 7, dict(order)]}
    encoded = msgspec.json.encode(data | {"event": "new", "order": order})
    made = order_update(OrderEvent("new", "o1", NOON_NS, encoded))
    assert (made.event, made.order.id) == (pb.ORDER_EVENT_NEW, "o1")
    assert pb.OrderUpdate.FromString(made.SerializeToString()) == made


def test_legs_of_legs_exhaust_nothing() -> None:
    deep = b'{"id":"o","legs":[' * 300 + b"]}" * 300
    made = order_update(OrderEvent("new", "o", NOON_NS, b'{"event":"new","order":' + deep + b"}"))
    assert len(made.order.leg_details) == 1
