"""Events: the data object of a trade update, numbered, stamped and kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from stream_proxy.model.time import rfc3339
from stream_proxy.simulator.trading.account import Account, Event
from stream_proxy.simulator.trading.identifiers import Identifiers
from stream_proxy.simulator.trading.order import Order

RARE_EVENTS = (
    "accepted",
    "accepted_for_bidding",
    "calculated",
    "done_for_day",
    "held",
    "new",
    "pending_cancel",
    "pending_new",
    "pending_replace",
    "pending_review",
    "stopped",
    "suspended",
)
"""Events that say no more than that the order now has the status of the same name."""


class Announcements:
    """Makes events and keeps them: with the account for ever, and in a queue until taken."""

    def __init__(self, identifiers: Identifiers) -> None:
        self._identifiers = identifiers
        self._fresh: deque[tuple[Account, Event]] = deque()

    def announce(
        self,
        account: Account,
        order: Order,
        event: str,
        now_ns: int,
        extra: Mapping[str, Any] | None = None,
    ) -> Event:
        """Say that something happened to an order, with the order as it is now."""
        event_id = self._identifiers.event_id(now_ns)
        snapshot = order.as_dict()
        at = rfc3339(now_ns)
        data: dict[str, Any] = {"at": at, "event_id": event_id, "event": event, "timestamp": at}
        data |= {"order": snapshot, **(extra or {})}
        execution_id = extra.get("execution_id") if extra else None
        made = Event(len(account.events) + 1, event_id, event, order.id, execution_id, now_ns, data)
        account.events.append(made)
        order.history.append((now_ns, snapshot))
        for leg in order.legs:
            if not leg.history or leg.history[-1][1]["status"] != leg.status:
                leg.history.append((now_ns, leg.as_dict()))
        self._fresh.append((account, made))
        return made

    def take(self) -> list[tuple[Account, Event]]:
        """What was announced since the last call, oldest first."""
        taken = list(self._fresh)
        self._fresh.clear()
        return taken
