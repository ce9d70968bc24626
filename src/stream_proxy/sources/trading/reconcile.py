"""Ask Alpaca what happened while the stream was silent, and give it as events.

First Alpaca's own record of events, which is exact; where an account has none, orders and fills,
from which the events are reconstructed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from stream_proxy.model.fills import Fill
from stream_proxy.model.orders import KnownOrder, OrderEvent, Origin
from stream_proxy.sources.trading.missing_fills import instant_of
from stream_proxy.sources.trading.reconstruct import missing_events, order_ids
from stream_proxy.sources.trading.rest import TradingRest
from stream_proxy.wire.alpaca.codec import FrameDamaged
from stream_proxy.wire.alpaca.trade_updates import read_event

OVERLAP_NS = 60_000_000_000
"""Ask for a minute more than was missed: clocks differ, and REST lags. Duplicates are dropped."""

OVERDUE_NS = 60_000_000_000
"""So old is a fill that the account's record of fills should show."""

Told: TypeAlias = Callable[[Sequence[str]], Awaitable[Mapping[str, Sequence[Fill]]]]
"""Gives the fills that our record has of some orders."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where our record stands, as the journal tells it."""

    since_ns: int
    """Before this our record says nothing."""
    until_ns: int
    """Up to here it is known to be complete."""
    open_orders: Mapping[str, KnownOrder]


@dataclass(frozen=True, slots=True)
class Findings:
    """What reconciling found.

    Attributes:
        events: in the order in which they happened; some may be known already.
        exact: whether they are Alpaca's own events.
        left_out: orders of which REST doesn't show all fills yet, or only fills.
        unreadable: events of Alpaca's record of which nobody can tell what they say; our record
            isn't complete without them.
        reason: why the first of these can't be read; nothing of what it says.
    """

    events: list[OrderEvent]
    exact: bool
    left_out: int = 0
    unreadable: int = 0
    reason: str = ""


async def reconcile(
    rest: TradingRest,
    position: Position,
    until_ns: int,
    *,
    told: Told,
    aggregate: bool = False,
) -> Findings:
    """Find what happened between a position and an instant.

    Args:
        told: asks our record for its fills.
        aggregate: make one fill of what the account's record of fills should show by now and
            doesn't.

    Raises:
        RestFailed: REST gave no usable answer; nothing is known of the gap.
    """
    after_ns = max(position.since_ns, position.until_ns - OVERLAP_NS)
    raw = await rest.events(after_ns, until_ns)
    if raw is not None:
        return _exact(raw, position.since_ns)
    # A little more at the very beginning: REST's answer and our beginning are not one instant.
    from_ns = after_ns if after_ns > position.since_ns else after_ns - OVERLAP_NS
    orders = {str(order["id"]): order for order in await rest.orders(from_ns)}
    if position.open_orders.keys() - orders.keys():
        # Those that are still open in one call; asked one by one is only what has ended since.
        orders |= {str(order["id"]): order for order in await rest.open_orders()}
    await _fetch(rest, orders, position.open_orders)
    fills = await rest.fills(after_ns - 1)
    await _fetch(rest, orders, dict.fromkeys(str(fill.get("order_id")) for fill in fills))
    known = await told(order_ids(orders.values()))
    events, left_out = missing_events(orders.values(), fills, position.since_ns, told=known)
    if left_out:
        # Some may be older than the gap: then from the beginning of their orders.
        submitted = [instant_of(order.get("submitted_at")) or from_ns for order in left_out]
        fills = await rest.fills(max(min([from_ns, *submitted]) - 1_000_000_000, 0))
        events, left_out = missing_events(
            orders.values(),
            fills,
            position.since_ns,
            told=known,
            overdue_ns=until_ns - OVERDUE_NS if aggregate else 0,
        )
    # An order may come to light after its fills; if it never does, there is nothing to tell.
    shown = _shown(orders)
    hidden = {
        str(fill.get("order_id"))
        for fill in fills
        if instant_of(fill.get("transaction_time")) > until_ns - OVERDUE_NS
    } - shown
    return Findings(events, exact=False, left_out=len(left_out) + len(hidden))


async def _fetch(
    rest: TradingRest, orders: dict[str, dict[str, Any]], wanted: Iterable[str]
) -> None:
    """Ask one by one for orders that a list by time of submission doesn't show."""
    shown = _shown(orders)
    for order_id in wanted:
        if order_id not in shown and (found := await rest.order(order_id)) is not None:
            orders[order_id] = found


def _shown(orders: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The ids of orders and of all their legs."""
    legs = (leg for order in orders.values() for leg in order.get("legs") or ())
    return {*orders, *(str(leg["id"]) for leg in legs)}


def _exact(raw: list[bytes], since_ns: int) -> Findings:
    events: list[OrderEvent] = []
    reasons = []
    for data in raw:
        try:
            event = read_event(data, Origin.REPLAYED)
        except FrameDamaged as damage:
            reasons.append(str(damage)[:120])
            continue
        # Asked was by milliseconds, and our record may have forgotten what is older.
        if not event.timestamp_ns or event.timestamp_ns >= since_ns:
            events.append(event)
    return Findings(
        events, exact=True, unreadable=len(reasons), reason=reasons[0] if reasons else ""
    )


async def standing_orders(rest: TradingRest) -> list[KnownOrder]:
    """The open orders at the beginning of a record.

    What happened to them before isn't ours to tell; what happens from then on is, so they are
    looked at whenever there was a gap.
    """
    return [
        KnownOrder(str(order["id"]), "", "0", instant_of(order.get("submitted_at")))
        for order in await rest.open_orders()
    ]
