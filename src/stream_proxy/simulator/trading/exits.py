"""Bracket, OCO and OTO orders: the orders that leave what their parent entered.

Source: Alpaca, "Bracket Orders", "OCO Orders" and "OTO Orders". Exits wait as ``held``. A filled
bracket entry lets its take-profit become ``new``; the stop-loss stays ``held`` and is watched,
since only one of the two can rest at the market. When one exit ends, the other is canceled.
"""

from __future__ import annotations

from decimal import Decimal

from stream_proxy.simulator.trading.identifiers import Identifiers
from stream_proxy.simulator.trading.order import Order
from stream_proxy.simulator.trading.order_request import OrderRequest

_OPPOSITE = {"buy": "sell", "sell": "buy"}


def exit_orders(
    entry: Order, request: OrderRequest, identifiers: Identifiers, now_ns: int
) -> list[Order]:
    """The held exits of a new order; an OCO order is its own take-profit."""
    side = entry.side if request.order_class == "oco" else _OPPOSITE[entry.side]
    made = []
    if request.take_profit is not None and request.order_class != "oco":
        made.append(_exit(entry, "take_profit", side, identifiers, now_ns))
        made[-1].type, made[-1].limit_price = "limit", request.take_profit
    if request.stop_loss is not None:
        made.append(_exit(entry, "stop_loss", side, identifiers, now_ns))
        made[-1].type = "stop" if request.stop_loss_limit is None else "stop_limit"
        made[-1].stop_price = request.stop_loss
        made[-1].limit_price = request.stop_loss_limit
    return made


def _exit(entry: Order, role: str, side: str, identifiers: Identifiers, now_ns: int) -> Order:
    return Order(
        id=identifiers.uuid(),
        client_order_id=identifiers.uuid(),
        symbol=entry.symbol,
        asset_class=entry.asset_class,
        asset_id=entry.asset_id,
        side=side,
        type="limit",
        time_in_force=entry.time_in_force,
        created_ns=now_ns,
        updated_ns=now_ns,
        submitted_ns=now_ns,
        qty=entry.qty,
        order_class=entry.order_class,
        expires_ns=entry.expires_ns,
        status="held",
        role=role,
        parent=entry,
    )


def rivals(order: Order) -> list[Order]:
    """The other exits for the same quantity, that end when this one does."""
    parent = order.parent
    if parent is None:
        # An OCO order is itself an exit.
        return order.legs if order.order_class == "oco" else []
    others = [leg for leg in parent.legs if leg is not order and leg.role != "mleg_leg"]
    return [*others, parent] if parent.order_class == "oco" else others


def woken_by_fill(order: Order) -> Order | None:
    """Which held exit goes to the market now that this entry is filled."""
    match order.order_class:
        case "bracket":
            wanted = [leg for leg in order.legs if leg.role == "take_profit"]
        case "oto":
            wanted = list(order.legs)
        case _:
            wanted = []
    return next((leg for leg in wanted if leg.status == "held"), None)


def is_watched(order: Order) -> bool:
    """Whether a held stop-loss can be triggered now: what it protects is there."""
    parent = order.parent
    if parent is None or order.status != "held" or order.role != "stop_loss":
        return False
    if parent.order_class == "oco":
        return parent.status in ("new", "partially_filled")
    return parent.order_class == "bracket" and parent.status == "filled"


def left_to_protect(order: Order) -> Decimal | None:
    """What the rivals have not yet traded of a stop-loss's quantity."""
    traded = sum((rival.filled_qty for rival in rivals(order)), Decimal(0))
    return None if order.qty is None else order.qty - traded
