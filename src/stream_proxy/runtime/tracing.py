"""Traces: what a program does around its messages, as spans; and the tracer that makes none.

Spans are for what is rare: a connect, a session, a call. Never one per message: a span costs as
much as hundreds of deliveries. Attributes hold no secrets, no order and no query.

`start` is for what outlives a block of code, `span` for what happens inside one. With no tracer
configured everybody holds `NO_TRACER`, whose calls do nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Literal, Protocol, Self

Attributes = Mapping[str, str | int | float | bool]
Kind = Literal["internal", "server", "client"]
"""Whether it answers a call from outside, makes one, or neither."""

NOTHING: Attributes = {}


class Span(Protocol):
    """Something that takes time. As a context manager it is what `Tracer.span` nests in.

    Leaving the block ends it, as failed where an exception leaves it.
    """

    def rename(self, name: str) -> None:
        """Call it by a name that is known only now."""

    def set(self, attributes: Attributes) -> None:
        """Say more about it."""

    def event(self, name: str, attributes: Attributes = NOTHING) -> None:
        """Something happened at an instant within it."""

    def fail(self, why: str) -> None:
        """It went wrong; the first reason stays. It has to be ended all the same."""

    def end(self) -> None:
        """It is over; what comes after the first call changes nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Tracer(Protocol):
    """Makes spans. Names and attribute names follow OpenTelemetry's semantic conventions."""

    def start(
        self,
        name: str,
        attributes: Attributes = NOTHING,
        *,
        parent: Span | None = None,
        link: Span | None = None,
        kind: Kind = "internal",
    ) -> Span:
        """Begin a span that ends with `Span.end`.

        Args:
            parent: what it is a part of; without one it begins a trace of its own, wherever it
                is called.
            link: what it follows from, in another trace.
        """

    def span(self, name: str, attributes: Attributes = NOTHING, *, kind: Kind = "internal") -> Span:
        """Begin a span for a ``with`` block, as a part of the block around it."""

    def remote_parent(self, traceparent: str | None, tracestate: str | None = None) -> Span | None:
        """A caller's span, from the values of its headers (W3C Trace Context, section 3).

        None if there is none or it can't be read: a caller's mistake never fails its call.
        """


class NoSpan:
    """A span of nothing."""

    __slots__ = ()

    def rename(self, name: str) -> None: ...

    def set(self, attributes: Attributes) -> None: ...

    def event(self, name: str, attributes: Attributes = NOTHING) -> None: ...

    def fail(self, why: str) -> None: ...

    def end(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class NoTracer:
    """Makes nothing."""

    __slots__ = ()

    def start(
        self,
        name: str,
        attributes: Attributes = NOTHING,
        *,
        parent: Span | None = None,
        link: Span | None = None,
        kind: Kind = "internal",
    ) -> Span:
        return NO_SPAN

    def span(self, name: str, attributes: Attributes = NOTHING, *, kind: Kind = "internal") -> Span:
        return NO_SPAN

    def remote_parent(self, traceparent: str | None, tracestate: str | None = None) -> Span | None:
        return None


NO_SPAN: Span = NoSpan()
NO_TRACER: Tracer = NoTracer()
