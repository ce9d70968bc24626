"""Everything that an operator may want to know of the running proxy: ``/status``.

Read at the moment of asking from what the parts keep for themselves; no secrets, no message and no
order. The list of consumers is bounded, and made in shares, so that it holds up nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import chain, islice

from pydantic import BaseModel, Field

from stream_proxy import __version__
from stream_proxy.control.condition import MarketSide, OrderSide, feed_condition
from stream_proxy.control.health import milliseconds
from stream_proxy.control.readiness import (
    AccountReadiness,
    JournalReadiness,
    Readiness,
    moment,
)
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.feed.orders import OrderCounts
from stream_proxy.feed.upstream_status import UpstreamState, UpstreamStatus
from stream_proxy.model.time import NS_PER_SECOND
from stream_proxy.outlets.consumer_status import ConsumerSource, ConsumerStatus
from stream_proxy.state.gaps import Gap, GapLog

MOST_CONSUMERS_LISTED = 10_000
CONSUMERS_LISTED = 1_000

_ROWS_AT_ONCE = 100
"""Of the list of consumers: one to three milliseconds of work."""
_NS_PER_MS = 1_000_000


class GapStatus(BaseModel):
    """An interval in which messages may have been missed."""

    since: str = Field(description="The last good message before it, RFC 3339.")
    until: str | None = Field(
        description="When all subscriptions were confirmed again; null while it lasts."
    )
    why: str
    topics: int = Field(description="How many were subscribed.")


class Gaps(BaseModel):
    """The gaps of one feed since the start."""

    count: int
    current: GapStatus | None
    latest: GapStatus | None = Field(description="The latest that has ended.")


class ConnectionStatus(BaseModel):
    """One connection to Alpaca: where it stands, and what happened to it since the start."""

    state: UpstreamState
    since: str | None = Field(description="When it came there, RFC 3339.")
    why: str = Field(description="What brought it there.")
    away_since: str | None = Field(
        description="Since when it isn't connected, over all attempts, RFC 3339; null while it is."
    )
    attempts: int = Field(description="To connect.")
    connections: int = Field(description="Those that succeeded.")
    interruptions: int = Field(description="Connections and attempts that ended in failure.")
    last_message: str | None = Field(description="When the latest came, RFC 3339.")
    last_message_age_ms: int | None


class FeedStatus(ConnectionStatus):
    """One feed that was started."""

    kind: str = Field(description="`stocks`, `options`, `crypto` or `news`.")
    configured: bool = Field(description="Whether it is connected at start.")
    complete: bool = Field(description="Whether it is connected and no gap is open.")
    data: str = Field(
        description="How it flows: `idle` (not connected, or nothing subscribed), `flowing`, "
        "`quiet`, `closed`, `halted`, `mute` (it will be connected anew) or `half open`."
    )
    market_phase: str = Field(
        description="The part of the trading day that silence is judged by; empty before the "
        "first look."
    )
    epoch: str = Field(description="Names the numbering of its messages, begun at the start.")
    sequence: int = Field(description="The number of the latest message in it.")
    consumers: int
    subscriptions: dict[str, int] = Field(
        description="How many symbols consumers want on each channel; `*` counts as one."
    )
    messages: int = Field(description="Received since the start.")
    bad_messages: int = Field(description="Those of them that could not be read.")
    gaps: Gaps


class AccountStatus(AccountReadiness, ConnectionStatus):
    """The order updates of one account."""

    consumers: int
    received: int = Field(description="Events that the stream brought.")
    journalled: int = Field(description="Events written, from whatever source.")
    reconstructed: int = Field(description="Those of them that were made from orders and fills.")
    duplicates: int = Field(description="Events that came again.")


class JournalStatus(JournalReadiness):
    """The order journal of all accounts."""

    waiting: int = Field(description="Pieces of work that aren't on the disk yet.")
    commits: int = Field(description="Transactions written since the start.")


class ConsumerList(BaseModel):
    """Who is served."""

    total: int
    listed: list[ConsumerStatus] = Field(
        description="By protocol, longest connected first; `?consumers=` sets how many at most."
    )


class StatusReport(BaseModel):
    """The answer of ``/status``."""

    version: str
    time: str = Field(description="When this was true, RFC 3339.")
    started_at: str
    uptime_seconds: float
    feeds: dict[str, FeedStatus] = Field(description="Those that were started, by name.")
    accounts: dict[str, AccountStatus] = Field(description="Those with credentials, by name.")
    journal: JournalStatus
    consumers: ConsumerList


class Status:
    """Answers ``/status``."""

    def __init__(
        self,
        orders: OrderSide,
        market: MarketSide,
        readiness: Readiness,
        consumers: Sequence[ConsumerSource],
        started_ns: int,
    ) -> None:
        self._orders = orders
        self._market = market
        self._readiness = readiness
        self._consumers = consumers
        self._started_ns = started_ns

    async def report(self, now_ns: int, most_consumers: int = CONSUMERS_LISTED) -> StatusReport:
        """Everything, with at most so many consumers listed."""
        listed = await self._listed(now_ns, most_consumers)
        return StatusReport(
            version=__version__,
            time=milliseconds(now_ns),
            started_at=milliseconds(self._started_ns),
            uptime_seconds=round((now_ns - self._started_ns) / NS_PER_SECOND, 3),
            feeds={
                name: self._feed(handler, now_ns) for name, handler in self._market.handlers.items()
            },
            accounts={name: self._account(name, now_ns) for name in self._orders.accounts},
            journal=JournalStatus(
                **self._readiness.journal_readiness(now_ns).model_dump(),
                waiting=self._orders.journal_waiting,
                commits=self._orders.journal_commits,
            ),
            consumers=ConsumerList(
                total=sum(source.consumer_count() for source in self._consumers),
                listed=listed,
            ),
        )

    async def _listed(self, now_ns: int, most: int) -> list[ConsumerStatus]:
        every = chain.from_iterable(source.consumer_statuses(now_ns) for source in self._consumers)
        listed: list[ConsumerStatus] = []
        for row in islice(every, most):
            listed.append(row)
            if len(listed) % _ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)
        return listed

    def _feed(self, handler: FeedHandler, now_ns: int) -> FeedStatus:
        upstream, wanted = handler.upstream, handler.demand.wanted()
        return FeedStatus(
            **_connection(upstream, now_ns).model_dump(),
            kind=handler.feed.kind,
            configured=handler.feed.name in self._market.configured,
            complete=not feed_condition(handler).problem,
            data=upstream.data,
            market_phase=upstream.market_phase,
            epoch=handler.epoch,
            sequence=handler.sequence,
            consumers=len(handler.consumers),
            subscriptions={name: len(wanted.symbols(name)) for name in wanted.channels()},
            messages=handler.hub.messages,
            bad_messages=handler.bad_messages,
            gaps=_gaps(handler.gaps),
        )

    def _account(self, name: str, now_ns: int) -> AccountStatus:
        feed = self._orders.feeds.get(name)
        upstream = UpstreamStatus() if feed is None else feed.upstream
        counts = OrderCounts() if feed is None else feed.counts
        return AccountStatus(
            **_connection(upstream, now_ns).model_dump()
            | self._readiness.account_readiness(name).model_dump(),
            consumers=0 if feed is None else len(feed.consumers),
            received=counts.received,
            journalled=counts.journalled,
            reconstructed=counts.reconstructed,
            duplicates=counts.duplicates,
        )


def _connection(upstream: UpstreamStatus, now_ns: int) -> ConnectionStatus:
    last_ns = upstream.last_message_ns
    return ConnectionStatus(
        state=upstream.state,
        since=moment(upstream.since_ns),
        why=upstream.why,
        away_since=moment(upstream.away_since_ns),
        attempts=upstream.attempts,
        connections=upstream.connections,
        interruptions=upstream.interruptions,
        last_message=milliseconds(last_ns) if last_ns else None,
        last_message_age_ms=max(0, now_ns - last_ns) // _NS_PER_MS if last_ns else None,
    )


def _gaps(log: GapLog) -> Gaps:
    current = log.current
    ended = [gap for gap in log.recent() if gap is not current]
    return Gaps(
        count=log.count,
        current=None if current is None else _gap(current),
        latest=_gap(ended[-1]) if ended else None,
    )


def _gap(gap: Gap) -> GapStatus:
    return GapStatus(
        since=milliseconds(gap.from_ns),
        until=None if gap.to_ns is None else milliseconds(gap.to_ns),
        why=gap.why,
        topics=len(gap.topics),
    )
