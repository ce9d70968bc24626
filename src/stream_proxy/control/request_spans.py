"""A span for each HTTP request; for an event stream it is the session, as long as that lasts.

Probes come every few seconds and tell nothing, so they get one only where their caller is traced.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream_proxy.runtime.tracing import Span, Tracer

_PROBES = frozenset({"/health", "/healthz", "/readyz"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestSpans:
    """An ASGI application in front of another one.

    Names and attributes follow OpenTelemetry's conventions for HTTP servers. The path appears as
    the route that it matched, the query not at all.
    """

    def __init__(self, application: ASGIApp, tracer: Tracer) -> None:
        self._application = application
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        headers = Headers(scope=scope)
        caller = self._tracer.remote_parent(headers.get("traceparent"), headers.get("tracestate"))
        if caller is None and scope["path"] in _PROBES:
            await self._application(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        span = self._tracer.start(
            method, {"http.request.method": method}, parent=caller, kind="server"
        )
        try:
            await self._application(scope, receive, _noting_status(span, send))
        except Exception as error:
            span.fail(type(error).__name__)
            raise
        finally:
            route = getattr(scope.get("route"), "path", "")
            if route:
                span.set({"http.route": route})
                span.rename(f"{method} {route}")
            span.end()


def _noting_status(span: Span, send: Send) -> Send:
    async def send_and_note(message: Message) -> None:
        if message["type"] == "http.response.start":
            status = message["status"]
            span.set({"http.response.status_code": status})
            if status >= 500:
                span.fail(f"HTTP {status}")
        await send(message)

    return send_and_note
