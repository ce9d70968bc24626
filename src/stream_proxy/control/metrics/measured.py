"""What the metrics are read from: the running proxy, as far as they need to see it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from stream_proxy.feed.handler import FeedHandler
from stream_proxy.feed.orders import OrderFeed
from stream_proxy.hub.latency import Latency
from stream_proxy.hub.outbox import Outbox
from stream_proxy.outlets.limits import OutletCounts
from stream_proxy.state.journal import JournalError

NO_TOKEN = "anybody"  # noqa: S105 (a name, not a secret)
"""The consumer's name where no access tokens are configured."""


class Market(Protocol):
    """The market-data side."""

    @property
    def configured(self) -> list[str]:
        """The feeds that are connected at start, by name."""

    @property
    def handlers(self) -> Mapping[str, FeedHandler]:
        """The feeds that were started, by name."""


class Orders(Protocol):
    """The order side."""

    @property
    def feeds(self) -> Mapping[str, OrderFeed]:
        """The accounts that were connected, by name."""

    @property
    def trouble(self) -> JournalError | None:
        """Why the journal can't be used; None while it can."""

    @property
    def journal_waiting(self) -> int:
        """Jobs that aren't on the disk yet."""

    @property
    def journal_commits(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Clients:
    """All consumers of one protocol.

    Attributes:
        protocol: websocket, grpc or sse.
        counts: what the outlet counted.
        outboxes: who is served now: the name of its access token, and its outbox.
    """

    protocol: str
    counts: OutletCounts
    outboxes: Callable[[], Iterable[tuple[str, Outbox]]]


@dataclass(frozen=True, slots=True)
class Measured:
    """The whole proxy; ``stalls`` is how late its event loop was, each time that was looked at."""

    market: Market
    orders: Orders
    clients: Iterable[Clients]
    stalls: Latency = field(default_factory=Latency)
