"""The fills of a multi-leg order, from those of its legs. Pure.

The account's activities tell of legs; the order itself is filled in units, each of so many of every
leg, at one net price: what is paid for the legs bought, less what comes in for those sold.
Source: Alpaca, "Options Level 3 Trading" (``ratio_qty``, net price).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple

from stream_proxy.model.fills import Fill, uncovered
from stream_proxy.sources.trading.missing_fills import ZERO, decimal_of


class _Leg(NamedTuple):
    """A leg's fills, counted in units of its order; prices are those of a unit, signed."""

    fills: Sequence[Fill]

    def points(self) -> set[Decimal]:
        return {point for fill in self.fills for point in (fill.start, fill.end)}

    def within(self, start: Decimal, end: Decimal) -> list[Fill]:
        return [fill for fill in self.fills if start <= fill.start and fill.end <= end]


def fills_in_units(
    legs: Iterable[Mapping[str, Any]], fills: Mapping[str, Sequence[Fill]]
) -> list[Fill]:
    """Give the fills of the order of which all legs show everything; what else there is, isn't
    known yet.

    Args:
        fills: what the activities show, by order.
    """
    counted = [_leg(leg, fills.get(str(leg["id"]), ())) for leg in legs]
    found = []
    common = set[Decimal].intersection(*(leg.points() for leg in counted)) if counted else set()
    for start, end in pairwise(sorted(common)):
        parts = [leg.within(start, end) for leg in counted]
        if any(uncovered(start, end, one) for one in parts):
            continue
        every = [fill for one in parts for fill in one]
        net = sum((fill.quantity * fill.price for fill in every), ZERO)
        found.append(Fill(start, end, net / (end - start), max(f.instant_ns for f in every)))
    return found


def _leg(leg: Mapping[str, Any], fills: Iterable[Fill]) -> _Leg:
    ratio = decimal_of(leg.get("ratio_qty"))
    if ratio <= 0:
        return _Leg(())
    worth = ratio if leg.get("side") == "buy" else -ratio
    return _Leg(
        [
            Fill(fill.start / ratio, fill.end / ratio, fill.price * worth, fill.instant_ns)
            for fill in fills
        ]
    )
