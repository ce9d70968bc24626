"""What `orders` shows: order updates in words, and a live table of the newest ones."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

_ROWS = 200
"""More than any terminal has lines."""
_CHROME_LINES = 6
"""Of the table itself: title, head and rules."""

_STYLES = {
    "fill": "green",
    "partial_fill": "green",
    "canceled": "yellow",
    "expired": "yellow",
    "rejected": "red",
}


@dataclass(frozen=True, slots=True)
class OrderRow:
    """One update; all text, as Alpaca sent it."""

    time: str
    account: str
    symbol: str
    side: str
    event: str
    quantity: str
    price: str
    filled: str
    status: str
    sequence: str
    reconstructed: bool

    def cells(self) -> list[str]:
        mark = "made from REST" if self.reconstructed else ""
        return [
            # To the millisecond: a table has to fit.
            *(self.time[:23], self.account, self.symbol, self.side, self.event, self.quantity),
            *(self.price, self.filled, self.status, self.sequence, mark),
        ]


COLUMNS = (
    *("time", "account", "symbol", "side", "event", "qty", "price", "filled", "status"),
    *("sequence", ""),
)
_NUMBERS = frozenset({"qty", "price", "filled", "sequence"})


def row_of(message: dict[str, Any]) -> OrderRow:
    """The values that people look for. A fill shows its own quantity and price, else the order's.

    Orders by amount have no quantity, so the amount is shown, with its sign of currency.
    """
    data = _object(message.get("data"))
    order = _object(data.get("order"))
    amount = order.get("notional")
    quantity = data.get("qty") or order.get("qty") or (f"${amount}" if amount else None)
    price = data.get("price") or order.get("limit_price") or order.get("stop_price")
    return OrderRow(
        time=_text(data.get("timestamp") or data.get("at")),
        account=_text(message.get("account")),
        # A multi-leg order has no symbol of its own.
        symbol=_text(order.get("symbol")) or _legs(order),
        side=_text(order.get("side")),
        event=_text(data.get("event")),
        quantity=_text(quantity),
        price=_text(price),
        filled=_text(order.get("filled_qty")),
        status=_text(order.get("status")),
        sequence=_text(message.get("sequence")),
        reconstructed=bool(message.get("reconstructed")),
    )


def line(row: OrderRow) -> str:
    """One update for a terminal without a table."""
    price = f" @ {row.price}" if row.price else ""
    mark = "  (made from REST)" if row.reconstructed else ""
    return (
        f"{row.time}  {row.account}  {row.sequence}  {row.event}  {row.side} {row.quantity} "
        f"{row.symbol}{price}  filled {row.filled}  {row.status}{mark}"
    )


class OrdersTable:
    """The newest updates, newest last, and how the connection stands."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._rows: deque[OrderRow] = deque(maxlen=_ROWS)
        self.updates = 0
        self.remark = "connecting"

    def note(self, row: OrderRow) -> None:
        self._rows.append(row)
        self.updates += 1

    def table(self, lines: int) -> Table:
        """As many updates as fit into so many lines."""
        title = f"{self._where}  {self.updates:,} updates  {self.remark}"
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
        for name in COLUMNS:
            justify = "right" if name in _NUMBERS else "left"
            table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
        shown = max(1, lines - _CHROME_LINES)
        for row in list(self._rows)[-shown:]:
            style = _STYLES.get(row.event, "")
            table.add_row(*(Text(cell, style=style) for cell in row.cells()))
        return table


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    """One line without control characters: what is shown came over a network."""
    if value is None:
        return ""
    return "".join(c if c.isprintable() else "?" for c in str(value))[:60]


def _legs(order: dict[str, Any]) -> str:
    legs = order.get("legs")
    if not isinstance(legs, list):
        return ""
    return "+".join(_text(_object(leg).get("symbol")) for leg in legs)[:60]
