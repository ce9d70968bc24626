"""The gRPC side put together: the outlet, its server, and what calls lead to."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

from stream_proxy import __version__
from stream_proxy.config.schema import Settings
from stream_proxy.control.readiness import Readiness
from stream_proxy.errors import SettingsError
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.feed.upstream_status import UpstreamState
from stream_proxy.model.feeds import FEEDS, Feed
from stream_proxy.order_desk import OrderDesk
from stream_proxy.outlets.doorkeeper import Doorkeeper
from stream_proxy.outlets.grpc.connection_status import connection_status
from stream_proxy.outlets.grpc.outlet import GrpcOutlet
from stream_proxy.outlets.limits import ConsumerLimits
from stream_proxy.outlets.orders import OrderPath
from stream_proxy.outlets.turnstile import Turnstile
from stream_proxy.runtime.certificates import grpc_context
from stream_proxy.runtime.clock import Clock
from stream_proxy.runtime.grpc_server import GrpcLimits, GrpcServer
from stream_proxy.runtime.tracing import Tracer
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb

_LOOK_NS = 100_000_000

Certificates = Callable[[], tuple[Path, Path]]


class GrpcDesk:
    """Serves gRPC on its port.

    Args:
        handlers: the feeds that were started, read anew each time.
        handler_for: starts one; None if it isn't configured.
        consumers: how many there are, of all protocols.
        certificates: the chain and key that TLS is served with.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        handlers: Callable[[], Mapping[str, FeedHandler]],
        handler_for: Callable[[Feed], FeedHandler | None],
        desk: OrderDesk,
        readiness: Readiness,
        consumers: Callable[[], int],
        certificates: Certificates,
        doorkeeper: Doorkeeper,
        limits: ConsumerLimits,
        turnstile: Turnstile,
        clock: Clock,
        tracer: Tracer,
    ) -> None:
        self._settings = settings
        self._handlers = handlers
        self._handler_for = handler_for
        self._desk = desk
        self._readiness = readiness
        self._consumers = consumers
        self._certificates = certificates
        self._clock = clock
        self._started_ns = clock.now_ns()
        self._limits = limits
        self._server: GrpcServer | None = None
        self._ready = False
        self._looked_ns = -_LOOK_NS
        self.outlet = GrpcOutlet(
            self,
            doorkeeper,
            limits,
            clock,
            _default_feeds(settings),
            self._serving,
            turnstile,
            tracer,
        )

    # The lobby, as the outlet sees it

    def handler_for(self, feed: Feed) -> FeedHandler | None:
        return self._handler_for(feed)

    def orders_for_path(self, path: str) -> OrderPath | None:
        return self._desk.path(path)

    def connection_status(self) -> pb.ConnectionStatus:
        return connection_status(
            self._handlers(),
            self._desk.feeds,
            version=__version__,
            started_ns=self._started_ns,
            now_ns=self._clock.now_ns(),
            consumers=self._consumers(),
            environment=self._settings.environment,
        )

    async def list_contracts(self, underlying: str) -> list[str]:
        return await self._desk.option_contracts(underlying)

    def _serving(self, name: str) -> bool | None:
        """What the health service says: all, a feed, or an account."""
        if not name:
            return self._all_ready()
        handler = self._handlers().get(name)
        if handler is not None:
            return handler.upstream.state is UpstreamState.CONNECTED
        if name in FEEDS:
            # Not asked for yet: it is connected with the first call, if it is configured.
            return True if not self._settings.feeds or name in self._settings.feeds else None
        if name in self._desk.accounts:
            feed = self._desk.feeds.get(name)
            return feed is not None and feed.ready
        return None

    def _all_ready(self) -> bool:
        """As ``/readyz`` says; looked at once for all who watch at the same time."""
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._looked_ns > _LOOK_NS:
            self._looked_ns = now_ns
            conditions = self._readiness.conditions(self._clock.now_ns())
            self._ready = not self._readiness.stopping and all(c.ready for c in conditions)
        return self._ready

    # Life

    async def start(self) -> str:
        """Listen; give the address.

        Raises:
            OSError: the port is taken.
            SettingsError: a certificate can't be used.
        """
        settings = self._settings
        limits = GrpcLimits(
            connections=settings.max_connections,
            calls=settings.grpc_max_calls,
            request_bytes=4 * settings.max_message_bytes,
            keepalive_seconds=settings.consumer_ping_seconds or 3600,
            keepalive_timeout_seconds=settings.consumer_pong_seconds,
            handshake_seconds=settings.consumer_handshake_seconds,
        )
        self._server = GrpcServer(
            self.outlet.methods(),
            settings.host,
            settings.grpc_port,
            limits,
            self._tls(),
            self.outlet.one_too_many,
        )
        port = await self._server.start()
        self.outlet.start()
        host = settings.host
        return f"{f'[{host}]' if ':' in host else host}:{port}"

    def _tls(self) -> ssl.SSLContext | None:
        settings = self._settings
        if not settings.grpc_tls:
            return None
        certificate, key = self._certificates()
        try:
            return grpc_context(certificate, key, settings.grpc_client_ca)
        except OSError as error:
            raise SettingsError(
                [f"grpc_tls: can't use {settings.grpc_client_ca or certificate}: {error}"]
            ) from None

    def stop_accepting(self) -> None:
        self.outlet.stop_accepting()
        if self._server is not None:
            self._server.stop_accepting()

    async def stop(self) -> None:
        """End all calls with a hint to come back, then all connections."""
        await self.outlet.stop(self._settings.drain_seconds)
        if self._server is not None:
            await self._server.stop()


def _default_feeds(settings: Settings) -> dict[str, str]:
    """The feed of each kind for requests that name none: a configured one where there is."""
    found = {
        "stocks": settings.feed,
        "options": "opra" if settings.environment == "live" else "indicative",
        "crypto": "crypto-us",
        "news": "news",
    }
    for kind, name in found.items():
        mine = [feed for feed in settings.feeds if FEEDS[feed].kind == kind]
        if mine and name not in mine:
            found[kind] = mine[0]
    return found
