"""An engine with one account and prices set by hand."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Any

import pytest

from stream_proxy.model.time import parse_rfc3339
from stream_proxy.simulator.trading.account import Event
from stream_proxy.simulator.trading.engine import Engine, EngineRules
from stream_proxy.simulator.trading.forcing import force
from stream_proxy.simulator.trading.order import Order
from stream_proxy.simulator.trading.prices import HandMarket

WEDNESDAY_NOON = parse_rfc3339("2026-11-18T12:00:00-05:00")
SECOND = 1_000_000_000


class Venue:
    """One paper account; every call is a second after the one before."""

    def __init__(self, **rules: Any) -> None:
        self.market = HandMarket()
        self.market.set("AAPL", "100", "100.02")
        self.market.set("BTC/USD", "50000", "50010")
        self.engine = Engine(self.market, Random(7), rules=EngineRules(**rules))
        self.now_ns = WEDNESDAY_NOON
        self.account = self.engine.account("paper", "PK1", self.now_ns)

    def tick(self, seconds: float = 1) -> int:
        self.now_ns += int(seconds * SECOND)
        return self.now_ns

    def submit(self, symbol: str | None = "AAPL", **fields: Any) -> Order:
        """A market order for ten to buy for the day, unless told otherwise."""
        usual: dict[str, Any] = {"side": "buy", "type": "market", "time_in_force": "day"}
        if "notional" not in fields:
            usual["qty"] = 10
        if symbol is not None:
            usual["symbol"] = symbol
        return self.engine.submit(self.account, usual | fields, self.tick())

    def trade(self, symbol: str | None = "AAPL", **fields: Any) -> Order:
        """The same, and a step."""
        order = self.submit(symbol, **fields)
        self.step()
        return order

    def step(self, seconds: float = 1) -> None:
        self.engine.step(self.tick(seconds))

    def cancel(self, order: Order) -> None:
        self.engine.cancel(self.account, order.id, self.tick())

    def replace(self, order: Order, **changes: Any) -> Order:
        return self.engine.replace(self.account, order.id, changes, self.tick())

    def force(self, order: Order, event: str, **details: Any) -> None:
        numbers = {name: Decimal(str(value)) for name, value in details.items()}
        force(self.engine, self.account, order, event, self.tick(), **numbers)

    def events(self, order: Order | None = None) -> list[str]:
        """What happened to an order, or in the account."""
        return [e.event for e in self.account.events if order is None or e.order_id == order.id]

    def last(self) -> Event:
        return self.account.events[-1]

    def held(self, symbol: str = "AAPL") -> Decimal:
        return self.account.holdings.held(symbol)


@pytest.fixture
def venue() -> Venue:
    return Venue()


@pytest.fixture
def make_venue() -> type[Venue]:
    """For other rules."""
    return Venue
