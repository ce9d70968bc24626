"""From a checked request to order objects."""

from __future__ import annotations

from stream_proxy.simulator.trading.identifiers import NOBODY, Identifiers
from stream_proxy.simulator.trading.matching import trail
from stream_proxy.simulator.trading.order import Order
from stream_proxy.simulator.trading.order_request import LegRequest, OrderRequest
from stream_proxy.simulator.trading.prices import TradingMarket
from stream_proxy.simulator.trading.sessions import auction, expiry


def single_order(
    request: OrderRequest, identifiers: Identifiers, market: TradingMarket, now_ns: int
) -> Order:
    """An order for one asset, still without exits."""
    asset = request.asset
    assert asset is not None
    order = Order(
        id=identifiers.uuid(),
        client_order_id=request.client_order_id or identifiers.uuid(),
        symbol=asset.symbol,
        asset_class=asset.kind,
        asset_id=asset.id,
        side=request.side,
        type=request.type,
        time_in_force=request.time_in_force,
        created_ns=now_ns,
        updated_ns=now_ns,
        submitted_ns=now_ns,
        qty=request.qty,
        notional=request.notional,
        limit_price=request.limit_price,
        stop_price=request.stop_price,
        trail_price=request.trail_price,
        trail_percent=request.trail_percent,
        order_class=request.order_class,
        extended_hours=request.extended_hours,
        position_intent=request.position_intent,
        expires_ns=expiry(request.time_in_force, request.extended_hours, now_ns),
        due_ns=auction(request.time_in_force, now_ns),
    )
    if order.type == "trailing_stop":
        quote = market.quote(order.symbol, now_ns)
        if quote is not None:
            trail(order, quote)
    return order


def multi_leg_order(request: OrderRequest, identifiers: Identifiers, now_ns: int) -> Order:
    """A multi-leg order: a nameless parent, and a leg for each contract."""
    order = Order(
        id=identifiers.uuid(),
        client_order_id=request.client_order_id or identifiers.uuid(),
        symbol="",
        asset_class="",
        asset_id=NOBODY,
        side=request.side,
        type=request.type,
        time_in_force=request.time_in_force,
        created_ns=now_ns,
        updated_ns=now_ns,
        submitted_ns=now_ns,
        qty=request.qty,
        limit_price=request.limit_price,
        order_class="mleg",
        expires_ns=expiry(request.time_in_force, False, now_ns),
    )
    order.legs = [_leg(order, leg, identifiers) for leg in request.legs]
    return order


def _leg(parent: Order, leg: LegRequest, identifiers: Identifiers) -> Order:
    assert parent.qty is not None
    return Order(
        id=identifiers.uuid(),
        client_order_id=identifiers.uuid(),
        symbol=leg.asset.symbol,
        asset_class=leg.asset.kind,
        asset_id=leg.asset.id,
        side=leg.side,
        type=parent.type,
        time_in_force=parent.time_in_force,
        created_ns=parent.created_ns,
        updated_ns=parent.created_ns,
        submitted_ns=parent.created_ns,
        qty=parent.qty * leg.ratio_qty,
        ratio_qty=leg.ratio_qty,
        order_class="mleg",
        position_intent=leg.position_intent,
        role="mleg_leg",
        parent=parent,
    )
