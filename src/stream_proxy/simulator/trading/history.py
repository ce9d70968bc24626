"""What REST shows of the past: orders and fills as they were at an instant, filtered and paged.

Alpaca's REST may lag its stream; asking for an instant a little ago shows exactly that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from stream_proxy.model.time import NS_PER_SECOND, rfc3339
from stream_proxy.simulator.trading.account import Account
from stream_proxy.simulator.trading.amounts import text
from stream_proxy.simulator.trading.order import FINAL, Order
from stream_proxy.simulator.trading.positions import Execution, Holdings, folded
from stream_proxy.simulator.trading.refusals import invalid


def order_at(order: Order, at_ns: int | None, nested: bool = True) -> dict[str, Any] | None:
    """An order as it was; None if it was not there yet. Without an instant, as it is."""
    if at_ns is None:
        return order.as_dict(nested)
    known = next((fields for ns, fields in reversed(order.history) if ns <= at_ns), None)
    if known is None:
        return None
    legs = [fields for leg in order.legs if (fields := order_at(leg, at_ns)) is not None]
    shown = legs if nested or order.multi_leg else []
    return {**known, "legs": shown or None}


def holdings_at(account: Account, at_ns: int | None) -> Holdings:
    if at_ns is None:
        return account.holdings
    known = (execution for execution in account.executions if execution.at_ns <= at_ns)
    return folded(account.starting_cash, known)


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Which orders to list; instants are of submission, and exclusive."""

    status: str = "open"
    limit: int = 50
    after_ns: int | None = None
    until_ns: int | None = None
    ascending: bool = False
    nested: bool = False
    symbols: frozenset[str] = frozenset()
    side: str | None = None
    asset_class: str | None = None


def list_orders(account: Account, wanted: OrderFilter, at_ns: int | None) -> list[dict[str, Any]]:
    """Orders in the order of submission, newest first unless ``ascending``."""
    found = []
    orders = list(account.orders.values())
    for order in orders if wanted.ascending else reversed(orders):
        if order.is_leg and (wanted.nested or order.role == "mleg_leg"):
            continue
        if wanted.after_ns is not None and order.submitted_ns <= wanted.after_ns:
            continue
        if wanted.until_ns is not None and order.submitted_ns >= wanted.until_ns:
            continue
        if not _wanted(order, wanted):
            continue
        fields = order_at(order, at_ns, wanted.nested)
        if fields is None or not _has_status(fields, wanted.status):
            continue
        found.append(fields)
        if len(found) >= wanted.limit:
            break
    return found


def _wanted(order: Order, wanted: OrderFilter) -> bool:
    members = order.legs if order.multi_leg else [order]
    return (
        (not wanted.symbols or any(o.symbol in wanted.symbols for o in members))
        and wanted.side in (None, order.side)
        and wanted.asset_class in (None, *(o.asset_class for o in members))
    )


def _has_status(fields: dict[str, Any], status: str) -> bool:
    return status == "all" or (fields["status"] in FINAL) == (status == "closed")


@dataclass(frozen=True, slots=True)
class ActivityFilter:
    """Which fills to list. ``after_id`` is the page token: the id of the last one seen."""

    limit: int = 100
    after_ns: int | None = None
    until_ns: int | None = None
    date: str | None = None
    ascending: bool = False
    after_id: str | None = None


def list_activities(
    account: Account, wanted: ActivityFilter, at_ns: int | None
) -> list[dict[str, Any]]:
    """Fills, newest first unless ``ascending``.

    Raises:
        Refusal: the page token is not the id of a fill.
    """
    executions: Sequence[Execution] = account.executions
    if at_ns is not None:
        executions = [execution for execution in executions if execution.at_ns <= at_ns]
    if not wanted.ascending:
        executions = executions[::-1]
    if wanted.after_id is not None:
        places = [i for i, e in enumerate(executions) if activity_id(e) == wanted.after_id]
        if not places:
            raise invalid("page_token must be the id of the last activity of the page before")
        executions = executions[places[0] + 1 :]
    found = []
    for execution in executions:
        if wanted.after_ns is not None and execution.at_ns <= wanted.after_ns:
            continue
        if wanted.until_ns is not None and execution.at_ns >= wanted.until_ns:
            continue
        if wanted.date is not None and not rfc3339(execution.at_ns).startswith(wanted.date):
            continue
        found.append(_activity(account, execution))
        if len(found) >= wanted.limit:
            break
    return found


def activity_id(execution: Execution) -> str:
    """Seventeen digits down to the millisecond, and the execution's id."""
    seconds, nanos = divmod(execution.at_ns, NS_PER_SECOND)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y%m%d%H%M%S}{nanos // 1_000_000:03d}::{execution.id}"


def _activity(account: Account, execution: Execution) -> dict[str, Any]:
    return {
        "id": activity_id(execution),
        "account_id": account.id,
        "activity_type": "FILL",
        "transaction_time": rfc3339(execution.at_ns),
        "type": "fill" if execution.order_status == "filled" else "partial_fill",
        "price": text(execution.price),
        "qty": text(execution.qty),
        "side": execution.side,
        "symbol": execution.asset.symbol,
        "leaves_qty": text(execution.leaves_qty),
        "order_id": execution.order_id,
        "cum_qty": text(execution.cum_qty),
        "order_status": execution.order_status,
    }
