"""The composition root: settings become objects, objects become a running proxy.

The only file that knows everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import errno
import ssl
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import structlog

from stream_proxy.config.schema import Settings, secrets_of
from stream_proxy.control.api import control_api
from stream_proxy.control.continuity import Continuity
from stream_proxy.control.exposition import MetricsServer
from stream_proxy.control.health import Health
from stream_proxy.control.metrics.measured import Clients, Measured
from stream_proxy.control.readiness import Readiness
from stream_proxy.control.status import Status
from stream_proxy.errors import AddressInUse, SettingsError, StreamProxyError
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.grpc_desk import GrpcDesk
from stream_proxy.market_desk import MarketDesk
from stream_proxy.model.feeds import FEEDS, Feed, feed_paths
from stream_proxy.model.slow_policy import read_slow_policy
from stream_proxy.order_desk import OrderDesk
from stream_proxy.outlets.consumer_status import ConsumerSource
from stream_proxy.outlets.doorkeeper import AccessToken, Doorkeeper, host_names, is_loopback
from stream_proxy.outlets.limits import ConsumerLimits, OutletCounts
from stream_proxy.outlets.order_events import OrderEventOutlet
from stream_proxy.outlets.orders import OrderPath
from stream_proxy.outlets.turnstile import Turnstile
from stream_proxy.outlets.websocket import WebSocketOutlet
from stream_proxy.runtime.certificates import self_signed, server_context
from stream_proxy.runtime.clock import Clock, SystemClock
from stream_proxy.runtime.http_server import BRIEF_CONNECTIONS, HttpLimits, HttpServer
from stream_proxy.runtime.logs import SecretMask
from stream_proxy.runtime.trace_export import TraceExport, TraceTarget
from stream_proxy.sources.connector import Connect, PicowsConnect
from stream_proxy.sources.market_hours import ExchangeMarketHours, MarketHours
from stream_proxy.sources.request_budget import RequestBudget
from stream_proxy.sources.trading.rest import HttpTradingRest, TradingRest
from stream_proxy.state.gaps import Gap
from stream_proxy.wire.alpaca.requests import Credentials

_DAY_SECONDS = 24 * 3600


class App:
    """A proxy that can be started and stopped.

    Args:
        settings: what the user wants.
        connect: opens upstream sockets; a simulation brings its own.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        random: Random | None = None,
        connect: Connect | None = None,
        hours: MarketHours | None = None,
    ) -> None:
        check_exposure(settings)
        self.settings = settings
        self._clock = clock or SystemClock()
        self._random = random or Random()  # noqa: S311 (jitter, not secrets)
        self._connect = connect or PicowsConnect(_upstream_tls(settings))
        options = "opra" if settings.environment == "live" else "indicative"
        self._paths = feed_paths(settings.feed, options)
        self._servers: list[asyncio.Server] = []
        self._log = structlog.get_logger("stream_proxy.app")
        self._loading: asyncio.Task[None] | None = None
        self.certificate: Path | None = None
        self.traces = TraceExport(_trace_target(settings), SecretMask(secrets_of(settings)).clean)
        doorkeeper = _doorkeeper(settings)
        # One for all protocols: whoever comes back costs the same thread.
        turnstile = Turnstile(settings.max_connections_per_second)
        self.outlet = WebSocketOutlet(self, doorkeeper, _limits(settings), self.traces, turnstile)
        self._budgets: dict[str, RequestBudget] = {}
        self.market = MarketDesk(
            settings,
            clock=self._clock,
            random=self._random,
            connect=self._connect,
            budget=self._budget(settings.key.get_secret_value() if settings.key else ""),
            on_status=self._upstream_changed,
            on_gap=self._gap_changed,
            tracer=self.traces,
        )
        self.market.hours = hours
        self.desk = OrderDesk(
            settings,
            clock=self._clock,
            random=self._random,
            connect=self._connect,
            rest_for=self._trading_rest,
            on_trouble=self._order_trouble,
            tracer=self.traces,
        )
        self.events = OrderEventOutlet(_limits(settings), self._clock)
        self.readiness = Readiness(self.desk, self)
        self.grpc = GrpcDesk(
            settings,
            handlers=lambda: self.handlers,
            handler_for=self.handler_for,
            desk=self.desk,
            readiness=self.readiness,
            consumers=lambda: sum(source.consumer_count() for source in self.consumer_sources),
            certificates=self._certificate_files,
            doorkeeper=doorkeeper,
            limits=_limits(settings),
            turnstile=turnstile,
            clock=self._clock,
            tracer=self.traces,
        )
        self.grpc_address = ""
        watched = self.desk, self, self.readiness, self.consumer_sources, self._clock.now_ns()
        self.health, self.status = Health(*watched), Status(*watched)
        calls = self.grpc.outlet
        clients = (
            Clients("websocket", self.outlet.counts, self.outlet.outboxes),
            Clients("sse", self.events.counts, self.events.outboxes),
            Clients("grpc", calls.counts, calls.outboxes),
        )
        self._metrics = MetricsServer(
            Measured(self, self.desk, clients),
            doorkeeper,
            self._clock,
            settings.host,
            settings.metrics_port,
        )
        self._http = HttpServer(
            control_api(
                self.desk,
                self.events,
                self.readiness,
                self.health,
                self.status,
                doorkeeper,
                self._clock,
                self.traces,
                self._metrics.registry,
                Continuity(self),
            ),
            settings.host,
            settings.http_port,
            _http_limits(settings),
            self.events.one_too_many,
        )
        self.http_address = ""
        self.metrics_address = ""

    # The lobby, as the outlet sees it

    def orders_for_path(self, path: str) -> OrderPath | None:
        return self.desk.path(path)

    def feed_for_path(self, path: str) -> Feed | None:
        return self._paths.get(path.rstrip("/") or "/")

    def handler_for(self, feed: Feed) -> FeedHandler | None:
        """The feed's middle; its upstream is started on the first call."""
        return self.market.handler_for(feed)

    @property
    def handlers(self) -> dict[str, FeedHandler]:
        """The middles of the feeds that were started, by name."""
        return self.market.handlers

    @property
    def configured(self) -> list[str]:
        """The feeds that are connected at start, by name."""
        return self.settings.feeds

    @property
    def consumer_sources(self) -> list[ConsumerSource]:
        """The outlets, whose consumers are counted and listed."""
        return [self.outlet, self.events, self.grpc.outlet]

    # Life

    async def start(self) -> None:
        """Listen, and connect the feeds that are configured.

        Raises:
            AddressInUse: a port is taken.
            SettingsError: a certificate can't be used.
        """
        if self.market.hours is None:
            self.market.hours = hours = ExchangeMarketHours()
            self._loading = asyncio.create_task(self._load_hours(hours))
        await self.traces.open()
        settings = self.settings
        await self._listen(settings.port, None, "STREAM_PROXY_PORT")
        if settings.tls:
            await self._listen(settings.tls_port, self._server_tls(), "STREAM_PROXY_TLS_PORT")
        self.http_address = await self._serve(
            self._http, settings.http_port, "STREAM_PROXY_HTTP_PORT"
        )
        self.metrics_address = await self._serve(
            self._metrics, settings.metrics_port, "STREAM_PROXY_METRICS_PORT"
        )
        if settings.grpc:
            try:
                self.grpc_address = await self.grpc.start()
            except OSError as error:
                raise _cannot_listen(
                    error, settings.host, settings.grpc_port, "STREAM_PROXY_GRPC_PORT"
                ) from None
        self.outlet.start()
        self.events.start()
        for name in settings.feeds:
            self.handler_for(FEEDS[name])
        self.desk.start()
        self._log.info(
            "proxy.listening",
            addresses=self.addresses(),
            http=self.http_address,
            grpc=self.grpc_address,
            metrics=f"{self.metrics_address}/metrics",
        )

    async def stop(self) -> None:
        """Stop accepting, free Alpaca's slots with close frames, let the consumers go."""
        self.readiness.stopping = True
        with self.traces.start("proxy.drain"):
            await self._drain()
        await self.traces.close()

    async def _drain(self) -> None:
        for server in self._servers:
            server.close()
        self.grpc.stop_accepting()
        if self._loading is not None:
            self._loading.cancel()
        await asyncio.gather(self.desk.stop_upstream(), self.market.stop_upstream())
        await asyncio.gather(
            self.outlet.stop(self.settings.drain_seconds),
            self.grpc.stop(),
            self._stop_http(),
        )
        await self.desk.stop()
        await self.market.stop()
        for server in self._servers:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await server.wait_closed()
        self._log.info(
            "proxy.stopped",
            websocket=_nonzero(self.outlet.counts),
            sse=_nonzero(self.events.counts),
            grpc=_nonzero(self.grpc.outlet.counts),
        )
        self.market.log_totals()

    async def _stop_http(self) -> None:
        """Event streams never end by themselves, and the HTTP server waits for them."""
        await self.events.stop(self.settings.drain_seconds)
        await self._http.stop()
        await self._metrics.stop()

    async def _load_hours(self, hours: ExchangeMarketHours) -> None:
        """Read the exchange calendar, beside the start, which must not wait, and once a day."""
        while True:
            try:
                await asyncio.to_thread(hours.load, self._clock.now_ns())
            except Exception:
                self._log.exception(
                    "market_hours.unknown",
                    meaning="a mute exchange feed won't be noticed; the rest works",
                )
            await asyncio.sleep(_DAY_SECONDS)

    def addresses(self) -> list[str]:
        """Where consumers connect."""
        found = []
        for server in self._servers:
            for socket in server.sockets:
                host, port = socket.getsockname()[:2]
                scheme = "wss" if server is not self._servers[0] else "ws"
                found.append(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")
        return found

    async def _listen(self, port: int, tls: ssl.SSLContext | None, setting: str) -> None:
        loop = asyncio.get_running_loop()
        host = self.settings.host
        try:
            server = await loop.create_server(
                self.outlet.accept,
                host,
                port,
                ssl=tls,
                backlog=1024,
                # Who doesn't speak TLS isn't on the outlet's list yet, which bounds the others.
                ssl_handshake_timeout=self.settings.consumer_handshake_seconds if tls else None,
            )
        except OSError as error:
            raise _cannot_listen(error, host, port, setting) from None
        self._servers.append(server)

    async def _serve(self, server: HttpServer | MetricsServer, wanted: int, setting: str) -> str:
        host = self.settings.host
        try:
            port = await server.start()
        except OSError as error:
            raise _cannot_listen(error, host, wanted, setting) from None
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def _server_tls(self) -> ssl.SSLContext:
        certificate, key = self._certificate_files()
        try:
            return server_context(certificate, key)
        except OSError as error:
            raise SettingsError([f"tls_certificate: can't use {certificate}: {error}"]) from None

    def _certificate_files(self) -> tuple[Path, Path]:
        """The certificate that is served, and its key."""
        settings = self.settings
        if settings.tls_self_signed:
            names = [
                name.strip("[]")
                for name in host_names(settings.host, settings.allowed_hosts) or ["localhost"]
            ]
            now = datetime.datetime.fromtimestamp(self._clock.now_ns() / 1e9, datetime.UTC)
            certificate, key = self_signed(settings.state_dir, names, now)
        else:
            assert settings.tls_certificate is not None and settings.tls_key is not None
            certificate, key = settings.tls_certificate, settings.tls_key
        self.certificate = certificate
        return certificate, key

    def _budget(self, key: str) -> RequestBudget:
        """What may be asked of Alpaca with these keys, by whomever."""
        most = self.settings.rest_requests_per_minute
        return self._budgets.setdefault(key, RequestBudget(most))

    def _trading_rest(self, url: str, credentials: Credentials) -> TradingRest:
        budget = self._budget(credentials.key)
        return HttpTradingRest(url, credentials, budget=budget, tracer=self.traces)

    def _upstream_changed(self, handler: FeedHandler) -> None:
        self.outlet.upstream_changed(handler)
        self.grpc.outlet.upstream_changed(handler)

    def _gap_changed(self, handler: FeedHandler, gap: Gap) -> None:
        self.outlet.gap_changed(handler, gap)
        self.grpc.outlet.gap_changed(handler, gap)

    def _order_trouble(self) -> None:
        self.readiness.look(self._clock.now_ns())
        trouble, unusable = self.desk.trouble, self.desk.unusable
        if unusable:
            text = f"order updates can't be served: {unusable}"
            self.outlet.refuse_orders(text)
            self.grpc.outlet.refuse_orders(text)
        else:
            waits = None if trouble is None else str(trouble)
            self.outlet.order_trouble(waits)
            self.grpc.outlet.order_trouble(waits)


def _nonzero(counts: OutletCounts) -> dict[str, Any]:
    return {name: count for name, count in asdict(counts).items() if count}


def _cannot_listen(error: OSError, host: str, port: int, setting: str) -> StreamProxyError:
    if error.errno == errno.EADDRINUSE:
        return AddressInUse(f"{host}:{port}", setting)
    return SettingsError([f"host: can't listen on {host}:{port}: {error.strerror}"])


def check_exposure(settings: Settings) -> None:
    """Refuse to serve strangers without asking who they are.

    Raises:
        SettingsError: bound wider than loopback, and no access tokens.
    """
    if not is_loopback(settings.host) and not settings.access_tokens:
        raise SettingsError(
            [
                f"host: {settings.host} can be reached from other machines, but no access tokens "
                "are set, so anybody could read your feed. Bind to 127.0.0.1, or add a token: "
                'STREAM_PROXY_ACCESS_TOKENS=\'[{"name":"bots","key":"bots","secret":'
                '"<at least 16 characters>"}]\''
            ]
        )


def _trace_target(settings: Settings) -> TraceTarget | None:
    if not settings.otel_enabled:
        return None
    return TraceTarget(
        settings.otel_endpoint,
        settings.otel_service_name,
        settings.otel_timeout_seconds,
        asked_for=bool({"otel_enabled", "otel_endpoint"} & settings.model_fields_set),
    )


def _upstream_tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.upstream_ca is None:
        return None
    try:
        return ssl.create_default_context(cafile=settings.upstream_ca)
    except OSError as error:
        raise SettingsError([f"upstream_ca: can't use {settings.upstream_ca}: {error}"]) from None


def _doorkeeper(settings: Settings) -> Doorkeeper:
    return Doorkeeper(
        host_names(settings.host, settings.allowed_hosts),
        settings.allowed_origins,
        [
            AccessToken(
                token.name,
                token.key,
                token.secret.get_secret_value(),
                read_slow_policy(token.slow) if token.slow else None,
            )
            for token in settings.access_tokens
        ],
    )


def _limits(settings: Settings) -> ConsumerLimits:
    return ConsumerLimits(
        handshake_seconds=settings.consumer_handshake_seconds,
        authentication_seconds=settings.consumer_authentication_seconds,
        acknowledgement_seconds=settings.consumer_acknowledgement_seconds,
        ping_seconds=settings.consumer_ping_seconds,
        pong_seconds=settings.consumer_pong_seconds,
        message_bytes=settings.max_message_bytes,
        messages_per_second=settings.max_messages_per_second,
        subscriptions=settings.max_subscriptions,
        outbox_bytes=settings.outbox_bytes,
        outbox_age_seconds=settings.outbox_age_seconds,
        connections=settings.max_connections,
        connections_per_second=settings.max_connections_per_second,
        binary_order_frames=settings.order_frames == "binary",
        slow_policy=read_slow_policy(settings.slow_policy),
    )


def _http_limits(settings: Settings) -> HttpLimits:
    return HttpLimits(
        connections=settings.max_connections + BRIEF_CONNECTIONS,
        request_seconds=settings.consumer_handshake_seconds,
        # An event stream has its own patience, which ends before.
        stalled_seconds=2 * settings.outbox_age_seconds,
    )
