"""What an account holds: executions folded into positions and cash."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from stream_proxy.simulator.trading.amounts import ZERO
from stream_proxy.simulator.trading.assets import Asset


@dataclass(frozen=True, slots=True)
class Execution:
    """One fill. ``signed_qty`` is negative for sells; ``leaves_qty`` is what then remained."""

    id: str
    order_id: str
    asset: Asset
    side: str
    price: Decimal
    qty: Decimal
    cum_qty: Decimal
    leaves_qty: Decimal
    order_status: str
    at_ns: int

    @property
    def signed_qty(self) -> Decimal:
        return self.qty if self.side == "buy" else -self.qty

    @property
    def cash(self) -> Decimal:
        """What the fill did to the account's cash. There are no fees."""
        return -self.signed_qty * self.price * self.asset.multiplier


@dataclass(slots=True)
class Position:
    """A holding; negative is short. ``cost`` is what the present quantity was bought for."""

    asset: Asset
    qty: Decimal = ZERO
    cost: Decimal = ZERO

    @property
    def average_price(self) -> Decimal:
        return self.cost / (self.qty * self.asset.multiplier) if self.qty else ZERO

    def apply(self, execution: Execution) -> None:
        """Add a fill: what closes goes at the average price, the rest opens at the fill's."""
        signed, multiplier = execution.signed_qty, self.asset.multiplier
        if self.qty * signed >= 0:
            self.qty += signed
            self.cost += signed * execution.price * multiplier
            return
        closing = min(abs(signed), abs(self.qty))
        self.cost -= self.cost * closing / abs(self.qty)
        left = abs(signed) - closing
        self.qty += signed
        if left:
            self.cost = self.qty * execution.price * multiplier
        elif not self.qty:
            self.cost = ZERO


class Holdings:
    """Cash and positions."""

    def __init__(self, cash: Decimal) -> None:
        self.cash = cash
        self.positions: dict[str, Position] = {}

    def apply(self, execution: Execution) -> Position:
        """Book a fill; give the position after it, which may be flat."""
        symbol = execution.asset.symbol
        position = self.positions.get(symbol)
        if position is None:
            position = self.positions[symbol] = Position(execution.asset)
        position.apply(execution)
        self.cash += execution.cash
        if not position.qty:
            del self.positions[symbol]
        return position

    def held(self, symbol: str) -> Decimal:
        position = self.positions.get(symbol)
        return position.qty if position else ZERO


def folded(cash: Decimal, executions: Iterable[Execution]) -> Holdings:
    """The holdings that these fills lead to."""
    holdings = Holdings(cash)
    for execution in executions:
        holdings.apply(execution)
    return holdings
