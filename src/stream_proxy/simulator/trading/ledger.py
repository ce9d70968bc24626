"""The trading side's ledger: every event, where it was sent, who was connected, who called REST."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from stream_proxy.model.time import rfc3339
from stream_proxy.simulator.trading.account import Account
from stream_proxy.simulator.trading.amounts import text


@dataclass(eq=False, slots=True)
class StreamRecord:
    """One connection to the trading stream; ``sent`` are event ids in the order of sending."""

    number: int
    path: str
    peer: str
    opened_ns: int
    account: Account | None = None
    authenticated_ns: int = 0
    listening: list[str] = field(default_factory=list)
    closed_ns: int = 0
    ended: str = ""
    withheld: int = 0
    sent: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "path": self.path,
            "peer": self.peer,
            "opened_ns": self.opened_ns,
            "authenticated_ns": self.authenticated_ns,
            "listening": self.listening,
            "closed_ns": self.closed_ns,
            "ended": self.ended,
            "withheld": self.withheld,
            "sent": self.sent,
        }


class TradingLedger:
    """All connections and calls of the trading side."""

    def __init__(self) -> None:
        self.connections: list[StreamRecord] = []
        self.open: Counter[str] = Counter()
        self.peak_open: dict[str, int] = {}
        self.refused_upgrades: Counter[str] = Counter()
        self._open_of: Counter[Account] = Counter()
        self._peak_of: dict[Account, int] = {}
        self._calls: dict[Account, Counter[str]] = {}
        self.refused_calls: Counter[str] = Counter()

    def opened(self, path: str, peer: str, now_ns: int) -> StreamRecord:
        record = StreamRecord(len(self.connections) + 1, path, peer, now_ns)
        self.connections.append(record)
        self.open[path] += 1
        self.peak_open[path] = max(self.peak_open.get(path, 0), self.open[path])
        return record

    def authenticated(self, record: StreamRecord, account: Account, now_ns: int) -> None:
        record.account, record.authenticated_ns = account, now_ns
        self._open_of[account] += 1
        self._peak_of[account] = max(self._peak_of.get(account, 0), self._open_of[account])

    def closed(self, record: StreamRecord, how: str, now_ns: int) -> None:
        if record.closed_ns:
            return
        record.closed_ns, record.ended = now_ns, record.ended or how
        self.open[record.path] -= 1
        if record.account is not None:
            self._open_of[record.account] -= 1

    def called(self, account: Account, what: str, status: int) -> None:
        """Count a REST call, as ``GET /v2/orders 200``."""
        self._calls.setdefault(account, Counter())[f"{what} {status}"] += 1

    def as_dict(self, accounts: list[Account]) -> dict[str, Any]:
        """Everything as plain data: ``accounts`` by kind and key, and what belongs to nobody."""
        pages: dict[str, dict[str, Any]] = {"paper": {}, "live": {}}
        for account in accounts:
            pages[account.kind][account.key] = self.page(account)
        return {
            "accounts": pages,
            "open": dict(self.open),
            "peak_open": self.peak_open,
            "refused_upgrades": dict(self.refused_upgrades),
            "refused_calls": dict(self.refused_calls),
            "unauthenticated": [
                record.as_dict() for record in self.connections if record.account is None
            ],
        }

    def page(self, account: Account) -> dict[str, Any]:
        """One account's page."""
        mine = [record for record in self.connections if record.account is account]
        sent: dict[str, list[int]] = {}
        for record in mine:
            for event_id in record.sent:
                sent.setdefault(event_id, []).append(record.number)
        calls = self._calls.get(account, Counter())
        return {
            "account_id": account.id,
            "account_number": account.number,
            "created_at": rfc3339(account.created_ns),
            "cash": text(account.holdings.cash),
            "positions": {
                symbol: text(position.qty)
                for symbol, position in account.holdings.positions.items()
            },
            "open_orders": list(account.working),
            "events": [
                {
                    "number": event.number,
                    "event_id": event.id,
                    "event": event.event,
                    "order_id": event.order_id,
                    "execution_id": event.execution_id,
                    "status": event.data["order"]["status"],
                    "at": event.data["at"],
                    "sent_on": sent.get(event.id, []),
                }
                for event in account.events
            ],
            "connections": [record.as_dict() for record in mine],
            "opened": len(mine),
            "open": self._open_of[account],
            "peak_open": self._peak_of.get(account, 0),
            "rest_calls": dict(calls),
            "rest_calls_total": calls.total(),
        }
