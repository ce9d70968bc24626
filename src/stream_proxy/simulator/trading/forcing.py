"""Make something happen to an order by hand: for tests, and for events that are rare in life."""

from __future__ import annotations

from decimal import Decimal

from stream_proxy.simulator.trading.account import Account
from stream_proxy.simulator.trading.amounts import ZERO, ninth
from stream_proxy.simulator.trading.announcements import RARE_EVENTS
from stream_proxy.simulator.trading.engine import Engine
from stream_proxy.simulator.trading.lifecycle import before_pending
from stream_proxy.simulator.trading.order import IllegalTransition, Order
from stream_proxy.simulator.trading.refusals import invalid

_ENDS = ("canceled", "expired", "rejected")
_REFUSED_WISHES = {
    "order_cancel_rejected": "pending_cancel",
    "order_replace_rejected": "pending_replace",
}
EVENTS = (
    "fill",
    "partial_fill",
    *_ENDS,
    *RARE_EVENTS,
    *_REFUSED_WISHES,
    "replaced",
    "restated",
)
"""Every event that can be forced."""


def force(
    engine: Engine,
    account: Account,
    order: Order,
    event: str,
    now_ns: int,
    price: Decimal | None = None,
    qty: Decimal | None = None,
) -> None:
    """Let an event happen to an order now, whatever the market says.

    ``price`` and ``qty`` are for fills; without them the market's price, and all that remains,
    or about half of it for a partial fill. A rare status keeps the order from trading until it
    is forced to be ``new`` again.

    Raises:
        Refusal: no event is called so, or it can't follow the order's present status.
    """
    now_ns = max(now_ns, engine.now_ns)
    engine.now_ns = now_ns
    say = engine.announcements.announce
    if order.role == "mleg_leg":
        raise invalid("legs go with their order: force the parent")
    if order.replaces is not None and account.orders[order.replaces].open and event not in _ENDS:
        raise invalid("this order waits to replace another: let time pass, or force that one")
    try:
        if event in ("fill", "partial_fill"):
            _fill(engine, account, order, event, now_ns, price, qty)
        elif event in _ENDS:
            engine.life.end(account, order, event, now_ns)
        elif event in RARE_EVENTS:
            order.become(event, now_ns)
            say(account, order, event, now_ns)
        elif event in _REFUSED_WISHES:
            if order.status == _REFUSED_WISHES[event]:
                _refuse_wish(engine, account, order, now_ns)
            say(account, order, event, now_ns)
        elif event == "replaced":
            if order.replacement is None:
                raise invalid("nothing is to replace this order: PATCH it first")
            if order.status != "pending_replace":
                raise IllegalTransition(f"an order that is {order.status} can't be replaced")
            engine.life.finish_replacing(account, order, now_ns)
        elif event == "restated":
            order.updated_ns = now_ns
            say(account, order, event, now_ns)
        else:
            raise invalid(f"no event is called {event[:40]!r}; there are {', '.join(EVENTS)}")
    except IllegalTransition as error:
        raise invalid(str(error)) from None


def _fill(
    engine: Engine,
    account: Account,
    order: Order,
    event: str,
    now_ns: int,
    price: Decimal | None,
    qty: Decimal | None,
) -> None:
    if not order.open:
        raise IllegalTransition(f"an order that is {order.status} can't be filled")
    price = _price(engine, order, now_ns) if price is None else price
    remaining = order.remaining
    if remaining is None:
        assert order.notional is not None
        if event == "partial_fill":
            raise invalid("an order by notional amount is filled at once")
        remaining = ninth(order.notional / price) if price else ZERO
    if event == "partial_fill" and qty is None:
        half = remaining / 2
        whole = half.to_integral_value()
        qty = whole if 0 < whole < remaining else ninth(half)
    qty = remaining if qty is None else qty
    if qty <= 0 or qty > remaining or (event == "partial_fill") != (qty < remaining):
        raise invalid(f"{event}: qty must fit what remains, {remaining:f}")
    engine.life.fill(account, order, qty, price, now_ns)


def _price(engine: Engine, order: Order, now_ns: int) -> Decimal:
    if order.limit_price is not None:
        return order.limit_price
    if order.multi_leg:
        return ZERO
    quote = engine.market.quote(order.symbol, now_ns)
    if quote is None:
        raise invalid(f"{order.symbol} has no price now: give one")
    return quote.ask if order.buys else quote.bid


def _refuse_wish(engine: Engine, account: Account, order: Order, now_ns: int) -> None:
    order.become(before_pending(order), now_ns)
    order.cancel_came_ns = 0
    successor, order.replacement = order.replacement, None
    if successor is not None and successor.open:
        engine.life.end(account, successor, "rejected", now_ns, alone=True)
