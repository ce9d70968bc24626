"""Does this order trade at this quote, at which price, and how much: pure decisions.

Orders trade against the quote alone: buys at the ask, sells at the bid, limit orders at the limit
or better. Stops are watched on the quote too (Alpaca watches trades), trailing stops on its best
since the order came.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from stream_proxy.simulator.trading.amounts import ZERO, cents
from stream_proxy.simulator.trading.order import Order
from stream_proxy.simulator.trading.prices import Quote

MATCHABLE = frozenset({"new", "partially_filled"})
_STOPS = frozenset({"stop", "stop_limit", "trailing_stop"})


def side_of(quote: Quote, buys: bool) -> tuple[Decimal, Decimal]:
    """Price and size that a taker meets."""
    return (quote.ask, quote.ask_size) if buys else (quote.bid, quote.bid_size)


def trail(order: Order, quote: Quote) -> None:
    """Move a trailing stop's high-water mark (low-water, for buys) and its stop price."""
    if order.buys:
        best = quote.ask if order.hwm is None else min(order.hwm, quote.ask)
    else:
        best = quote.bid if order.hwm is None else max(order.hwm, quote.bid)
    if best == order.hwm:
        return
    order.hwm = best
    if order.trail_price is not None:
        distance = order.trail_price
    else:
        assert order.trail_percent is not None
        distance = cents(best * order.trail_percent / 100)
    order.stop_price = best + distance if order.buys else best - distance


def triggered(order: Order, quote: Quote) -> bool:
    """Whether a stop is reached; what has no stop always is."""
    if order.type not in _STOPS or order.trigger_met:
        return True
    assert order.stop_price is not None
    price, size = side_of(quote, order.buys)
    if not size:
        return False
    return price >= order.stop_price if order.buys else price <= order.stop_price


def executable(order: Order, quote: Quote) -> tuple[Decimal, Decimal]:
    """Price and size at which the order can trade now; a size of zero if it can't."""
    price, size = side_of(quote, order.buys)
    limit = order.limit_price
    if not size or price <= 0:
        return price, ZERO
    if limit is not None and (price > limit if order.buys else price < limit):
        return price, ZERO
    return price, size


def net_of(legs: Sequence[Order], quotes: Sequence[Quote]) -> tuple[Decimal, Decimal]:
    """The net debit of one unit of a multi-leg order, and how many units the quotes hold.

    A credit is negative.
    """
    net, units = ZERO, None
    for leg, quote in zip(legs, quotes, strict=True):
        assert leg.ratio_qty is not None
        price, size = side_of(quote, leg.buys)
        net += leg.ratio_qty * (price if leg.buys else -price)
        here = size // leg.ratio_qty
        units = here if units is None else min(units, here)
    return net, units or ZERO
