"""``/metrics`` on a port of its own, in the form that the asking program reads.

It needs no access token, as Prometheus programs expect: nothing in it names a symbol, an order or
an address. Who may not know how many messages flow must not reach the port.
"""

from __future__ import annotations

import asyncio

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from stream_proxy.control.gate import Gate
from stream_proxy.control.metrics.collector import latencies_of, registry_of
from stream_proxy.control.metrics.measured import Measured
from stream_proxy.outlets.doorkeeper import Doorkeeper
from stream_proxy.runtime.clock import Clock
from stream_proxy.runtime.http_server import HttpServer
from stream_proxy.runtime.stall import watch_stalls

WINDOW_SECONDS = 60.0
"""Quantiles speak of the last one to two of these."""

_COMPRESSED_ABOVE_BYTES = 1000


def exposition(request: Request, registry: CollectorRegistry) -> Response:
    """OpenMetrics for who asks for it, else the text form 0.0.4."""
    try:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
    except (TypeError, ValueError):
        # A version that is none, say: who asks for nonsense gets the plain form.
        encode, content_type = choose_encoder("")
    return Response(encode(registry), media_type=content_type)


def metrics_application(registry: CollectorRegistry, doorkeeper: Doorkeeper) -> ASGIApp:
    """The application to serve."""

    async def metrics(request: Request) -> Response:
        return exposition(request, registry)

    async def elsewhere(request: Request, error: Exception) -> Response:
        return PlainTextResponse("Metrics are at /metrics.\n", 404)

    application = Starlette(
        routes=[Route("/metrics", metrics)],
        middleware=[Middleware(GZipMiddleware, minimum_size=_COMPRESSED_ABOVE_BYTES)],
        exception_handlers={404: elsewhere},
    )
    return Gate(application, doorkeeper)


class MetricsServer:
    """Serves the metrics of a running proxy, and measures its event loop."""

    def __init__(
        self, measured: Measured, doorkeeper: Doorkeeper, clock: Clock, host: str, port: int
    ) -> None:
        self.registry = registry_of(measured)
        self._measured = measured
        self._clock = clock
        self._http = HttpServer(metrics_application(self.registry, doorkeeper), host, port)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> int:
        """Listen; give the port.

        Raises:
            OSError: the port is taken.
        """
        port = await self._http.start()
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(watch_stalls(self._clock, self._measured.stalls.observe)),
            loop.create_task(self._turn_windows()),
        ]
        return port

    async def _turn_windows(self) -> None:
        while True:
            await asyncio.sleep(WINDOW_SECONDS)
            for latency in latencies_of(self._measured):
                latency.rotate()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._http.stop()
