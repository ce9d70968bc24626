"""Which fills of an order are still to be told. Pure.

Theory. An order says how much of it is filled, the account's activities say by which fills, and our
record says what was told. Whatever the activities show and our record doesn't cover is to be told.
What neither covers is a hole: the activities may lag, or skip one. A hole is waited for; once it is
overdue it is told as one fill, and then it is covered: the fills behind it aren't told as well,
when they do come to light.
Source: Alpaca, "Account Activities" (``qty``, ``cum_qty``), "Orders" (``filled_avg_price``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Context, Decimal, InvalidOperation
from typing import Any, NamedTuple

from stream_proxy.model.fills import Fill, uncovered
from stream_proxy.model.time import parse_rfc3339

ZERO = Decimal(0)
_PRICE = Context(prec=10)
"""More digits of a derived price would only show how its average was rounded."""


class MissingFill(NamedTuple):
    """A fill to tell.

    Attributes:
        average: the price of all that is filled with it; None where that can't be told.
        aggregated: whether it stands for a hole, thus perhaps for several fills.
    """

    fill: Fill
    average: Decimal | None
    aggregated: bool


def missing_fills(
    order: Mapping[str, Any],
    shown: Iterable[Fill],
    told: Iterable[Fill],
    overdue_ns: int,
) -> list[MissingFill] | None:
    """Give what is to be told, in the order's own course; None while a hole is waited for.

    Args:
        shown: the fills of this order that the account's activities show.
        told: what our record has of it.
        overdue_ns: holes up to this instant are waited for no longer.
    """
    covered = sorted(told)
    missing = []
    for fill in sorted(shown):
        for start, end in uncovered(fill.start, fill.end, covered):
            missing.append(fill._replace(start=start, end=end))
            covered.append(missing[-1])
    covered.sort()
    total = decimal_of(order.get("filled_qty"))
    holes = _holes(order, max([total, *(fill.end for fill in covered)]), covered)
    if any(hole.instant_ns > overdue_ns for hole in holes):
        return None
    everything = sorted([*covered, *holes])
    return [
        MissingFill(fill, _average(order, fill.end, everything), fill in holes)
        for fill in sorted([*missing, *holes])
    ]


def read_activity(activity: Mapping[str, Any]) -> Fill:
    """What part of its order an activity shows."""
    end = decimal_of(activity.get("cum_qty"))
    return Fill(
        end - decimal_of(activity.get("qty")),
        end,
        decimal_of(activity.get("price")),
        instant_of(activity.get("transaction_time")),
    )


def _holes(order: Mapping[str, Any], filled: Decimal, covered: Sequence[Fill]) -> list[Fill]:
    """What is filled and nobody shows, as fills."""
    found = []
    parts = uncovered(ZERO, filled, covered)
    derived = _derived_price(order, filled, covered, parts)
    for start, end in parts:
        before = next((fill for fill in reversed(covered) if fill.end <= start), None)
        after = next((fill for fill in covered if fill.start >= end), None)
        near = after or before
        if derived is not None:
            price = derived
        elif near is not None:
            price = near.price
        else:
            price = decimal_of(order.get("filled_avg_price"))
        if after is not None:
            # By then it had happened.
            instant_ns = after.instant_ns
        else:
            instant_ns = max(
                instant_of(order.get("filled_at") or order.get("updated_at")),
                instant_of(order.get("submitted_at")),
                before.instant_ns if before is not None else 0,
            )
        found.append(Fill(start, end, price, instant_ns))
    return found


def _derived_price(
    order: Mapping[str, Any],
    filled: Decimal,
    covered: Sequence[Fill],
    holes: Sequence[tuple[Decimal, Decimal]],
) -> Decimal | None:
    """The price at which the holes make the order's average true.

    With several holes it is that of all of them: more isn't known. None where the average speaks of
    another quantity, or where the answer is absurd: then the next fill's price is the best guess.
    """
    average = decimal_of(order.get("filled_avg_price"))
    missing = sum((end - start for start, end in holes), ZERO)
    apart = sum((fill.quantity for fill in covered), ZERO) + missing == filled
    if not missing or not apart or decimal_of(order.get("filled_qty")) != filled:
        return None
    known = sum((fill.quantity * fill.price for fill in covered), ZERO)
    price = _PRICE.plus((average * filled - known) / missing)
    return price if price * average > 0 else None


def _average(order: Mapping[str, Any], end: Decimal, fills: Sequence[Fill]) -> Decimal | None:
    """The price of all that is filled up to a quantity."""
    if end == decimal_of(order.get("filled_qty")):
        return decimal_of(order.get("filled_avg_price")) or None
    until = [fill for fill in fills if fill.end <= end]
    if sum((fill.quantity for fill in until), ZERO) != end:
        return None
    return sum((fill.quantity * fill.price for fill in until), ZERO) / end


def decimal_of(value: object) -> Decimal:
    """A number of REST's; what is none counts as 0."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return ZERO
    return number if number.is_finite() else ZERO


def instant_of(value: object) -> int:
    """An instant of REST's, nanoseconds since 1970; what is none counts as 0."""
    try:
        return parse_rfc3339(str(value))
    except ValueError:
        return 0
