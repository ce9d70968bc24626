"""Make the events that must have happened, from what orders and fills say now. Pure.

Theory. REST tells where each order stands, and each of its fills. From that follow: that it came to
be, its fills one by one, and how it ended. What leaves no trace in REST (``pending_new``,
``pending_cancel``, …) can't follow.
Each made event carries the order as it stood then, as far as that can be told.
Source: Alpaca, "Orders", "Account Activities", "WebSocket Streaming" (trading).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from stream_proxy.model.fills import Fill
from stream_proxy.model.orders import OrderEvent, Origin
from stream_proxy.model.time import rfc3339
from stream_proxy.sources.trading.missing_fills import (
    ZERO,
    MissingFill,
    decimal_of,
    instant_of,
    missing_fills,
    read_activity,
)
from stream_proxy.sources.trading.multi_leg import fills_in_units
from stream_proxy.wire.alpaca.trade_updates import RECONSTRUCTED_KEY, read_event

AGGREGATED_KEY = "aggregated"
"""Marks a fill that may stand for several, told as one since Alpaca didn't show them in time."""
_ENDED_AT = {
    "canceled": "canceled_at",
    "expired": "expired_at",
    "rejected": "failed_at",
    "replaced": "replaced_at",
}


def missing_events(
    orders: Iterable[Mapping[str, Any]],
    fills: Iterable[Mapping[str, Any]],
    since_ns: int,
    *,
    told: Mapping[str, Sequence[Fill]],
    overdue_ns: int = 0,
) -> tuple[list[OrderEvent], list[Mapping[str, Any]]]:
    """Give what happened to these orders since the record began, oldest first.

    Each order's life is made from its beginning. Fills that were told are left out; what else is
    known of it falls out in the journal: that some event of an order is known doesn't say that
    those before it are.
    Also gives the orders that were left out, because their fills don't add up yet.

    Args:
        orders, fills: as REST gives them; legs are looked at where they are nested.
        since_ns: when the record began; what happened before isn't told.
        told: the fills in our record, by order.
        overdue_ns: what the account's record of fills doesn't show, although it happened up to this
            instant, is made one fill, rather than left out with its order until it is shown.
    """
    shown: dict[str, list[Fill]] = {}
    for fill in fills:
        shown.setdefault(str(fill.get("order_id")), []).append(read_activity(fill))
    made: list[OrderEvent] = []
    left_out = []
    for order, surely in _with_legs(orders):
        order_id = str(order["id"])
        of_order = shown.get(order_id, [])
        if order.get("order_class") == "mleg":
            of_order = fills_in_units(order["legs"], shown)
        missing = missing_fills(order, of_order, told.get(order_id, ()), overdue_ns)
        if missing is None:
            left_out.append(order)
        else:
            events = _life(order, missing, surely)
            made += [event for event in events if event.timestamp_ns >= since_ns]
    # Stable: what happened in one instant to one order stays in the order of its life.
    return sorted(made, key=lambda event: event.timestamp_ns), left_out


def order_ids(orders: Iterable[Mapping[str, Any]]) -> list[str]:
    """The ids of orders and their legs."""
    return [str(order["id"]) for order, _ in _with_legs(orders)]


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
        if order.get("order_class") == "mleg" and not legs:
            continue  # a leg that was asked for by itself
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


def _life(
    order: Mapping[str, Any], missing: Sequence[MissingFill], surely: bool
) -> list[OrderEvent]:
    """An order's life, but for the fills that were told."""
    last_ns = instant_of(order.get("submitted_at"))
    made = []
    status = str(order.get("status"))
    total = decimal_of(order.get("filled_qty"))
    waits = status in ("pending_new", "accepted", "held", "rejected")
    ended_unfilled = status in _ENDED_AT and not total
    # The order may have been shown before its fills happened.
    if missing or (not waits and (surely or not ended_unfilled)):
        made.append(_event("new", order, last_ns, "new", ZERO, None))
    for one in missing:
        last_ns = one.fill.instant_ns
        made.append(_fill(order, one))
    ended_at = _ENDED_AT.get(status)
    if ended_at or status == "done_for_day":
        instant = instant_of(order.get(ended_at or "updated_at") or order.get("updated_at"))
        made.append(_event(status, order, max(instant, last_ns), status, total, None))
    return made


def _fill(order: Mapping[str, Any], missing: MissingFill) -> OrderEvent:
    fill = missing.fill
    ordered = decimal_of(order.get("qty"))
    whole = fill.end >= ordered > 0 or (
        str(order.get("status")) == "filled" and fill.end == decimal_of(order.get("filled_qty"))
    )
    extra: dict[str, Any] = {"price": _text(fill.price), "qty": _text(fill.quantity)}
    if missing.aggregated:
        extra[AGGREGATED_KEY] = True
    event, status = ("fill", "filled") if whole else ("partial_fill", "partially_filled")
    return _event(event, order, fill.instant_ns, status, fill.end, missing.average, extra)


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


def _text(value: Decimal) -> str:
    return format(value.normalize(), "f") if value else "0"
