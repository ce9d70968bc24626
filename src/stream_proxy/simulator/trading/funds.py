"""Can the account afford it: buying power for buys, holdings for sells.

Source of the sentences and codes: refusals that Alpaca's users quote (403, code 40310000).
"""

from __future__ import annotations

from decimal import Decimal

from stream_proxy.simulator.trading.account import Account, Means, means
from stream_proxy.simulator.trading.amounts import ZERO, text
from stream_proxy.simulator.trading.assets import Asset
from stream_proxy.simulator.trading.order import Order
from stream_proxy.simulator.trading.order_request import OrderRequest
from stream_proxy.simulator.trading.prices import TradingMarket
from stream_proxy.simulator.trading.refusals import forbidden

_EXITS = frozenset({"take_profit", "stop_loss"})


def committed(account: Account) -> Decimal:
    """What the open orders that enter something may still cost, in USD."""
    total = ZERO
    for order in account.working.values():
        if order.role not in _EXITS and not _waits_to_replace(order):
            total += order.unit_cost * (order.remaining or ZERO)
    return total


def held_for_orders(account: Account, symbol: str) -> Decimal:
    """How much of a holding open sells already claim."""
    return sum(
        (
            order.remaining or ZERO
            for order in account.working.values()
            if order.symbol == symbol
            and not order.buys
            and order.status != "held"
            and order.role != "mleg_leg"
            and not _waits_to_replace(order)
        ),
        ZERO,
    )


def _waits_to_replace(order: Order) -> bool:
    # The order that it shall replace counts until then.
    return order.replaces is not None and order.status == "pending_new"


def expected_price(request: OrderRequest, market: TradingMarket, now_ns: int) -> Decimal:
    """About what one unit will cost, in units of the price."""
    assert request.asset is not None
    named = request.limit_price or request.stop_price
    if named is not None:
        return named
    quote = market.quote(request.asset.symbol, now_ns)
    return quote.ask if quote is not None else ZERO


def check_funds(
    account: Account, request: OrderRequest, price: Decimal, market: TradingMarket, now_ns: int
) -> Decimal:
    """Refuse what the account can't do; give what one unit commits, in USD.

    Raises:
        Refusal: not enough buying power, or not enough of the asset.
    """
    asset = request.asset
    assert asset is not None
    unit = price * asset.multiplier
    qty = request.qty
    if qty is None:
        assert request.notional is not None
        qty = request.notional / price if price else ZERO
    if request.side == "sell":
        if not _check_sell(account, asset, qty):
            return ZERO
    elif account.holdings.held(asset.symbol) <= -qty:
        return ZERO  # covers a short
    now = means(account.holdings, committed(account), market, now_ns)
    _check_power(now, asset, qty * unit)
    return unit


def check_order_family(
    account: Account, request: OrderRequest, price: Decimal, market: TradingMarket, now_ns: int
) -> Decimal:
    """The same for any class of order: an OCO only leaves what is held, so it needs no power."""
    asset = request.asset
    if request.order_class != "oco":
        return check_funds(account, request, price, market, now_ns)
    assert asset is not None and request.qty is not None
    held = account.holdings.held(asset.symbol)
    if (request.side == "sell" and held < request.qty) or (
        request.side == "buy" and -held < request.qty
    ):
        raise forbidden("oco orders must be exit orders", symbol=asset.symbol)
    return ZERO


def check_net_debit(
    account: Account, debit: Decimal, qty: Decimal, market: TradingMarket, now_ns: int
) -> Decimal:
    """Refuse a multi-leg order whose debit the account can't pay; give the debit per unit."""
    unit = max(ZERO, debit) * 100
    now = means(account.holdings, committed(account), market, now_ns)
    if unit * qty > now.cash_power:
        raise forbidden(
            "insufficient options buying power",
            options_buying_power=text(now.cash_power),
            cost_basis=text(unit * qty),
        )
    return unit


def _check_sell(account: Account, asset: Asset, qty: Decimal) -> bool:
    """Refuse an impossible sell; tell whether it sells short, and so needs buying power."""
    held = account.holdings.held(asset.symbol)
    claimed = held_for_orders(account, asset.symbol)
    available = held - claimed
    if held > 0 or asset.kind != "us_equity":
        if qty <= available:
            return False
        if asset.kind == "us_option" and held <= 0:
            raise forbidden("account not eligible to trade uncovered option contracts")
        what = "balance" if asset.kind == "crypto" else "qty available"
        raise forbidden(
            f"insufficient {what} for {asset.symbol if asset.kind == 'crypto' else 'order'} "
            f"(requested: {text(qty)}, available: {text(max(ZERO, available))})",
            symbol=asset.symbol,
            available=text(max(ZERO, available)),
            existing_qty=text(held),
            held_for_orders=text(claimed),
        )
    if account.configuration["no_shorting"]:
        raise forbidden("account is not allowed to short")
    if qty != qty.to_integral_value():
        raise forbidden("fractional orders cannot be sold short")
    return True


def _check_power(now: Means, asset: Asset, cost: Decimal) -> None:
    power = now.buying_power if asset.kind == "us_equity" else now.cash_power
    if cost > power:
        raise forbidden(
            "insufficient buying power", buying_power=text(power), cost_basis=text(cost)
        )
