"""Spans by OpenTelemetry, sent in batches to a collector by OTLP over HTTP.

The one file that imports OpenTelemetry, and nothing imports this one before traces are wanted: it
takes a quarter of a second and some megabytes. How much is sampled, what is sent along and how it
is batched follow OpenTelemetry's own variables (``OTEL_TRACES_SAMPLER``,
``OTEL_EXPORTER_OTLP_HEADERS``, ``OTEL_RESOURCE_ATTRIBUTES``, ``OTEL_BSP_…``), which its SDK reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import Token
from types import TracebackType
from typing import Self

import structlog
from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from stream_proxy import __version__
from stream_proxy.runtime.tracing import NOTHING, Attributes, Kind, Span

_LONGEST_TEXT = 200
_LIMITS = SpanLimits(
    max_span_attributes=32,
    max_event_attributes=8,
    max_link_attributes=4,
    max_events=64,  # of a connection that lives for months, the last ones
    max_links=4,
    max_attribute_length=_LONGEST_TEXT,
    max_span_attribute_length=_LONGEST_TEXT,
)
_KINDS = {"internal": SpanKind.INTERNAL, "server": SpanKind.SERVER, "client": SpanKind.CLIENT}
_TRACE_CONTEXT = TraceContextTextMapPropagator()

Clean = Callable[[str], str]
"""Takes secrets out of a text."""


class OtelSpan:
    """`Span` around one of OpenTelemetry's."""

    __slots__ = ("_clean", "_failed", "_token", "otel")

    def __init__(self, otel: trace.Span, clean: Clean) -> None:
        self.otel = otel
        self._clean = clean
        self._failed = False
        self._token: Token[Context] | None = None

    def rename(self, name: str) -> None:
        self.otel.update_name(name)

    def set(self, attributes: Attributes) -> None:
        self.otel.set_attributes(_cleaned(attributes, self._clean))

    def event(self, name: str, attributes: Attributes = NOTHING) -> None:
        self.otel.add_event(name, _cleaned(attributes, self._clean))

    def fail(self, why: str) -> None:
        if not self._failed and self.otel.is_recording():
            self._failed = True
            self.otel.set_status(Status(StatusCode.ERROR, self._clean(why)[:_LONGEST_TEXT]))

    def end(self) -> None:
        if self.otel.is_recording():
            self.otel.end()

    def __enter__(self) -> Self:
        self._token = context.attach(trace.set_span_in_context(self.otel))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._token is not None:
            context.detach(self._token)
        # Its text may hold anything, and its traceback everything.
        if kind is not None and issubclass(kind, Exception):
            self.fail(kind.__name__)
        self.end()


class OtelTracer:
    """`Tracer` that sends what it makes.

    Args:
        endpoint: the collector's base address; ``/v1/traces`` is added (OTLP 1.x, section
            "OTLP/HTTP Request").
        timeout_seconds: longest wait for the collector's answer, and for all that is left at
            `close`.
        clean: applied to every text that leaves.
    """

    def __init__(
        self, endpoint: str, service_name: str, timeout_seconds: float, clean: Clean
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._clean = clean
        self._exporter = _ExporterOfFewWords(
            OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=timeout_seconds), clean
        )
        self._provider = TracerProvider(
            resource=Resource.create(
                {"service.name": service_name, "service.version": __version__}
            ),
            span_limits=_LIMITS,
            shutdown_on_exit=False,  # `close` has a limit; the SDK's own way out has none
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        # Not before: what was wrong with the variables is worth its lines.
        self._exporter.hush()
        self._tracer = self._provider.get_tracer("stream_proxy", __version__)

    def start(
        self,
        name: str,
        attributes: Attributes = NOTHING,
        *,
        parent: Span | None = None,
        link: Span | None = None,
        kind: Kind = "internal",
    ) -> OtelSpan:
        around = Context()
        if isinstance(parent, OtelSpan):
            around = trace.set_span_in_context(parent.otel, around)
        links = [Link(link.otel.get_span_context())] if isinstance(link, OtelSpan) else []
        return self._make(name, attributes, around, links, kind)

    def span(
        self, name: str, attributes: Attributes = NOTHING, *, kind: Kind = "internal"
    ) -> OtelSpan:
        return self._make(name, attributes, None, [], kind)

    def _make(
        self,
        name: str,
        attributes: Attributes,
        around: Context | None,
        links: Sequence[Link],
        kind: Kind,
    ) -> OtelSpan:
        made = self._tracer.start_span(
            name, around, _KINDS[kind], _cleaned(attributes, self._clean), links
        )
        return OtelSpan(made, self._clean)

    def remote_parent(
        self, traceparent: str | None, tracestate: str | None = None
    ) -> OtelSpan | None:
        if not traceparent:
            return None
        carrier = {"traceparent": traceparent, "tracestate": tracestate or ""}
        found = trace.get_current_span(_TRACE_CONTEXT.extract(carrier, Context()))
        return OtelSpan(found, self._clean) if found.get_span_context().is_valid else None

    async def close(self) -> None:
        """Send what is left, for no longer than the time-out; the rest is lost."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def work() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # too late: the loop is closed
                loop.call_soon_threadsafe(done.set)

        # A thread that nobody joins: those of asyncio's executor would be waited for at exit.
        threading.Thread(target=work, name="traces-shutdown", daemon=True).start()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await done.wait()
        except TimeoutError:
            self._exporter.shutdown()


def _cleaned(attributes: Attributes, clean: Clean) -> Mapping[str, str | int | float | bool]:
    return {
        name: clean(value)[:_LONGEST_TEXT] if isinstance(value, str) else value
        for name, value in attributes.items()
    }


class _LastWords(logging.Handler):
    """Keeps the first line of a failure, instead of printing it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = self.text or record.getMessage()


class _ExporterOfFewWords(SpanExporter):
    """Says once that the collector can't be reached, and once that it can again.

    OpenTelemetry itself would say it several times for every batch.
    """

    def __init__(self, exporter: SpanExporter, clean: Clean) -> None:
        self._exporter = exporter
        self._clean = clean
        self._log = structlog.get_logger("stream_proxy.traces")
        self._working = True
        self._ended = False
        self._words = _LastWords()

    def hush(self) -> None:
        """From now on OpenTelemetry logs nothing, and what its exporter says is kept."""
        logger = logging.getLogger("opentelemetry")
        logger.propagate, logger.handlers = False, [logging.NullHandler()]
        logging.getLogger("opentelemetry.exporter").handlers = [self._words]

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._words.text = ""
        try:
            result = self._exporter.export(spans)
        except Exception as error:
            self._words.text = type(error).__name__
            result = SpanExportResult.FAILURE
        self._tell(result is SpanExportResult.SUCCESS)
        return result

    def _tell(self, working: bool) -> None:
        if working == self._working:
            return
        self._working = working
        if working:
            self._log.info("traces.sent_again")
        else:
            self._log.warning(
                "traces.lost",
                reason=self._clean(self._words.text)[:_LONGEST_TEXT] or "the collector is silent",
                meaning="spans are lost until it works again; nothing else is touched",
            )

    def shutdown(self) -> None:
        if not self._ended:
            self._ended = True
            self._exporter.shutdown()
