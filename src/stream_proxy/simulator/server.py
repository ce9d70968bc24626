"""The simulator's process: listens, knows its endpoints, judges credentials, commits faults."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any
from zlib import crc32

from stream_proxy.model.feeds import Feed, feed_paths
from stream_proxy.model.time import NS_PER_MINUTE
from stream_proxy.runtime.certificates import server_context
from stream_proxy.runtime.clock import Clock, SystemClock
from stream_proxy.runtime.websocket_server import WebSocketConnection
from stream_proxy.simulator.endpoint import Endpoint
from stream_proxy.simulator.faults import NOW, TRADING_NOW, ArmedFaults, Fault
from stream_proxy.simulator.ledger import Ledger
from stream_proxy.simulator.market.base import Market
from stream_proxy.simulator.market.crypto import CryptoMarket
from stream_proxy.simulator.market.news import NewsMarket
from stream_proxy.simulator.market.options import OptionMarket
from stream_proxy.simulator.market.present import PresentMarket
from stream_proxy.simulator.market.replay import ReplayMarket
from stream_proxy.simulator.market.stocks import StockMarket
from stream_proxy.simulator.market.test_stream import FakepacaMarket
from stream_proxy.simulator.market.tickers import tickers
from stream_proxy.simulator.options import SimulatorOptions
from stream_proxy.simulator.session import SimulatorConnection
from stream_proxy.simulator.slots import Slots
from stream_proxy.simulator.trading.desk import TradingDesk
from stream_proxy.simulator.trading.running_market import RunningMarket
from stream_proxy.wire.alpaca.codes import AUTH_FAILED, INSUFFICIENT_SUBSCRIPTION, ErrorCode
from stream_proxy.wire.alpaca.requests import Credentials


class Simulator:
    """A pretend Alpaca."""

    def __init__(self, options: SimulatorOptions, clock: Clock | None = None) -> None:
        self.options = options
        self.clock = clock or SystemClock()
        self.paths = feed_paths("iex")
        self.ledger = Ledger(options.recorded_items)
        self.faults = ArmedFaults()
        self.endpoints: dict[str, Endpoint] = {}
        self.connections: dict[WebSocketConnection, None] = {}
        self._server: asyncio.Server | None = None
        self._running = not options.hold
        self.slots = Slots(
            options.connections_per_key, options.slot_seconds, asyncio.get_running_loop().time
        )
        self.trading = TradingDesk(
            options,
            self.clock,
            self.faults,
            self.slots,
            RunningMarket(self.endpoints, options.seed),
            self.knows,
        )

    async def start(self) -> int:
        """Listen; give the port.

        Raises:
            OSError: the port is taken.
        """
        options = self.options
        tls: ssl.SSLContext | None = None
        if options.tls_certificate is not None and options.tls_key is not None:
            tls = server_context(options.tls_certificate, options.tls_key)
        self._server = await asyncio.get_running_loop().create_server(
            self._accept, options.host, options.port, ssl=tls, backlog=1024
        )
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.trading.stop()
        for endpoint in self.endpoints.values():
            endpoint.stop()
        for connection in list(self.connections):
            connection.close(1001, "the simulator is going down")
        deadline = asyncio.get_running_loop().time() + 1
        while self.connections and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.abort()

    def _accept(self) -> SimulatorConnection:
        return SimulatorConnection(self)

    def forget(self, connection: WebSocketConnection) -> None:
        self.connections.pop(connection, None)

    def knows(self, credentials: Credentials) -> bool:
        """Whether these credentials are accepted at all."""
        accounts = self.options.accounts
        if credentials.bearer:
            known = credentials.secret in accounts.values()
        else:
            known = accounts.get(credentials.key) == credentials.secret
        return known or not accounts

    def judge(self, feed: Feed, credentials: Credentials) -> ErrorCode | None:
        """What speaks against these credentials on this feed."""
        if not self.knows(credentials):
            return AUTH_FAILED
        if feed.name in self.options.denied_feeds:
            return INSUFFICIENT_SUBSCRIPTION
        return None

    def endpoint(self, feed: Feed) -> Endpoint:
        """The endpoint of a feed, opened on first use."""
        if feed.name not in self.endpoints:
            now_ns = self.clock.now_ns()
            began_ns = now_ns - int(self.options.past_minutes * NS_PER_MINUTE)
            market, speed = self._market(feed, began_ns)
            endpoint = self.endpoints[feed.name] = Endpoint(
                feed, market, self.options, self.clock, replay_speed=speed, running=self._running
            )
            if speed is None:
                endpoint.live_through(began_ns, now_ns)
        return self.endpoints[feed.name]

    def _market(self, feed: Feed, began_ns: int) -> tuple[Market, float | None]:
        options = self.options
        if options.replay is not None and feed.kind == options.replay_kind:
            if options.replay_now:
                return PresentMarket(ReplayMarket(options.replay, again=True), began_ns), None
            return ReplayMarket(options.replay), options.replay_speed
        # Feeds differ, runs with the same seed don't.
        seed = options.seed * 1000 + crc32(feed.name.encode()) % 1000
        if feed.name == "test":
            return FakepacaMarket(seed, began_ns), None
        match feed.kind:
            case "options":
                underlyings = min(options.symbols, 20)
                return OptionMarket(seed, underlyings, began_ns), None
            case "crypto":
                return CryptoMarket(seed, began_ns), None
            case "news":
                return NewsMarket(seed, tickers(options.symbols), began_ns, 2.0), None
            case _:
                return StockMarket(seed, options.symbols, began_ns, always_open=True), None

    # Control

    def commit(self, fault: Fault) -> int:
        """Arm a fault, or commit it on the open connections; give how many it hit."""
        if fault.kind not in (*NOW, *TRADING_NOW):
            self.faults.arm(fault)
            return 0
        hit = [
            connection
            for connection in list(self.connections)
            if isinstance(connection, SimulatorConnection)
            and connection.record is not None
            and fault.kind not in TRADING_NOW
            and not connection.lost
            and connection.feed is not None
            and fault.concerns(connection.feed.name)
        ]
        for connection in hit:
            connection.commit(fault)
        return len(hit) + self.trading.commit(fault)

    def run_markets(self, running: bool) -> None:
        """Start or stop time in all markets, those still to be opened included."""
        self._running = running
        for endpoint in self.endpoints.values():
            endpoint.running = running
            endpoint.wake()

    def state(self) -> dict[str, Any]:
        """Ledger and endpoints as plain data."""
        return self.ledger.as_dict() | {
            "endpoints": {
                name: {
                    "rate": endpoint.rate,
                    "running": endpoint.running,
                    "generated": endpoint.generated,
                    "exhausted": endpoint.exhausted,
                    "symbols": len(endpoint.market.symbols),
                }
                for name, endpoint in self.endpoints.items()
            },
            "armed_faults": [fault.kind for fault in self.faults.waiting()],
        }
