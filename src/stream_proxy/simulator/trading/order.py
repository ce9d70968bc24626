"""An order: its fields, and which status may follow which.

Keys and types are those of Alpaca's order object: quantities and prices are strings, what is
missing is null.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from stream_proxy.model.time import rfc3339
from stream_proxy.simulator.trading.amounts import ZERO, ninth, text, text_or_none
from stream_proxy.simulator.trading.identifiers import NOBODY

FINAL = frozenset({"filled", "canceled", "expired", "replaced", "rejected"})

_BEFORE_NEW = frozenset({"pending_new", "accepted", "accepted_for_bidding", "pending_review"})
_ENDS_UNFILLED = frozenset({"canceled", "expired", "rejected"})
_PENDING = frozenset({"pending_cancel", "pending_replace"})
_RARE = frozenset({"done_for_day", "stopped", "suspended", "calculated"})
_FILLS = frozenset({"partially_filled", "filled"})
_WORKING = frozenset({"new", "held"}) | _FILLS | _PENDING | _RARE

LEGAL: dict[str, frozenset[str]] = {
    **{
        status: _BEFORE_NEW | _ENDS_UNFILLED | _PENDING | {"new", "held", "suspended"}
        for status in _BEFORE_NEW
    },
    "held": _ENDS_UNFILLED | _PENDING | {"new", "replaced"},
    "new": _WORKING | _ENDS_UNFILLED | {"replaced", "pending_review"},
    "partially_filled": (_WORKING - {"new", "held"}) | {"canceled", "expired", "replaced"},
    # Until the venue confirms, anything may still happen, a fill included.
    "pending_cancel": _WORKING | _BEFORE_NEW | _ENDS_UNFILLED | {"replaced"},
    "pending_replace": _WORKING | _BEFORE_NEW | _ENDS_UNFILLED | {"replaced"},
    **{status: _WORKING | _ENDS_UNFILLED | {"replaced"} for status in _RARE},
    **{status: frozenset() for status in FINAL},
}
"""Status -> what may follow. FIX 4.2's order state tables, in Alpaca's words."""


class IllegalTransition(ValueError):
    """A status that can't follow the present one."""


@dataclass(eq=False, slots=True)
class Order:
    """One order of one account. Instants are nanoseconds; 0 is never.

    ``qty`` is None for orders by notional amount. ``trigger_met`` says that a stop was reached,
    ``due_ns`` when an order for an auction takes part, ``parent`` and ``legs`` tie bracket, OCO,
    OTO and multi-leg orders together. ``cancel_came_ns`` is the wish to cancel. ``unit_cost`` is
    what one unit was expected to cost when the order came, in USD.
    """

    id: str
    client_order_id: str
    symbol: str
    asset_class: str
    asset_id: str
    side: str
    type: str
    time_in_force: str
    created_ns: int
    qty: Decimal | None = None
    notional: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    hwm: Decimal | None = None
    order_class: str = ""
    extended_hours: bool = False
    position_intent: str | None = None
    ratio_qty: Decimal | None = None
    unit_cost: Decimal = ZERO
    status: str = "pending_new"
    filled_qty: Decimal = ZERO
    paid: Decimal = ZERO
    updated_ns: int = 0
    submitted_ns: int = 0
    filled_ns: int = 0
    expired_ns: int = 0
    expires_ns: int = 0
    cancel_came_ns: int = 0
    canceled_ns: int = 0
    failed_ns: int = 0
    replaced_ns: int = 0
    replaced_by: str | None = None
    replaces: str | None = None
    due_ns: int = 0
    trigger_met: bool = False
    before_pending: str = ""
    role: str = "simple"
    parent: Order | None = None
    replacement: Order | None = None
    legs: list[Order] = field(default_factory=list)
    history: list[tuple[int, dict[str, Any]]] = field(default_factory=list)

    @property
    def open(self) -> bool:
        return self.status not in FINAL

    @property
    def is_leg(self) -> bool:
        return self.parent is not None

    @property
    def buys(self) -> bool:
        return self.side == "buy"

    @property
    def multi_leg(self) -> bool:
        return self.order_class == "mleg"

    @property
    def remaining(self) -> Decimal | None:
        """What is still to be traded; None for an order by notional amount."""
        return None if self.qty is None else self.qty - self.filled_qty

    @property
    def filled_avg_price(self) -> Decimal | None:
        return ninth(self.paid / self.filled_qty) if self.filled_qty else None

    def become(self, status: str, now_ns: int) -> None:
        """Change the status.

        Raises:
            IllegalTransition: that status can't follow.
        """
        again = status == self.status and self.open
        if status not in LEGAL[self.status] and not again:
            raise IllegalTransition(f"an order that is {self.status} can't become {status}")
        self.status = status
        self.updated_ns = now_ns

    def as_dict(self, nested: bool = True) -> dict[str, Any]:
        """The order object; without ``nested`` the legs are left out, except multi-leg ones."""
        legs = [leg.as_dict() for leg in self.legs] if nested or self.multi_leg else []
        # Legs of a multi-leg order have no type of their own.
        kind = "" if self.role == "mleg_leg" else self.type
        anonymous = self.multi_leg and not self.is_leg
        return {
            "id": self.id,
            "client_order_id": self.client_order_id,
            "created_at": rfc3339(self.created_ns),
            "updated_at": rfc3339(self.updated_ns),
            "submitted_at": rfc3339(self.submitted_ns),
            "filled_at": _when(self.filled_ns),
            "expired_at": _when(self.expired_ns),
            "expires_at": _when(self.expires_ns),
            "cancel_requested_at": _when(self.cancel_came_ns),
            "canceled_at": _when(self.canceled_ns),
            "failed_at": _when(self.failed_ns),
            "replaced_at": _when(self.replaced_ns),
            "replaced_by": self.replaced_by,
            "replaces": self.replaces,
            "asset_id": NOBODY if anonymous else self.asset_id,
            "symbol": "" if anonymous else self.symbol,
            "asset_class": "" if anonymous else self.asset_class,
            "notional": text_or_none(self.notional),
            "qty": text_or_none(self.qty),
            "filled_qty": text(self.filled_qty),
            "filled_avg_price": text_or_none(self.filled_avg_price),
            "order_class": self.order_class,
            "order_type": kind,
            "type": kind,
            "side": self.side,
            "position_intent": self.position_intent,
            "time_in_force": self.time_in_force,
            "limit_price": text_or_none(self.limit_price),
            "stop_price": text_or_none(self.stop_price),
            "status": self.status,
            "extended_hours": self.extended_hours,
            "legs": legs or None,
            "trail_percent": text_or_none(self.trail_percent),
            "trail_price": text_or_none(self.trail_price),
            "hwm": text_or_none(self.hwm),
            "ratio_qty": text_or_none(self.ratio_qty),
        }

    def family(self) -> list[Order]:
        """The order and its legs."""
        return [self, *self.legs]


def _when(ns: int) -> str | None:
    return rfc3339(ns) if ns else None
