"""The WebSocket outlet: all clients, on any number of listening sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Protocol

import structlog
from websockets.datastructures import Headers

from stream_proxy.feed.handler import FeedHandler
from stream_proxy.hub.outbox import Outbox
from stream_proxy.model.feeds import Feed
from stream_proxy.model.time import NS_PER_SECOND
from stream_proxy.outlets.connection import Dialog, ServedConnection
from stream_proxy.outlets.consumer_status import ConsumerStatus, consumer_status
from stream_proxy.outlets.continuity import PositionedShape
from stream_proxy.outlets.doorkeeper import Doorkeeper
from stream_proxy.outlets.farewell import say_goodbye
from stream_proxy.outlets.limits import CLOSE_GOING_AWAY, ConsumerLimits, OutletCounts
from stream_proxy.outlets.market_data import MarketDataDialog
from stream_proxy.outlets.orders import OrderDialog, OrderPath
from stream_proxy.outlets.turnstile import Turnstile
from stream_proxy.runtime.tracing import NO_TRACER, Tracer
from stream_proxy.runtime.websocket_server import WebSocketConnection
from stream_proxy.state.gaps import Gap
from stream_proxy.wire.alpaca.codes import ErrorCode


class Lobby(Protocol):
    """What the outlet asks of the program around it."""

    def feed_for_path(self, path: str) -> Feed | None:
        """The feed that a path names, or None."""

    def orders_for_path(self, path: str) -> OrderPath | None:
        """The account's order updates that a path names, or None."""

    def handler_for(self, feed: Feed) -> FeedHandler | None:
        """The feed's middle, its upstream started; None when this feed isn't served."""


class WebSocketOutlet:
    """All clients of Alpaca's protocol, on any number of listening sockets.

    Args:
        turnstile: how fast newcomers are let in; by default as ``limits`` say, these alone.
    """

    def __init__(
        self,
        lobby: Lobby,
        doorkeeper: Doorkeeper,
        limits: ConsumerLimits,
        tracer: Tracer = NO_TRACER,
        turnstile: Turnstile | None = None,
    ) -> None:
        self.lobby = lobby
        self.doorkeeper = doorkeeper
        self.limits = limits
        self.tracer = tracer
        self.counts = OutletCounts()
        self.connections: dict[ServedConnection, None] = {}
        self.positioned: dict[tuple[FeedHandler, str], PositionedShape] = {}
        """One for each feed and codec: clients share frames only through the same object."""
        self.stopping = False
        self.turnstile = turnstile or Turnstile(limits.connections_per_second)
        self._log = structlog.get_logger("stream_proxy.websocket")
        self._task: asyncio.Task[None] | None = None

    def accept(self) -> asyncio.Protocol:
        """A protocol for one new socket: the factory for ``loop.create_server``."""
        return ServedConnection(self)

    def forget(self, connection: WebSocketConnection) -> None:
        if isinstance(connection, ServedConnection):
            self.connections.pop(connection, None)

    def dialog_for(
        self, connection: ServedConnection, path: str, query: str, headers: Headers
    ) -> Dialog | None:
        """What is talked about at this path, or None if nothing is."""
        feed = self.lobby.feed_for_path(path)
        if feed is not None:
            return MarketDataDialog(connection, feed, query, headers)
        orders = self.lobby.orders_for_path(path)
        if orders is not None:
            return OrderDialog(connection, orders, query, headers, self.limits.binary_order_frames)
        return None

    def order_consumers(self) -> list[OrderDialog]:
        """The clients that listen to order updates."""
        return [
            connection.dialog
            for connection in self.connections
            if isinstance(connection.dialog, OrderDialog) and connection.dialog.consumer is not None
        ]

    def order_trouble(self, text: str | None) -> None:
        """Tell those who listen to order updates that these have to wait, and why."""
        for dialog in self.order_consumers():
            dialog.trouble(text)

    def refuse_orders(self, text: str) -> None:
        """Send those away who listen to order updates: there won't be any for now."""
        for dialog in self.order_consumers():
            dialog.refuse(text)

    def consumers(self) -> list[MarketDataDialog]:
        """The clients of feeds that are admitted."""
        return [dialog for dialog in self._market_data() if dialog.consumer is not None]

    def _market_data(self) -> list[MarketDataDialog]:
        return [
            connection.dialog
            for connection in self.connections
            if isinstance(connection.dialog, MarketDataDialog)
        ]

    def consumer_count(self) -> int:
        """How many clients are served."""
        return len(self.consumers()) + len(self.order_consumers())

    def consumer_statuses(self, now_ns: int) -> Iterator[ConsumerStatus]:
        """Every client that is served, longest connected first."""
        loop_now = asyncio.get_running_loop().time()
        for connection in list(self.connections):
            dialog = connection.dialog
            feed = account = topics = slow = None
            if isinstance(dialog, MarketDataDialog) and dialog.consumer is not None:
                feed, topics, slow = dialog.feed.name, dialog.consumer.topics, dialog.slow
            elif isinstance(dialog, OrderDialog) and dialog.consumer and dialog.feed:
                account = dialog.feed.account.name
            else:
                continue
            yield consumer_status(
                "websocket",
                connection.peer,
                dialog.identity,
                connected_ns=now_ns - int((loop_now - connection.opened_at) * NS_PER_SECOND),
                outbox=connection.outbox,
                outbox_now_ns=int(loop_now * NS_PER_SECOND),
                feed=feed,
                account=account,
                topics=topics,
                slow=slow,
            )

    def outboxes(self) -> Iterator[tuple[str, Outbox]]:
        """Of each admitted client, the name of its access token and what it is sent by."""
        for connection in self.connections:
            dialog = connection.dialog
            if dialog is not None and dialog.admitted:
                yield dialog.identity, connection.outbox

    def upstream_changed(self, handler: FeedHandler) -> None:
        """Tell the clients that wait for this feed."""
        for dialog in self._market_data():
            if dialog.handler is handler:
                dialog.upstream_changed()

    def gap_changed(self, handler: FeedHandler, gap: Gap) -> None:
        """Tell the clients of this feed that want to know."""
        for dialog in self.consumers():
            if dialog.handler is handler:
                dialog.gap_changed(gap)

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        turn = 0
        while True:
            await asyncio.sleep(0.25)
            turn += 1
            self._tick(loop.time(), whole=turn % 4 == 0)

    def _tick(self, now: float, *, whole: bool) -> None:
        # By itself: a loop that sleeps would hold the connection that it saw last.
        for connection in list(self.connections):
            connection.fast_tick(now)
            if whole:
                connection.tick(now)

    async def stop(self, timeout_seconds: float) -> None:
        """Say goodbye to all and wait until they are gone."""
        self.stopping = True
        if self._task is not None:
            self._task.cancel()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        flushed_by = loop.time() + timeout_seconds / 4
        while loop.time() < flushed_by and any(c.outbox.queued_bytes for c in self.connections):
            await asyncio.sleep(0.02)
        farewells = [
            partial(connection.goodbye, CLOSE_GOING_AWAY, "the proxy is going down")
            for connection in self.connections
        ]
        await say_goodbye(farewells, timeout_seconds / 2)
        while self.connections and loop.time() < deadline:
            await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection.abort()

    def log_bad_request(self, connection: ServedConnection, code: ErrorCode, detail: str) -> None:
        self._log.info(
            "consumer.bad_request", peer=connection.peer, code=code.code, detail=detail[:120]
        )

    def log_end(self, connection: ServedConnection, code: ErrorCode) -> None:
        connection.trace.fail(f"{code.code} {code.text}")
        self._log.warning(
            "consumer.refused",
            peer=connection.peer,
            code=code.code,
            text=code.text,
            dropped=connection.outbox.dropped_messages,
        )

    def log_order_client_cut(self, connection: ServedConnection) -> None:
        self._log.warning(
            "orders.consumer_cut",
            peer=connection.peer,
            meaning="it read too slowly; nothing is lost, it can resume",
        )
