"""How everything that is wanted fares: the one judgement behind health and readiness.

A feed is wanted if it is configured (the setting ``feeds``) or has consumers; one that was
connected on demand and is used by nobody is idle, neither good nor bad. An account is wanted once
its stream was started. Everything is read when it is asked for, so an answer is as true as the
states that the sources keep.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from stream_proxy.feed.handler import FeedHandler
from stream_proxy.feed.orders import OrderFeed
from stream_proxy.feed.upstream_status import UpstreamState, UpstreamStatus
from stream_proxy.model.time import NS_PER_SECOND, rfc3339
from stream_proxy.outlets.orders import OrderPath
from stream_proxy.state.journal import JournalError


class OrderSide(Protocol):
    """What is asked of the order side."""

    @property
    def accounts(self) -> Mapping[str, object]:
        """The accounts that credentials are configured for, by name."""

    @property
    def feeds(self) -> Mapping[str, OrderFeed]:
        """Those of them that were started."""

    @property
    def trouble(self) -> JournalError | None:
        """Why the journal can't be used; None while it can."""

    @property
    def journal_waiting(self) -> int:
        """Pieces of work that aren't on the disk yet."""

    @property
    def journal_commits(self) -> int:
        """Transactions written since the start."""

    def path(self, path: str) -> OrderPath | None:
        """What a path of the trading stream leads to."""


class MarketSide(Protocol):
    """What is asked of the market-data side."""

    @property
    def configured(self) -> list[str]:
        """The feeds that are connected at start, by name."""

    @property
    def handlers(self) -> Mapping[str, FeedHandler]:
        """The feeds that were started, by name."""


class Grade(Enum):
    """How one thing fares."""

    WORKS = "works"
    PARTLY = "partly"
    """It serves, but something is missing: a gap is open, or the record isn't compared yet."""
    FAILS = "fails"


@dataclass(frozen=True, slots=True)
class Condition:
    """How one feed or account fares.

    Attributes:
        subject: what it is about, such as ``feed iex``.
        ready: whether work that relies on it may begin.
        problem: what is wrong, since when; empty if nothing is.
        cure: what to do, or what happens by itself.
    """

    subject: str
    grade: Grade
    ready: bool = True
    problem: str = ""
    cure: str = ""

    def reason(self, detailed: bool) -> str:
        """The problem and what to do about it; without details, only whose it is."""
        if not detailed:
            return f"{self.subject}: show an access token to read what is wrong"
        return f"{self.problem}. {self.cure}".rstrip()


def feed_conditions(market: MarketSide) -> Iterator[Condition]:
    """All feeds that are wanted, and those that Alpaca refuses for good."""
    handlers, configured = market.handlers, market.configured
    for name in configured:
        if name not in handlers:
            yield Condition(
                f"feed {name}",
                Grade.FAILS,
                False,
                f"feed {name} is not started yet",
                "It will be, within seconds of the start.",
            )
    for name, handler in handlers.items():
        if name in configured or handler.consumers:
            yield feed_condition(handler)
        elif handler.upstream.state is UpstreamState.REFUSED:
            # Whoever asked was told and is gone. The operator wants to know; nobody waits for it.
            status = handler.upstream
            yield Condition(
                f"feed {name}", Grade.PARTLY, True, _away(f"feed {name}", status), _cure(status)
            )


def feed_condition(handler: FeedHandler) -> Condition:
    """How a feed fares, whether it is wanted or not."""
    subject, status, gap = f"feed {handler.feed.name}", handler.upstream, handler.gaps.current
    if status.state is not UpstreamState.CONNECTED:
        problem = _away(subject, status)
        if gap is not None:
            problem += f"; data is missing since {_moment(gap.from_ns)}"
        return Condition(subject, Grade.FAILS, False, problem, _cure(status))
    if gap is not None:
        return Condition(
            subject,
            Grade.PARTLY,
            True,
            f"{subject} is connected, but data is missing since {_moment(gap.from_ns)}: {gap.why}",
            "It ends by itself when Alpaca has confirmed all subscriptions.",
        )
    return Condition(subject, Grade.WORKS)


def account_condition(feed: OrderFeed) -> Condition:
    """How the order updates of an account fare; the journal is judged elsewhere."""
    subject, status = f"account {feed.account.name}", feed.upstream
    if feed.reconciled:
        return Condition(subject, Grade.WORKS)
    if status.state is UpstreamState.CONNECTED:
        return Condition(
            subject,
            Grade.PARTLY,
            False,
            f"{subject} is connected since {_moment(status.since_ns)} and asks Alpaca for what it "
            "missed",
            "It takes seconds; if it lasts, the log says what Alpaca answers.",
        )
    return Condition(subject, Grade.FAILS, False, _away(subject, status), _cure(status))


def journal_condition(trouble: JournalError | None, since_ns: int) -> Condition:
    """How the order journal fares; its errors say themselves what to do."""
    if trouble is None:
        return Condition("the order journal", Grade.WORKS)
    problem = f"the order journal can't be used since {_moment(since_ns)}: {trouble}"
    return Condition("the order journal", Grade.FAILS, False, problem.rstrip(". "))


def _away(subject: str, status: UpstreamStatus) -> str:
    since = f" since {_moment(status.away_since_ns)}" if status.away_since_ns else ""
    why = f": {status.why.rstrip('. ')}" if status.why else ""
    return f"{subject} is away{since} ({status.state.value.replace('_', ' ')}){why}"


def _cure(status: UpstreamStatus) -> str:
    match status.state:
        case UpstreamState.REFUSED:
            return "Correct that and restart the proxy."
        case UpstreamState.SLOT_TAKEN:
            return "It is tried again, rarely, until the slot is free."
        case UpstreamState.STOPPED:
            return "The proxy is going down."
        case UpstreamState.IDLE:
            return "It is connected as soon as it can be."
        case _:
            return (
                "It is tried again by itself; if it lasts, check the network, the address and "
                "Alpaca's status page."
            )


def _moment(ns: int) -> str:
    """An instant in a sentence: seconds are enough."""
    return rfc3339(ns // NS_PER_SECOND * NS_PER_SECOND)
