"""Whether an execution engine may trust that it has seen everything: accounts and journal.

An account is ready when its stream listens and its record was compared with Alpaca's since then.
Nothing here is secret: names, states, numbers and times.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from stream_proxy.feed.orders import OrderFeed
from stream_proxy.feed.upstream_status import UpstreamState
from stream_proxy.model.time import rfc3339
from stream_proxy.outlets.orders import OrderPath
from stream_proxy.state.journal import JournalError


class OrderSide(Protocol):
    """What is asked of the order side."""

    @property
    def accounts(self) -> Mapping[str, object]:
        """The accounts that credentials are configured for, by name."""

    @property
    def feeds(self) -> Mapping[str, OrderFeed]:
        """Those of them that were connected."""

    @property
    def trouble(self) -> JournalError | None:
        """Why the journal can't be used; None while it can."""

    def path(self, path: str) -> OrderPath | None:
        """What a path of the trading stream leads to."""


class Readiness:
    """Answers ``/readyz``.

    Since when the journal fails is noted by `look`, to be called when that changes.
    """

    def __init__(self, orders: OrderSide) -> None:
        self._orders = orders
        self._trouble_since_ns = 0

    def look(self, now_ns: int) -> None:
        """Note when the journal began to fail."""
        if self._orders.trouble is None:
            self._trouble_since_ns = 0
        elif not self._trouble_since_ns:
            self._trouble_since_ns = now_ns

    def report(self, now_ns: int, account: str = "") -> dict[str, Any]:
        """Everything, or one account; ``waiting_for`` says in sentences what isn't ready.

        An account that nobody asked for yet isn't connected, so it holds nobody up, unless it is
        the one that is asked about.
        """
        self.look(now_ns)
        orders = self._orders
        waiting = []
        if orders.trouble is not None:
            since = rfc3339(self._trouble_since_ns)
            waiting.append(f"the order journal can't be used since {since}: {orders.trouble}")
        accounts = {}
        for name in [account] if account else orders.accounts:
            feed = orders.feeds.get(name)
            accounts[name] = _idle() if feed is None else _of_account(feed)
            if feed is None and account:
                waiting.append(f"account {name} isn't connected: nobody asked for it yet")
            elif feed is not None and not feed.reconciled:
                waiting.append(_sentence(feed))
        return {
            "ready": not waiting,
            "waiting_for": waiting,
            "journal": {
                "works": orders.trouble is None,
                "why": str(orders.trouble or ""),
                "since": _time(self._trouble_since_ns),
            },
            "accounts": accounts,
        }


def _idle() -> dict[str, Any]:
    return {
        "state": UpstreamState.IDLE.value,
        "why": "nobody asked for it yet",
        "since": None,
        "epoch": None,
        "last_sequence": None,
        "reconciled_until": None,
        "ready": False,
    }


def _of_account(feed: OrderFeed) -> dict[str, Any]:
    status = feed.upstream
    return {
        "state": status.state.value,
        "why": status.why,
        "since": _time(status.since_ns),
        "epoch": feed.state.epoch if feed.state is not None else None,
        "last_sequence": feed.last_sequence,
        "reconciled_until": _time(feed.reconciled_until_ns),
        "ready": feed.ready,
    }


def _sentence(feed: OrderFeed) -> str:
    """What an account waits for, and since when."""
    status, name = feed.upstream, feed.account.name
    since = f" since {rfc3339(status.since_ns)}" if status.since_ns else ""
    if status.state is UpstreamState.CONNECTED:
        return f"account {name} is connected{since} and asks Alpaca for what it missed"
    why = f": {status.why}" if status.why else ""
    return f"account {name} is {status.state.value}{since}{why}"


def _time(ns: int) -> str | None:
    return rfc3339(ns) if ns else None
