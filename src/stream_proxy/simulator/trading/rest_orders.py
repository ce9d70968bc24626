"""REST: orders and positions."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from stream_proxy.simulator.trading.amounts import amount, ninth, text
from stream_proxy.simulator.trading.desk import feed_name
from stream_proxy.simulator.trading.history import (
    OrderFilter,
    holdings_at,
    list_orders,
    order_at,
)
from stream_proxy.simulator.trading.order import Order
from stream_proxy.simulator.trading.positions import Position
from stream_proxy.simulator.trading.refusals import Refusal, forbidden, invalid, not_found
from stream_proxy.simulator.trading.rest import Answer, Call, Route
from stream_proxy.simulator.trading.statements import position_dict

_MOST_ORDERS = 500
_HUNDRED = Decimal(100)


def post_order(call: Call) -> object:
    """Place an order."""
    order = call.desk.engine.submit(call.account, call.body, call.now_ns)
    return order.as_dict()


def get_orders(call: Call) -> object:
    """List orders."""
    faults, feed = call.desk.faults, feed_name(call.account.kind)
    assets = call.desk.engine.assets
    named = [name for name in call.query.get("symbols", "").split(",") if name]
    found = [assets.find(name) for name in named]
    wanted = OrderFilter(
        status=call.choice("status", ("open", "closed", "all"), "open"),
        limit=call.count("limit", 50, _MOST_ORDERS),
        after_ns=call.instant("after"),
        until_ns=call.instant("until"),
        ascending=call.choice("direction", ("asc", "desc"), "desc") == "asc",
        nested=call.flag("nested"),
        symbols=frozenset(
            asset.symbol if asset is not None else name
            for asset, name in zip(found, named, strict=True)
        ),
        side=call.query.get("side") or None,
        asset_class=call.query.get("asset_class") or None,
    )
    if faults.strike("empty_page", feed, call.account.key):
        return []
    return list_orders(call.account, wanted, call.at_ns)


def get_order(call: Call) -> object:
    """One order by id."""
    order = call.desk.engine.find(call.account, call.path["order_id"])
    return _shown(call, order, call.path["order_id"])


def get_order_by_client_id(call: Call) -> object:
    """One order by client order id."""
    name = call.query.get("client_order_id", "")
    order = call.account.by_client_id.get(name)
    if order is None:
        raise not_found(f"order not found for {name[:128]}")
    return _shown(call, order, name)


def _shown(call: Call, order: Order, name: str) -> dict[str, Any]:
    fields = order_at(order, call.at_ns)
    if fields is None:
        raise not_found(f"order not found for {name[:128]}")
    return fields


def patch_order(call: Call) -> object:
    """Replace an order."""
    engine = call.desk.engine
    return engine.replace(call.account, call.path["order_id"], call.body, call.now_ns).as_dict()


def delete_order(call: Call) -> object:
    """Cancel an order."""
    call.desk.engine.cancel(call.account, call.path["order_id"], call.now_ns)
    return Answer(204)


def delete_orders(call: Call) -> object:
    """Cancel all open orders."""
    return Answer(207, _cancel_all(call))


def _cancel_all(call: Call) -> list[dict[str, Any]]:
    answers = []
    for order in list(call.account.working.values()):
        # Exits are canceled with their entry, a successor with its predecessor.
        waits = order.replaces is not None and order.status == "pending_new"
        if not order.open or waits or (order.parent is not None and order.parent.open):
            continue
        try:
            call.desk.engine.cancel(call.account, order.id, call.now_ns)
            answers.append({"id": order.id, "status": 200, "body": order.as_dict()})
        except Refusal as refusal:
            answers.append({"id": order.id, "status": refusal.status, "body": refusal.body()})
    return answers


def get_positions(call: Call) -> object:
    """List positions."""
    market = call.desk.engine.market
    return [
        position_dict(call.account, position, market, call.now_ns)
        for position in holdings_at(call.account, call.at_ns).positions.values()
    ]


def get_position(call: Call) -> object:
    """One position."""
    position = _position(call)
    return position_dict(call.account, position, call.desk.engine.market, call.now_ns)


def _position(call: Call) -> Position:
    asset = call.desk.engine.assets.find(call.path["symbol"])
    held = holdings_at(call.account, call.at_ns).positions
    position = held.get(asset.symbol) if asset is not None else None
    if position is None:
        raise not_found("position does not exist")
    return position


def delete_position(call: Call) -> object:
    """Close a position, or a part of it."""
    position = _position(call)
    qty, percentage = call.query.get("qty"), call.query.get("percentage")
    held = abs(position.qty)
    if qty and percentage:
        raise invalid("only one of qty or percentage is accepted")
    wanted = held
    if qty or percentage:
        number = amount(qty or percentage)
        if number is None or number <= 0 or (percentage and number > _HUNDRED):
            raise invalid("qty and percentage must be greater than 0, percentage at most 100")
        wanted = ninth(held * number / _HUNDRED) if percentage else number
    if wanted > held:
        raise forbidden("insufficient qty available for order", existing_qty=text(held))
    return _close(call, position, wanted).as_dict()


def _close(call: Call, position: Position, qty: Decimal) -> Order:
    pair = position.asset.kind == "crypto"
    fields: dict[str, object] = {
        "symbol": position.asset.symbol,
        "qty": text(qty),
        "side": "sell" if position.qty > 0 else "buy",
        "type": "market",
        "time_in_force": "gtc" if pair else "day",
    }
    return call.desk.engine.submit(call.account, fields, call.now_ns)


def delete_positions(call: Call) -> object:
    """Close all positions."""
    if call.flag("cancel_orders"):
        _cancel_all(call)
        # Canceling takes the engine a step; what the orders held must be free before.
        call.desk.engine.step(call.now_ns)
    answers = []
    for symbol, position in list(call.account.holdings.positions.items()):
        try:
            body = _close(call, position, abs(position.qty)).as_dict()
            answers.append({"symbol": symbol, "status": 200, "order_id": body["id"], "body": body})
        except Refusal as refusal:
            answers.append({"symbol": symbol, "status": refusal.status, "body": refusal.body()})
    return Answer(207, answers)


ROUTES: list[Route] = [
    ("POST", "/v2/orders", post_order),
    ("GET", "/v2/orders", get_orders),
    ("DELETE", "/v2/orders", delete_orders),
    ("GET", "/v2/orders:by_client_order_id", get_order_by_client_id),
    ("GET", "/v2/orders/{order_id}", get_order),
    ("PATCH", "/v2/orders/{order_id}", patch_order),
    ("DELETE", "/v2/orders/{order_id}", delete_order),
    ("GET", "/v2/positions", get_positions),
    ("DELETE", "/v2/positions", delete_positions),
    ("GET", "/v2/positions/{symbol:path}", get_position),
    ("DELETE", "/v2/positions/{symbol:path}", delete_position),
]
