"""One account: its orders, fills, events, and what it can afford."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from stream_proxy.simulator.trading.amounts import ZERO
from stream_proxy.simulator.trading.identifiers import named_uuid
from stream_proxy.simulator.trading.order import Order
from stream_proxy.simulator.trading.positions import Execution, Holdings, Position
from stream_proxy.simulator.trading.prices import TradingMarket

STARTING_CASH = Decimal(100_000)

MULTIPLIER = Decimal(2)
"""Regulation T: half of a stock's price is enough."""

_HALF = Decimal("0.5")


def account_kind(key: str) -> str:
    """Live or paper, by the key: Alpaca's live keys begin with AK."""
    return "live" if key.startswith("AK") else "paper"


@dataclass(frozen=True, slots=True)
class Event:
    """One trade update, numbered within its account from 1; ``data`` is the stream's object."""

    number: int
    id: str
    event: str
    order_id: str
    execution_id: str | None
    at_ns: int
    data: dict[str, Any]


class Account:
    """An account of one key. ``orders`` are all orders ever, legs included, by id."""

    def __init__(self, kind: str, key: str, created_ns: int, cash: Decimal = STARTING_CASH) -> None:
        self.kind = kind
        self.key = key
        self.created_ns = created_ns
        self.starting_cash = cash
        self.id = named_uuid("account", f"{kind}/{key}")
        self.number = f"{'PA' if kind == 'paper' else ''}{int(self.id[:8], 16):010d}"
        self.holdings = Holdings(cash)
        self.orders: dict[str, Order] = {}
        self.by_client_id: dict[str, Order] = {}
        self.executions: list[Execution] = []
        self.events: list[Event] = []
        self.working: dict[str, Order] = {}
        self.configuration: dict[str, Any] = {
            "fractional_trading": True,
            "max_margin_multiplier": "2",
            "no_shorting": False,
            "suspend_trade": False,
            "trade_confirm_email": "all",
            "ptp_no_exception_entry": False,
            "max_options_trading_level": 3,
        }

    def add(self, order: Order) -> None:
        self.orders[order.id] = order
        self.by_client_id[order.client_order_id] = order

    def top_orders(self) -> list[Order]:
        """Orders that are nobody's leg, oldest first."""
        return [order for order in self.orders.values() if not order.is_leg]


def position_value(position: Position, market: TradingMarket, now_ns: int) -> Decimal:
    """What a position is worth at the middle of the market, or at cost without one."""
    quote = market.quote(position.asset.symbol, now_ns)
    if quote is None:
        return position.cost
    return position.qty * quote.middle * position.asset.multiplier


@dataclass(frozen=True, slots=True)
class Means:
    """What an account has and can spend, in USD."""

    cash: Decimal
    long_value: Decimal
    short_value: Decimal
    initial_margin: Decimal
    committed: Decimal

    @property
    def equity(self) -> Decimal:
        return self.cash + self.long_value + self.short_value

    @property
    def buying_power(self) -> Decimal:
        """For stocks, on margin."""
        return max(ZERO, MULTIPLIER * (self.equity - self.initial_margin) - self.committed)

    @property
    def cash_power(self) -> Decimal:
        """For what can't be bought on margin: crypto and options."""
        return max(ZERO, min(self.cash - self.committed, self.buying_power))


def means(holdings: Holdings, committed: Decimal, market: TradingMarket, now_ns: int) -> Means:
    """Sum an account up; ``committed`` is what its open orders may still cost."""
    long_value = short_value = margin = ZERO
    for position in holdings.positions.values():
        value = position_value(position, market, now_ns)
        if value >= 0:
            long_value += value
        else:
            short_value += value
        margin += abs(value) * (_HALF if position.asset.kind == "us_equity" else 1)
    return Means(holdings.cash, long_value, short_value, margin, committed)
