"""Whether work that relies on the proxy may begin: ``/readyz``.

It may when every feed that is wanted is connected, every account that was started has been
compared with Alpaca's record since its stream listens, and the journal works. What is wanted says
``condition.py``. Nothing here is secret: names, states, numbers and times.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from stream_proxy.control.condition import (
    Condition,
    Grade,
    MarketSide,
    OrderSide,
    account_condition,
    feed_conditions,
    journal_condition,
)
from stream_proxy.feed.orders import OrderFeed
from stream_proxy.feed.upstream_status import UpstreamState
from stream_proxy.model.time import rfc3339

_NOT_ASKED_FOR = "nobody asked for it yet"


class FeedReadiness(BaseModel):
    """One feed that is configured or was asked for."""

    state: UpstreamState = Field(description="Where its one connection stands.")
    why: str = Field(description="What brought it there.")
    since: str | None = Field(description="When it came there, RFC 3339.")
    configured: bool = Field(description="Whether it is connected at start.")
    ready: bool = Field(description="Whether it is connected.")


class AccountReadiness(BaseModel):
    """The order updates of one account."""

    state: UpstreamState = Field(description="Where its one connection stands.")
    why: str = Field(description="What brought it there.")
    since: str | None = Field(description="When it came there, RFC 3339.")
    epoch: str | None = Field(description="Which numbering of events is in force.")
    last_sequence: int | None = Field(description="The number of the latest event.")
    reconciled_until: str | None = Field(
        description="Up to when the record is known to be complete, RFC 3339."
    )
    ready: bool = Field(description="Whether nothing can be missing.")


class JournalReadiness(BaseModel):
    """The order journal of all accounts."""

    works: bool = Field(description="Whether events can be written.")
    why: str = Field(description="Why not, and what to do; empty if they can.")
    since: str | None = Field(description="When it began to fail, RFC 3339.")


class ReadinessReport(BaseModel):
    """The answer of ``/readyz``."""

    ready: bool = Field(description="Whether nothing is waited for: status 200, else 503.")
    waiting_for: list[str] = Field(description="What is not ready, since when, what to do.")
    journal: JournalReadiness
    accounts: dict[str, AccountReadiness] = Field(description="By name.")
    feeds: dict[str, FeedReadiness] = Field(
        description="Configured feeds and those in use, by name; none if asked for one account."
    )


class Readiness:
    """Answers ``/readyz``.

    Since when the journal fails is noted by `look`, to be called when that changes.
    """

    def __init__(self, orders: OrderSide, market: MarketSide) -> None:
        self._orders = orders
        self._market = market
        self._trouble_since_ns = 0
        self.stopping = False
        """Whether the proxy goes down: then it is ready for nobody."""

    def look(self, now_ns: int) -> None:
        """Note when the journal began to fail."""
        if self._orders.trouble is None:
            self._trouble_since_ns = 0
        elif not self._trouble_since_ns:
            self._trouble_since_ns = now_ns

    def journal(self, now_ns: int) -> Condition:
        """How the order journal fares."""
        self.look(now_ns)
        return journal_condition(self._orders.trouble, self._trouble_since_ns)

    def conditions(self, now_ns: int) -> list[Condition]:
        """How everything that is wanted fares, the journal first."""
        feeds = self._orders.feeds.values()
        return [
            self.journal(now_ns),
            *feed_conditions(self._market),
            *(account_condition(feed) for feed in feeds),
        ]

    def report(self, now_ns: int, account: str = "", detailed: bool = True) -> ReadinessReport:
        """Everything, or one account and the journal.

        An account that nobody asked for yet isn't connected, so it holds nobody up, unless it is
        the one that is asked about. Without details, names and states are told, no reasons.
        """
        if account:
            conditions = [self.journal(now_ns), self._asked_about(account)]
        else:
            conditions = self.conditions(now_ns)
        waiting = [c.reason(detailed) for c in conditions if not c.ready]
        if self.stopping:
            waiting.append("the proxy is going down: use another, or come back in a moment")
        names = [account] if account else self._orders.accounts
        return ReadinessReport(
            ready=not waiting,
            waiting_for=waiting,
            journal=self.journal_readiness(now_ns, detailed),
            accounts={name: self.account_readiness(name, detailed) for name in names},
            feeds={} if account else self._feeds(detailed),
        )

    def _asked_about(self, account: str) -> Condition:
        feed = self._orders.feeds.get(account)
        if feed is not None:
            return account_condition(feed)
        return Condition(
            f"account {account}",
            Grade.FAILS,
            False,
            f"account {account} isn't connected: {_NOT_ASKED_FOR}",
            "Connect a consumer to it, or set STREAM_PROXY_ORDERS=on.",
        )

    def journal_readiness(self, now_ns: int, detailed: bool = True) -> JournalReadiness:
        """The journal's part of the answer."""
        self.look(now_ns)
        trouble = self._orders.trouble
        return JournalReadiness(
            works=trouble is None,
            why=str(trouble or "") if detailed else "",
            since=moment(self._trouble_since_ns),
        )

    def account_readiness(self, name: str, detailed: bool = True) -> AccountReadiness:
        """An account's part of the answer."""
        feed = self._orders.feeds.get(name)
        return _idle() if feed is None else _of_account(feed, detailed)

    def _feeds(self, detailed: bool) -> dict[str, FeedReadiness]:
        configured, handlers = self._market.configured, self._market.handlers
        found = {}
        for name in dict.fromkeys([*configured, *handlers]):
            if name not in handlers:
                state, why, since_ns = UpstreamState.IDLE, "not started yet", 0
            else:
                status = handlers[name].upstream
                state, why, since_ns = status.state, status.why, status.since_ns
            found[name] = FeedReadiness(
                state=state,
                why=why if detailed else "",
                since=moment(since_ns),
                configured=name in configured,
                ready=state is UpstreamState.CONNECTED,
            )
        return found


def _idle() -> AccountReadiness:
    return AccountReadiness(
        state=UpstreamState.IDLE,
        why=_NOT_ASKED_FOR,
        since=None,
        epoch=None,
        last_sequence=None,
        reconciled_until=None,
        ready=False,
    )


def _of_account(feed: OrderFeed, detailed: bool) -> AccountReadiness:
    status, begun = feed.upstream, feed.state is not None
    return AccountReadiness(
        state=status.state,
        why=status.why if detailed else "",
        since=moment(status.since_ns),
        epoch=feed.state.epoch if feed.state is not None and detailed else None,
        last_sequence=feed.last_sequence if begun and detailed else None,
        reconciled_until=moment(feed.reconciled_until_ns) if detailed else None,
        ready=feed.ready,
    )


def moment(ns: int) -> str | None:
    """An instant as it is told; None for one that never was."""
    return rfc3339(ns) if ns else None
