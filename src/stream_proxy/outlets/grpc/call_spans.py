"""A span for each gRPC call; for a stream it is the session, as long as that lasts.

Names and attributes follow OpenTelemetry's conventions for gRPC servers. Of the metadata only
``traceparent`` and ``tracestate`` are read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from stream_proxy.runtime.tracing import Span, Tracer

_OURS = frozenset(
    {
        Status.UNKNOWN,
        Status.DEADLINE_EXCEEDED,
        Status.UNIMPLEMENTED,
        Status.INTERNAL,
        Status.UNAVAILABLE,
        Status.DATA_LOSS,
    }
)
"""The statuses that are a failure of the server; the others are answers."""


@contextlib.contextmanager
def call_span(
    tracer: Tracer, service: str, method: str, stream: Stream[Any, Any]
) -> Iterator[Span]:
    """Hold a call in a span, a part of its caller's; what it asks of REST is a part of it."""
    attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
    caller = tracer.remote_parent(_text(stream, "traceparent"), _text(stream, "tracestate"))
    refused: GRPCError | None = None
    status = Status.OK
    with tracer.start(f"{service}/{method}", attributes, parent=caller, kind="server") as span:
        try:
            yield span
        except GRPCError as error:
            # Raised again outside: an exception that leaves the block is a failure of ours.
            refused, status = error, error.status
            if status in _OURS:
                span.fail(error.message or status.name)
        except Exception:
            status = Status.UNKNOWN
            raise
        except BaseException:
            status = Status.CANCELLED
            raise
        finally:
            span.set({"rpc.grpc.status_code": status.value})
    if refused is not None:
        raise refused


def _text(stream: Stream[Any, Any], name: str) -> str | None:
    values = stream.metadata.getall(name, []) if stream.metadata is not None else []
    return values[0] if len(values) == 1 and isinstance(values[0], str) else None
