"""Account and positions in the shapes of Alpaca's REST."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from stream_proxy.model.time import NS_PER_SECOND, rfc3339
from stream_proxy.simulator.trading.account import Account, means, position_value
from stream_proxy.simulator.trading.amounts import ZERO, cents, ninth, text
from stream_proxy.simulator.trading.funds import committed, held_for_orders
from stream_proxy.simulator.trading.history import holdings_at
from stream_proxy.simulator.trading.positions import Position
from stream_proxy.simulator.trading.prices import TradingMarket

_MAINTENANCE = Decimal("0.3")


def account_dict(
    account: Account, market: TradingMarket, now_ns: int, at_ns: int | None
) -> dict[str, Any]:
    """``GET /v2/account``."""
    now = means(holdings_at(account, at_ns), committed(account), market, now_ns)
    gross = now.long_value - now.short_value
    return {
        "id": account.id,
        "account_number": account.number,
        "status": "ACTIVE",
        "crypto_status": "ACTIVE",
        "options_approved_level": 3,
        "options_trading_level": 3,
        "currency": "USD",
        "cash": _usd(now.cash),
        "buying_power": _usd(now.buying_power),
        "regt_buying_power": _usd(now.buying_power),
        "non_marginable_buying_power": _usd(now.cash_power),
        "options_buying_power": _usd(now.cash_power),
        "accrued_fees": "0",
        "portfolio_value": _usd(now.equity),
        "equity": _usd(now.equity),
        "last_equity": _usd(account.starting_cash),
        "long_market_value": _usd(now.long_value),
        "short_market_value": _usd(now.short_value),
        "initial_margin": _usd(now.initial_margin),
        "maintenance_margin": _usd(gross * _MAINTENANCE),
        "last_maintenance_margin": "0",
        "sma": "0",
        "multiplier": "2",
        "shorting_enabled": not account.configuration["no_shorting"],
        "pattern_day_trader": False,
        "daytrade_count": 0,
        "trading_blocked": False,
        "transfers_blocked": False,
        "account_blocked": False,
        "trade_suspended_by_user": account.configuration["suspend_trade"],
        "created_at": rfc3339(account.created_ns),
    }


def position_dict(
    account: Account, position: Position, market: TradingMarket, now_ns: int
) -> dict[str, Any]:
    """One item of ``GET /v2/positions``."""
    asset, qty = position.asset, position.qty
    value = position_value(position, market, now_ns)
    price = value / (qty * asset.multiplier)
    gain = value - position.cost
    share = gain / abs(position.cost) if position.cost else ZERO
    available = abs(qty)
    if qty > 0:
        available = max(ZERO, qty - held_for_orders(account, asset.symbol))
    stock = asset.kind == "us_equity"
    return {
        "asset_id": asset.id,
        "symbol": asset.symbol.replace("/", "") if asset.kind == "crypto" else asset.symbol,
        "exchange": asset.exchange,
        "asset_class": asset.kind,
        "asset_marginable": stock,
        "qty": text(qty),
        "qty_available": text(available),
        "avg_entry_price": text(ninth(position.average_price)),
        "side": "long" if qty > 0 else "short",
        "market_value": text(ninth(value)),
        "cost_basis": text(ninth(position.cost)),
        "unrealized_pl": text(ninth(gain)),
        "unrealized_plpc": text(ninth(share)),
        "unrealized_intraday_pl": text(ninth(gain)),
        "unrealized_intraday_plpc": text(ninth(share)),
        "current_price": text(ninth(price)),
        "lastday_price": text(ninth(position.average_price)),
        "change_today": "0",
    }


def portfolio_history_dict(account: Account, market: TradingMarket, now_ns: int) -> dict[str, Any]:
    """``GET /v2/account/portfolio/history``: the beginning and the present, nothing between."""
    equity = means(account.holdings, ZERO, market, now_ns).equity
    start = account.starting_cash
    gain = equity - start
    instants = [account.created_ns // NS_PER_SECOND, now_ns // NS_PER_SECOND]
    return {
        "timestamp": instants,
        "equity": [float(start), float(cents(equity))],
        "profit_loss": [0.0, float(cents(gain))],
        "profit_loss_pct": [0.0, float(gain / start)],
        "base_value": float(start),
        "timeframe": "1D",
    }


def _usd(number: Decimal) -> str:
    return text(cents(number))
