"""Order updates: one event in the life of an order, and its place in our journal.

Quantities stay text, as Alpaca sends them; where two are compared they are read as decimals.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum

from stream_proxy.model.time import NS_PER_MINUTE, rfc3339

FILLS = frozenset({"fill", "partial_fill"})
ENDS = frozenset({"fill", "canceled", "expired", "rejected", "replaced"})
"""Events after which an order changes no more."""

_NEW_YORK_BEHIND_NS = 5 * 60 * NS_PER_MINUTE
"""New York's standard time behind UTC. In summer its days end an hour late: nobody trades then."""

END_STATUSES = frozenset({"filled", "canceled", "expired", "rejected", "replaced"})


class Origin(Enum):
    """How we learned of an event."""

    STREAM = "stream"
    REPLAYED = "replayed"
    """From Alpaca's own record of events, after a gap: the event as it was."""
    RECONSTRUCTED = "reconstructed"
    """Made by us from orders and fills, after a gap: true in what it says, not Alpaca's bytes."""


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """One event of an order.

    Attributes:
        data: the JSON object that Alpaca calls ``data``, as it came.
        filled_qty: filled so far, over all fills of the order.
        timestamp_ns: when it happened, nanoseconds since 1970.
        submitted_ns: when the order was submitted; 0 if not told.
    """

    event: str
    order_id: str
    timestamp_ns: int
    data: bytes
    event_id: str = ""
    execution_id: str = ""
    status: str = ""
    filled_qty: str = "0"
    submitted_ns: int = 0
    origin: Origin = Origin.STREAM

    @property
    def kind(self) -> str:
        """What happened, told apart from everything else that happens to this order.

        A fill is known by the quantity filled with it: Alpaca's record of fills has no other
        name in common with the stream. An order may be done for the day on many days; those of
        the exchange count.
        """
        if self.event in FILLS:
            return f"{self.order_id}:fill:{plain_quantity(self.filled_qty)}"
        if self.event == "done_for_day":
            day = rfc3339(self.timestamp_ns - _NEW_YORK_BEHIND_NS)[:10]
            return f"{self.order_id}:done_for_day:{day}"
        return f"{self.order_id}:{self.event}"

    @property
    def place(self) -> tuple[int, int, Decimal]:
        """Sorts events by time, and those of one instant by the course of an order's life."""
        if self.event in FILLS:
            return self.timestamp_ns, 1, quantity(self.filled_qty)
        return self.timestamp_ns, 2 if self.event in ENDS else 0, Decimal(0)


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """An event with its place: sequences of an epoch grow by one, whatever happens."""

    account: str
    epoch: str
    sequence: int
    received_ns: int
    event: OrderEvent


@dataclass(frozen=True, slots=True)
class KnownOrder:
    """What the journal last heard of an order."""

    order_id: str
    status: str
    filled_qty: str
    submitted_ns: int


def plain_quantity(text: str) -> str:
    """A quantity in one spelling: ``10``, ``10.0`` and ``1E1`` are the same.

    Text that is no number stays as it is.
    """
    number = _decimal(text)
    if number.is_nan():
        return text
    return format(number.normalize(), "f") if number else "0"


def quantity(text: str) -> Decimal:
    """A quantity as a number, 0 for text that is none."""
    number = _decimal(text)
    return Decimal(0) if number.is_nan() else number


def _decimal(text: str) -> Decimal:
    """A number, or NaN for text that is none."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return Decimal("NaN")
    return number if number.is_finite() else Decimal("NaN")
