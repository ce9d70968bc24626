"""The two sides that health is asked about, put into any state by hand."""

from __future__ import annotations

from typing import Any

from stream_proxy.feed.consumer import Consumer
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.feed.orders import Account, Environment, OrderFeed
from stream_proxy.feed.upstream_status import UpstreamState
from stream_proxy.hub.outbox import Outbox
from stream_proxy.model.feeds import FEEDS
from stream_proxy.outlets.orders import OrderPath
from stream_proxy.outlets.shapes import shape_for
from stream_proxy.runtime.clock import SystemClock
from stream_proxy.state.journal import JournalError
from stream_proxy.wire.alpaca.codec import MSGPACK

NOW_NS = 1_769_095_800_123_999_999
"""2026-01-22T15:30:00.123999999Z"""
MINUTE_NS = 60 * 1_000_000_000


class NoWriter:
    """A journal that nobody asks for anything here."""

    def submit(self, work: Any, done: Any, failed: Any = None) -> None:
        raise AssertionError("health never writes")


class Market:
    """Feeds in states of our choice."""

    def __init__(self, *configured: str) -> None:
        self.configured = list(configured)
        self.handlers: dict[str, FeedHandler] = {}

    def feed(
        self, name: str, state: UpstreamState, why: str = "", consumers: int = 0
    ) -> FeedHandler:
        handler = self.handlers[name] = FeedHandler(FEEDS[name], MSGPACK, SystemClock())
        handler.upstream.enter(state, why, NOW_NS - MINUTE_NS)
        for number in range(consumers):
            outbox = Outbox(lambda frames: None, 1000, 1000, lambda: None)
            shape = shape_for(MSGPACK.name, MSGPACK.name)
            handler.join(Consumer(str(number), outbox, shape, lambda topics, refusal: None))
        return handler


class Orders:
    """Accounts in states of our choice."""

    def __init__(self, *accounts: str) -> None:
        self.accounts: dict[str, object] = dict.fromkeys(accounts)
        self.feeds: dict[str, OrderFeed] = {}
        self.trouble: JournalError | None = None
        self.journal_waiting = 0
        self.journal_commits = 0

    def path(self, path: str) -> OrderPath | None:
        raise AssertionError("health asks for no path")

    def feed(self, name: str, state: UpstreamState, *, reconciled: bool = False) -> OrderFeed:
        feed = self.feeds[name] = OrderFeed(
            Account(name, Environment.PAPER), NoWriter(), SystemClock()
        )
        feed.upstream.enter(state, "for a reason", NOW_NS - MINUTE_NS)
        feed.reconciled = reconciled
        return feed
