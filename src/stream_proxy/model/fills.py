"""What part of an order a fill is.

A fill covers a range of its order's quantity: from what was filled before it to what is filled with
it. Two records of one order are compared by these ranges, since they have no name in common, and
one may show as a single fill what the other shows in parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple


class Fill(NamedTuple):
    """One fill, or several told as one.

    Attributes:
        start: filled before it.
        end: filled with it.
        price: of one unit; the average where several are told as one.
        instant_ns: when it happened.
    """

    start: Decimal
    end: Decimal
    price: Decimal
    instant_ns: int

    @property
    def quantity(self) -> Decimal:
        return self.end - self.start


def uncovered(start: Decimal, end: Decimal, fills: Iterable[Fill]) -> list[tuple[Decimal, Decimal]]:
    """The parts of a range that no fill covers, lowest first."""
    parts = []
    for fill in sorted(fills):
        if fill.start >= end:
            break
        if fill.start > start:
            parts.append((start, fill.start))
        start = max(start, fill.end)
    if start < end:
        parts.append((start, end))
    return parts
