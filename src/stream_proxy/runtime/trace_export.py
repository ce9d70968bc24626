"""Whether traces are sent, and since when: asked for, or because a collector is there.

Who asks for traces gets them, or one line that says what is missing. Who asks for nothing gets
them if something listens at the usual port, and otherwise neither a line nor an import.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

from stream_proxy.runtime.tracing import NO_TRACER, NOTHING, Attributes, Kind, Span, Tracer

if TYPE_CHECKING:
    from stream_proxy.runtime.otel import OtelTracer

_LOOK_SECONDS = 60.0
_ANSWER_SECONDS = 0.5
"""How long a connection to the collector may take before nobody is there."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class TraceTarget:
    """Where spans go.

    Attributes:
        endpoint: the collector's base address.
        timeout_seconds: longest wait for it, at shutdown too.
        asked_for: whether somebody chose to send traces; else a collector has to show itself.
    """

    endpoint: str
    service_name: str
    timeout_seconds: float
    asked_for: bool


class TraceExport:
    """A `Tracer` that makes nothing until there is somebody to send it to.

    Args:
        target: where spans go; None never sends any.
        clean: takes secrets out of every text that leaves.
        look_seconds: how often a collector is looked for that nobody asked for.
    """

    def __init__(
        self,
        target: TraceTarget | None,
        clean: Callable[[str], str],
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        self._target = target
        self._clean = clean
        self._look_seconds = look_seconds
        self._log = structlog.get_logger("stream_proxy.traces")
        self._tracer: Tracer = NO_TRACER
        self._otel: OtelTracer | None = None
        self._looking: asyncio.Task[None] | None = None

    @property
    def sending(self) -> bool:
        """Whether spans are made and sent."""
        return self._otel is not None

    async def open(self) -> None:
        """Begin to send, or to look for a collector."""
        target = self._target
        if target is None:
            return
        if target.asked_for or await _answers(target.endpoint):
            await self._send_to(target)
        else:
            self._looking = asyncio.create_task(self._look_for_collector(target))

    async def close(self) -> None:
        """Send what is left, within the target's time-out."""
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
        otel, self._otel, self._tracer = self._otel, None, NO_TRACER
        if otel is not None:
            await otel.close()

    async def _look_for_collector(self, target: TraceTarget) -> None:
        while not await _answers(target.endpoint):
            await asyncio.sleep(self._look_seconds)
        await self._send_to(target)

    async def _send_to(self, target: TraceTarget) -> None:
        try:
            # Beside the loop: the first import of OpenTelemetry takes a while.
            self._otel = await asyncio.to_thread(_otel_tracer, target, self._clean)
        except ImportError as error:
            if target.asked_for:
                self._log.warning(
                    "traces.unavailable",
                    missing=error.name,
                    cure="pip install 'alpaca-stream-proxy[otel]', or set OTEL_ENABLED=false",
                )
            return
        except Exception as error:
            # One of OpenTelemetry's own variables, most likely: no reason not to serve.
            self._log.warning("traces.unavailable", reason=f"{type(error).__name__}: {error}")
            return
        self._tracer = self._otel
        self._log.info("traces.sent", to=target.endpoint, service=target.service_name)

    # What everybody calls

    def start(
        self,
        name: str,
        attributes: Attributes = NOTHING,
        *,
        parent: Span | None = None,
        link: Span | None = None,
        kind: Kind = "internal",
    ) -> Span:
        return self._tracer.start(name, attributes, parent=parent, link=link, kind=kind)

    def span(self, name: str, attributes: Attributes = NOTHING, *, kind: Kind = "internal") -> Span:
        return self._tracer.span(name, attributes, kind=kind)

    def remote_parent(self, traceparent: str | None, tracestate: str | None = None) -> Span | None:
        return self._tracer.remote_parent(traceparent, tracestate)


def _otel_tracer(target: TraceTarget, clean: Callable[[str], str]) -> OtelTracer:
    """The tracer that sends.

    Raises:
        ImportError: the extra ``otel`` isn't installed.
    """
    from stream_proxy.runtime.otel import OtelTracer

    return OtelTracer(target.endpoint, target.service_name, target.timeout_seconds, clean)


async def _answers(endpoint: str) -> bool:
    """Whether something listens at an address."""
    url = urlsplit(endpoint)
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            _, writer = await asyncio.open_connection(
                url.hostname, url.port or _DEFAULT_PORTS[url.scheme]
            )
    except OSError:  # a time-out is one, too
        return False
    writer.close()
    return True
