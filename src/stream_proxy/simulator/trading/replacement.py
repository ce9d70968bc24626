"""Changing an order: a new order takes over from the old one.

Source: Alpaca, "Replace an Order". What a change of a partly filled order leaves is not
documented; here the new order is for what is asked, or for what remains if nothing is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from stream_proxy.simulator.trading.amounts import amount
from stream_proxy.simulator.trading.identifiers import Identifiers
from stream_proxy.simulator.trading.order import Order
from stream_proxy.simulator.trading.order_request import client_order_id
from stream_proxy.simulator.trading.refusals import Refusal, invalid
from stream_proxy.simulator.trading.sessions import expiry

_REPLACEABLE = frozenset({"new", "partially_filled", "accepted", "pending_new", "held"})
_PRICES_OF = {
    "market": (),
    "limit": ("limit_price",),
    "stop": ("stop_price",),
    "stop_limit": ("limit_price", "stop_price"),
    "trailing_stop": ("trail",),
}


@dataclass(frozen=True, slots=True)
class Changes:
    """What shall be different; None stays as it is."""

    qty: Decimal | None
    time_in_force: str | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    trail: Decimal | None
    client_order_id: str | None


def check_replaceable(order: Order) -> None:
    """Refuse what can't be changed any more.

    Raises:
        Refusal: the order has ended, or a change or a cancel is under way.
    """
    if not order.open:
        raise invalid(f'order is already in "{order.status}" state')
    if order.status not in _REPLACEABLE or order.role == "mleg_leg":
        raise Refusal(422, 42210000, f"cannot replace order in {order.status} status")


def read_changes(order: Order, fields: Mapping[str, object]) -> Changes:
    """Check the body of a replacement against the order.

    Raises:
        Refusal: nothing changes, or something can't.
    """
    numbers: dict[str, Decimal | None] = {}
    for name in ("qty", "limit_price", "stop_price", "trail"):
        value = fields.get(name)
        number = None if value is None or value == "" else amount(value)
        credit = order.multi_leg and name == "limit_price"
        if value not in (None, "") and (number is None or (number <= 0 and not credit)):
            raise invalid(f"{name} must be a number greater than 0")
        if number is not None and name != "qty" and name not in _PRICES_OF[order.type]:
            raise invalid(f"{order.type} orders have no {name}")
        numbers[name] = number
    qty = numbers["qty"]
    if qty is not None:
        if order.qty is None or order.qty != order.qty.to_integral_value():
            raise invalid("qty of fractional and notional orders can't be changed")
        if order.multi_leg or order.legs:
            raise invalid("qty of orders with legs can't be changed: cancel and order anew")
        if qty != qty.to_integral_value():
            raise invalid("qty must be a whole number")
        if qty <= order.filled_qty:
            raise invalid("qty must be greater than filled_qty")
    time_in_force = fields.get("time_in_force") or None
    if time_in_force not in (None, "day", "gtc", "ioc", "fok"):
        raise invalid("invalid time_in_force: one of day, gtc, ioc, fok")
    changes = Changes(
        qty,
        str(time_in_force) if time_in_force else None,
        numbers["limit_price"],
        numbers["stop_price"],
        numbers["trail"],
        client_order_id(fields),
    )
    if changes == Changes(None, None, None, None, None, None):
        raise invalid("at least one of qty, time_in_force or a price must be given")
    return changes


def successor(order: Order, changes: Changes, identifiers: Identifiers, now_ns: int) -> Order:
    """The order that shall take over."""
    time_in_force = changes.time_in_force or order.time_in_force
    new = Order(
        id=identifiers.uuid(),
        client_order_id=changes.client_order_id or identifiers.uuid(),
        symbol=order.symbol,
        asset_class=order.asset_class,
        asset_id=order.asset_id,
        side=order.side,
        type=order.type,
        time_in_force=time_in_force,
        created_ns=now_ns,
        updated_ns=now_ns,
        submitted_ns=now_ns,
        qty=changes.qty or order.remaining,
        notional=order.notional,
        limit_price=order.limit_price if changes.limit_price is None else changes.limit_price,
        stop_price=changes.stop_price or order.stop_price,
        trail_price=order.trail_price,
        trail_percent=order.trail_percent,
        hwm=order.hwm,
        order_class=order.order_class,
        extended_hours=order.extended_hours,
        position_intent=order.position_intent,
        unit_cost=order.unit_cost,
        expires_ns=expiry(time_in_force, order.extended_hours, now_ns),
        due_ns=order.due_ns,
        replaces=order.id,
        role=order.role,
        parent=order.parent,
        trigger_met=order.trigger_met,
    )
    if changes.trail is not None:
        if order.trail_price is not None:
            new.trail_price = changes.trail
        else:
            new.trail_percent = changes.trail
        new.hwm = None
    return new
