"""Make the events that must have happened, from what orders and fills say now. Pure.

Theory. REST tells where each order stands, and each of its fills. From that follow: that it came to
be, its fills one by one, and how it ended. What leaves no trace in REST (``pending_new``,
``pending_cancel``, …) can't follow.
Each made event carries the order as it stood then, as far as that can be told.
Source: Alpaca, "Orders", "Account Activities", "WebSocket Streaming" (trading).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from stream_proxy.model.orders import OrderEvent, Origin
from stream_proxy.model.time import parse_rfc3339, rfc3339
from stream_proxy.wire.alpaca.trade_updates import RECONSTRUCTED_KEY, read_event

_ENDED_AT = {
    "canceled": "canceled_at",
    "expired": "expired_at",
    "rejected": "failed_at",
    "replaced": "replaced_at",
}


def missing_events(
    orders: Iterable[Mapping[str, Any]],
    fills: Sequence[Mapping[str, Any]],
    since_ns: int,
    *,
    aggregate: bool = False,
) -> tuple[list[OrderEvent], int]:
    """Give what happened to these orders since the record began, oldest first.

    Each order's life is made from its beginning, and what is known of it falls out in the journal:
    that some event of an order is known doesn't say that those before it are.
    Also gives the number of orders that were left out, because their fills don't add up yet.

    Args:
        orders, fills: as REST gives them; legs are looked at where they are nested.
        since_ns: when the record began; what happened before isn't told.
        aggregate: make one fill of what the account's record of fills doesn't show, rather than
            leave the order out until it does.
    """
    by_order: dict[str, list[Mapping[str, Any]]] = {}
    for fill in fills:
        by_order.setdefault(str(fill.get("order_id")), []).append(fill)
    made: list[OrderEvent] = []
    left_out = 0
    for order, surely in _with_legs(orders):
        events = _of_order(order, by_order.get(str(order["id"]), ()), aggregate, surely)
        if events is None:
            left_out += 1
        else:
            made += [event for event in events if event.timestamp_ns >= since_ns]
    # Stable: what happened in one instant to one order stays in the order of its life.
    return sorted(made, key=lambda event: event.timestamp_ns), left_out


def _with_legs(
    orders: Iterable[Mapping[str, Any]],
) -> Iterable[tuple[Mapping[str, Any], bool]]:
    """Orders and their exits, and whether each surely came to the market.

    An exit is held, and no event tells of it, until its entry is filled; then the take-profit
    goes to the market, or the only exit. The other stays held until it is triggered. The legs of
    a multi-leg order have no events of their own.
    """
    seen: set[str] = set()
    for order in orders:
        legs = order.get("legs") or ()
        exits = [] if order.get("order_class") == "mleg" else legs
        # One that was replaced has given its exits to its successor.
        is_exit = (
            not legs
            and order.get("order_class") in ("bracket", "oto", "oco")
            and order.get("status") != "replaced"
        )
        entered = order.get("order_class") != "oco" and order.get("status") == "filled"
        woken = next((leg for leg in exits if leg.get("type") == "limit"), None)
        woken = woken or next(iter(exits), None)
        for one, surely in (
            (order, not is_exit),
            *((leg, entered and leg is woken) for leg in exits),
        ):
            if str(one["id"]) not in seen:
                seen.add(str(one["id"]))
                yield one, surely


def _of_order(
    order: Mapping[str, Any], fills: Sequence[Mapping[str, Any]], aggregate: bool, surely: bool
) -> list[OrderEvent] | None:
    """An order's life; None where its fills don't add up."""
    submitted_ns = _instant(order.get("submitted_at"))
    made = []
    status = str(order.get("status"))
    filled = cost = Decimal(0)
    ended_unfilled = status in _ENDED_AT and not _decimal(order.get("filled_qty"))
    if status not in ("pending_new", "accepted", "held", "rejected") and (
        surely or not ended_unfilled
    ):
        made.append(_event("new", order, submitted_ns, "new", filled, None))
    last_ns = submitted_ns
    for fill in sorted(fills, key=lambda f: _decimal(f.get("cum_qty"))):
        cumulative = _decimal(fill.get("cum_qty"))
        quantity, price = _decimal(fill.get("qty")), _decimal(fill.get("price"))
        cost += quantity * price
        last_ns = _instant(fill.get("transaction_time"))
        average = cost / cumulative if filled + quantity == cumulative else None
        made.append(_fill(order, last_ns, quantity, price, cumulative, average))
        filled = cumulative
    total = _decimal(order.get("filled_qty"))
    if total > filled:
        if not aggregate:
            return None
        # The account's record still doesn't show it: one event for all of it.
        price = _decimal(order.get("filled_avg_price"))
        last_ns = _instant(order.get("filled_at") or order.get("updated_at"))
        made.append(_fill(order, last_ns, total - filled, price, total, price))
    ended_at = _ENDED_AT.get(status)
    if ended_at or status == "done_for_day":
        instant = _instant(order.get(ended_at or "updated_at") or order.get("updated_at"))
        made.append(_event(status, order, max(instant, last_ns), status, total, None))
    return made


def _fill(
    order: Mapping[str, Any],
    instant_ns: int,
    quantity: Decimal,
    price: Decimal,
    cumulative: Decimal,
    average: Decimal | None,
) -> OrderEvent:
    ordered = _decimal(order.get("qty"))
    whole = cumulative >= ordered > 0 or (
        str(order.get("status")) == "filled" and cumulative == _decimal(order.get("filled_qty"))
    )
    extra = {"price": _text(price), "qty": _text(quantity)}
    event, status = ("fill", "filled") if whole else ("partial_fill", "partially_filled")
    return _event(event, order, instant_ns, status, cumulative, average, extra)


def _event(
    event: str,
    order: Mapping[str, Any],
    instant_ns: int,
    status: str,
    filled: Decimal,
    average: Decimal | None,
    extra: Mapping[str, Any] | None = None,
) -> OrderEvent:
    """One event with the order as it stood then."""
    then = {**order, "status": status, "filled_qty": _text(filled)}
    if not filled:
        then["filled_avg_price"] = None
    elif average is not None:
        then["filled_avg_price"] = _text(average)
    at = rfc3339(instant_ns)
    data = {"at": at, "event": event, "timestamp": at, **(extra or {})}
    made = msgspec.json.encode({**data, "order": then, RECONSTRUCTED_KEY: True})
    return read_event(made, Origin.RECONSTRUCTED)


def _decimal(value: object) -> Decimal:
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return Decimal(0)


def _text(value: Decimal) -> str:
    return format(value.normalize(), "f") if value else "0"


def _instant(value: object) -> int:
    try:
        return parse_rfc3339(str(value))
    except ValueError:
        return 0
