"""Ask Alpaca what happened while the stream was silent, and give it as events.

First Alpaca's own record of events, which is exact; where an account has none, orders and fills,
from which the events are reconstructed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from stream_proxy.model.orders import KnownOrder, OrderEvent, Origin
from stream_proxy.sources.trading.reconstruct import missing_events
from stream_proxy.sources.trading.rest import TradingRest
from stream_proxy.wire.alpaca.codec import FrameDamaged
from stream_proxy.wire.alpaca.trade_updates import read_event

OVERLAP_NS = 60_000_000_000
"""Ask for a minute more than was missed: clocks differ, and REST lags. Duplicates are dropped."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where our record stands, as the journal tells it."""

    since_ns: int
    """Before this our record says nothing."""
    until_ns: int
    """Up to here it is known to be complete."""
    last_event_id: str
    open_orders: Mapping[str, KnownOrder]


@dataclass(frozen=True, slots=True)
class Findings:
    """What reconciling found.

    Attributes:
        events: in the order in which they happened; some may be known already.
        orders: where every order that was looked at stands, for the next time.
        exact: whether they are Alpaca's own events.
    """

    events: list[OrderEvent]
    orders: list[KnownOrder]
    exact: bool
    unreadable: int = 0


async def reconcile(rest: TradingRest, position: Position, until_ns: int) -> Findings:
    """Find what happened between a position and an instant.

    Raises:
        RestFailed: REST gave no usable answer; nothing is known of the gap.
    """
    after_ns = max(position.since_ns, position.until_ns - OVERLAP_NS)
    raw = await rest.events(position.last_event_id, after_ns, until_ns)
    if raw is not None:
        events, unreadable = [], 0
        for data in raw:
            try:
                events.append(read_event(data, Origin.REPLAYED))
            except FrameDamaged:
                unreadable += 1
        return Findings(events, [], exact=True, unreadable=unreadable)
    known = dict(position.open_orders)
    orders: dict[str, dict[str, Any]] = {}
    for order in await rest.orders(after_ns):
        orders[order["id"]] = order
    for order_id in known:
        if order_id not in orders and (found := await rest.order(order_id)) is not None:
            # It was submitted long before the gap, and ended in it.
            orders[order_id] = found
    oldest_ns = min([after_ns, *(order.submitted_ns or after_ns for order in known.values())])
    # Fills of the open orders from their beginning, so that averages come out right.
    fills = await rest.fills(max(oldest_ns - 1_000_000_000, 0))
    events = missing_events(known, orders.values(), fills, position.since_ns)
    return Findings(events, [_known(order) for order in orders.values()], exact=False)


async def standing_orders(rest: TradingRest) -> list[KnownOrder]:
    """The open orders at the beginning of a record: what happened to them before isn't ours."""
    return [_known(order) for order in await rest.open_orders()]


def _known(order: Mapping[str, Any]) -> KnownOrder:
    data = msgspec.json.encode({"event": "", "order": dict(order)})
    event = read_event(data, Origin.RECONSTRUCTED)
    return KnownOrder(event.order_id, event.status, event.filled_qty, event.submitted_ns)
