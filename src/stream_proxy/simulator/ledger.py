"""What the simulator sent, to whom, and who was connected when.

Per connection and topic: how many messages, and a checksum that doesn't depend on order (the sum
of CRC-32 over the items as sent). A receiver that computes the same over what it got can prove
that nothing was lost, doubled or changed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from stream_proxy.model.topics import SubscriptionSet


@dataclass(eq=False, slots=True)
class ConnectionRecord:
    """One connection's page. ``ended`` says how: clean, unclean, or why we ended it."""

    number: int
    feed: str
    codec: str
    peer: str
    opened_ns: int
    key: str = ""
    authenticated_ns: int = 0
    closed_ns: int = 0
    ended: str = ""
    messages: int = 0
    checksum: int = 0
    withheld: int = 0
    subscribes: int = 0
    unsubscribes: int = 0
    errors: list[int] = field(default_factory=list)
    topics: SubscriptionSet = field(default_factory=SubscriptionSet)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    items: deque[bytes] = field(default_factory=deque)

    def sent(self, topics: Sequence[tuple[str, str]], items: Sequence[bytes]) -> None:
        """Note what went out in one batch: (type, symbol) and bytes, index by index."""
        self.messages += len(items)
        self.checksum += sum(map(crc32, items))
        counts = self.counts
        for kind, symbol in topics:
            by_symbol = counts.get(kind)
            if by_symbol is None:
                by_symbol = counts[kind] = {}
            by_symbol[symbol] = by_symbol.get(symbol, 0) + 1
        if self.items.maxlen:
            self.items.extend(items)

    def as_dict(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "feed": self.feed,
            "codec": self.codec,
            "peer": self.peer,
            "opened_ns": self.opened_ns,
            "authenticated_ns": self.authenticated_ns,
            "closed_ns": self.closed_ns,
            "ended": self.ended,
            "messages": self.messages,
            "checksum": self.checksum % (1 << 64),
            "withheld": self.withheld,
            "subscribes": self.subscribes,
            "unsubscribes": self.unsubscribes,
            "errors": self.errors,
            "topics": self.topics.as_dict(),
            "counts": self.counts,
        }


class Ledger:
    """All connections, and how many were open at once on each endpoint.

    ``peak_open`` counts sockets whose handshake was accepted, authenticated or not: a second one
    is a breach of the one-connection rule even if it gets no further.
    """

    def __init__(self, recorded_items: int) -> None:
        self._recorded_items = recorded_items
        self.connections: list[ConnectionRecord] = []
        self.open: dict[str, int] = {}
        self.peak_open: dict[str, int] = {}
        self.refused_upgrades: dict[str, int] = {}

    def opened(self, feed: str, codec: str, peer: str, now_ns: int) -> ConnectionRecord:
        record = ConnectionRecord(len(self.connections) + 1, feed, codec, peer, now_ns)
        record.items = deque(maxlen=self._recorded_items)
        self.connections.append(record)
        self.open[feed] = self.open.get(feed, 0) + 1
        self.peak_open[feed] = max(self.peak_open.get(feed, 0), self.open[feed])
        return record

    def closed(self, record: ConnectionRecord, now_ns: int, how: str) -> None:
        if not record.closed_ns:
            record.closed_ns = now_ns
            record.ended = record.ended or how
            self.open[record.feed] -= 1

    def refused_upgrade(self, feed: str) -> None:
        self.refused_upgrades[feed] = self.refused_upgrades.get(feed, 0) + 1

    def as_dict(self) -> dict[str, Any]:
        return {
            "open": self.open,
            "peak_open": self.peak_open,
            "refused_upgrades": self.refused_upgrades,
            "connections": [record.as_dict() for record in self.connections],
        }
