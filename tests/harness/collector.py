"""A collector of traces: an HTTP server that decodes what OTLP exporters send."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass
class Received:
    """A span as it came; ids in hexadecimal digits, times in nanoseconds."""

    name: str
    service: str
    trace: str
    span: str
    parent: str
    start_ns: int
    end_ns: int
    failed: bool
    why: str
    attributes: dict[str, Any]
    events: list[str]
    links: list[str]


@dataclass
class Collector:
    """What came so far; ``status`` is what is answered to the next requests."""

    endpoint: str
    status: int = 200
    requests: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    """Of the last request; names in small letters."""
    bodies: list[bytes] = field(default_factory=list)
    spans: list[Received] = field(default_factory=list)

    def take(self, path: str, body: bytes) -> int:
        """Keep a request; give the status to answer with."""
        self.requests += 1
        if self.status == 200:
            assert path == "/v1/traces"
            self.bodies.append(body)
            self.spans += _decode(body)
        return self.status

    def named(self, name: str, wanted: Callable[[Received], object] = bool) -> list[Received]:
        """The spans of a name, in the order in which they began."""
        found = [span for span in list(self.spans) if span.name == name and wanted(span)]
        return sorted(found, key=lambda span: span.start_ns)


def _decode(body: bytes) -> list[Received]:
    return [
        _read(span, _plain(resource.resource.attributes)["service.name"])
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _read(span: Any, service: str) -> Received:
    return Received(
        span.name,
        service,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == span.status.STATUS_CODE_ERROR,
        span.status.message,
        _plain(span.attributes),
        [event.name for event in span.events],
        [link.span_id.hex() for link in span.links],
    )


def _plain(attributes: Any) -> dict[str, Any]:
    return {
        item.key: getattr(item.value, item.value.WhichOneof("value") or "") for item in attributes
    }


@contextlib.contextmanager
def collector() -> Iterator[Collector]:
    """Run one on a free port for the length of a block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            running.headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(running.take(self.path, body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        running = Collector(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            thread.join()
