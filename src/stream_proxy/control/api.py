"""The HTTP application: health, readiness, status, the API's own description, order events.

Probes need no access token: without one, where tokens are configured, they tell names and states
and no reasons. Everything else needs one then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse
from prometheus_client.registry import CollectorRegistry
from pydantic import BaseModel, Field
from starlette.types import ASGIApp, Receive, Scope, Send

from stream_proxy import __version__
from stream_proxy.control import continuity as continuity_query
from stream_proxy.control.condition import OrderSide
from stream_proxy.control.continuity import Certificate, Continuity
from stream_proxy.control.docs_page import HEADERS, docs_page
from stream_proxy.control.exposition import exposition
from stream_proxy.control.gate import CUT, Gate
from stream_proxy.control.health import Health, HealthReport, Verdict
from stream_proxy.control.readiness import Readiness, ReadinessReport
from stream_proxy.control.refusals import Refused, answer_errors, described
from stream_proxy.control.request_spans import RequestSpans
from stream_proxy.control.status import (
    CONSUMERS_LISTED,
    MOST_CONSUMERS_LISTED,
    Status,
    StatusReport,
)
from stream_proxy.feed.order_position import CannotResume
from stream_proxy.feed.orders import OrderFeed
from stream_proxy.outlets.doorkeeper import Doorkeeper
from stream_proxy.outlets.order_events import (
    BadRange,
    EventStream,
    JournalSilent,
    OrderEventOutlet,
    read_range,
)
from stream_proxy.runtime.clock import Clock
from stream_proxy.runtime.tracing import NO_TRACER, Tracer
from stream_proxy.wire.alpaca.requests import Credentials, header_credentials

_DESCRIPTION = (
    "Health, readiness and state of a running proxy, and order updates as server-sent events. "
    "Where access tokens are configured, show one in the headers APCA-API-KEY-ID and "
    "APCA-API-SECRET-KEY, or in Authorization; the probes answer without one, too, but give no "
    "reasons then."
)


class Liveness(BaseModel):
    """The answer of ``/healthz``."""

    alive: bool = Field(description="Always true: what isn't alive doesn't answer.")
    version: str


class EventStreamResponse(StreamingResponse):
    """An event stream that lets go of its feed as soon as the client is gone."""

    media_type = "text/event-stream"

    def __init__(self, stream: EventStream, forget: Callable[[EventStream], None]) -> None:
        self._stream = stream
        self._forget = forget
        super().__init__(stream.chunks(), headers={"Cache-Control": "no-store"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._forget(self._stream)


def control_api(
    orders: OrderSide,
    events: OrderEventOutlet,
    readiness: Readiness,
    health: Health,
    status: Status,
    doorkeeper: Doorkeeper,
    clock: Clock,
    tracer: Tracer = NO_TRACER,
    registry: CollectorRegistry | None = None,
    continuity: Continuity | None = None,
) -> ASGIApp:
    """The application to serve.

    Args:
        continuity: judges the record of feeds.
        registry: what ``/metrics`` shows here as well, as earlier programs do.
    """
    # Its own pages load scripts from elsewhere, which this server has no business with.
    api = FastAPI(
        title="Alpaca Stream Proxy",
        description=_DESCRIPTION,
        version=__version__,
        docs_url=None,
        redoc_url=None,
        responses=described(403, 421),
        # `RequestSpans` makes them, without the queries and exceptions that these would tell.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    answer_errors(api)
    page = ""

    @api.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def docs() -> Response:
        nonlocal page
        page = page or docs_page(api.openapi())
        return HTMLResponse(page, headers=HEADERS)

    if registry is not None:

        @api.get("/metrics", include_in_schema=False)
        async def metrics(request: Request) -> Response:
            return exposition(request, registry)

    @api.head("/healthz", include_in_schema=False)
    @api.get("/healthz", response_model=Liveness, response_description="It does.", tags=["Probes"])
    async def healthz() -> Response:
        """Whether the process answers; nothing more. For what restarts it when it doesn't."""
        return _answer(Liveness(alive=True, version=__version__))

    @api.head("/readyz", include_in_schema=False)
    @api.get(
        "/readyz",
        response_model=ReadinessReport,
        response_description="Nothing is waited for.",
        responses={
            **described(404, 422),
            503: {"model": ReadinessReport, "description": "Something is waited for."},
        },
        tags=["Probes"],
    )
    async def readyz(
        request: Request,
        account: Annotated[str, Query(description="Ask about this account alone.")] = "",
    ) -> Response:
        """Whether feeds are connected and order updates complete.

        200 when every configured feed and every other one that has consumers is connected, every
        account in use was compared with Alpaca's record, and the journal works; else 503, and
        what is waited for. With `account` it is about that one, which then has to be connected.
        """
        if account and account not in orders.accounts:
            raise Refused(404, _unknown(orders, account))
        report = readiness.report(clock.now_ns(), account, detailed=known(request))
        return _answer(report, 200 if report.ready else 503)

    @api.head("/health", include_in_schema=False)
    @api.get(
        "/health",
        response_model=HealthReport,
        response_description="It is healthy or degraded.",
        responses={503: {"model": HealthReport, "description": "It is unhealthy."}},
        tags=["Probes"],
    )
    async def check_health(request: Request) -> Response:
        """How everything is, in one word and in sentences.

        `healthy` and `degraded` come with 200, `unhealthy` with 503.
        """
        report = health.report(clock.now_ns(), detailed=known(request))
        return _answer(report, 503 if report.status is Verdict.UNHEALTHY else 200)

    @api.get(
        "/status",
        response_model=StatusReport,
        response_description="The state of this moment.",
        responses=described(401, 422),
        tags=["Operation"],
    )
    async def show_status(
        request: Request,
        consumers: Annotated[
            int,
            Query(ge=0, le=MOST_CONSUMERS_LISTED, description="How many of them to list at most."),
        ] = CONSUMERS_LISTED,
    ) -> Response:
        """Every feed, account and consumer. Needs an access token where any are configured."""
        identified(request)
        return _answer(await status.report(clock.now_ns(), consumers))

    if continuity is not None:

        @api.get(
            "/v1/continuity",
            response_model=Certificate,
            response_description="What is known of the record.",
            responses=described(401, 404, 422),
            tags=["Operation"],
        )
        async def certify(
            request: Request,
            since: continuity_query.From = "",
            to: continuity_query.To = "",
            symbols: continuity_query.Symbols = "",
            channels: continuity_query.Channels = "",
            feed: continuity_query.FeedName = "",
        ) -> Response:
            """Whether the record of a feed between two moments is complete, and if not, why.

            Needs an access token where any are configured.
            """
            identified(request)
            return _answer(continuity.certificate(since, to, symbols, channels, feed))

    def known(request: Request) -> bool:
        try:
            identified(request)
        except Refused:
            return False
        return True

    def identified(request: Request) -> str:
        """The name of the access token that is shown; a wrong one is counted, wherever it is tried.

        Raises:
            Refused: it is none.
        """
        shown = _credentials(request)
        identity = doorkeeper.identify(shown)
        if identity is None:
            events.counts.authentications_failed += shown != _NOTHING_SHOWN
            raise _no_token()
        return identity

    @api.get(
        "/v2/events/trades",
        response_class=Response,
        responses=_STREAM_ANSWERS,
        openapi_extra=_STREAM_PARAMETERS,
        tags=["Order updates"],
    )
    async def events_of_default_account(request: Request) -> Response:
        """Order updates as server-sent events, of the account whose key is shown.

        `since` and `until` are times, `since_id` and `until_id` event ids; without any, live
        events alone.
        """
        return await serve("/stream", "", request)

    @api.get(
        "/{account}/v2/events/trades",
        response_class=Response,
        responses=_STREAM_ANSWERS,
        openapi_extra=_STREAM_PARAMETERS,
        tags=["Order updates"],
    )
    async def events_of_account(account: str, request: Request) -> Response:
        """The same of a named account."""
        return await serve(f"/{account}/stream", account, request)

    async def serve(path: str, account: str, request: Request) -> Response:
        identity = identified(request)
        try:
            feed = _feed_for(orders, path, account, _credentials(request))
            if events.full:
                raise Refused(
                    503, "Too many consumers are connected: raise STREAM_PROXY_MAX_CONNECTIONS."
                )
        except Refused:
            refuse()
            raise
        try:
            wanted = read_range(request.query_params)
            cut = request.scope[CUT]
            stream = await events.open(feed, wanted, _peer(request), cut, identity)
        except BadRange as bad:
            events.counts.bad_requests += 1
            raise Refused(422, str(bad)) from None
        except JournalSilent as silent:
            raise Refused(503, f"Events wait for the journal: {silent}") from None
        if isinstance(stream, CannotResume):
            raise Refused(410, stream.reason)
        return EventStreamResponse(stream, events.forget)

    def refuse() -> None:
        events.counts.rejected += 1

    return Gate(RequestSpans(api, tracer), doorkeeper, refuse)


_NOTHING_SHOWN = Credentials("", "")
_STREAM_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "An event is a line `data: {…}`, a heartbeat a comment.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    **described(401, 404, 410, 422, 503),
}
_STREAM_PARAMETERS = {
    "parameters": [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": text,
            "schema": {"type": "string"},
        }
        for name, text in (
            ("since", "An RFC 3339 time, or `oldest`: what happened since then comes first."),
            ("until", "An RFC 3339 time: the answer ends there."),
            ("since_id", "The last event id that the client has: what is behind it comes first."),
            ("until_id", "The event id after which the answer ends."),
        )
    ]
}


def _answer(report: BaseModel, status: int = 200) -> Response:
    """A report as JSON, without the framework's second look at it."""
    return Response(
        report.model_dump_json(by_alias=True),
        status,
        {"Cache-Control": "no-store"},
        "application/json",
    )


def _credentials(request: Request) -> Credentials:
    def single(name: str) -> str | None:
        values = request.headers.getlist(name)
        return values[0] if len(values) == 1 else None

    return header_credentials(single) or _NOTHING_SHOWN


def _no_token() -> Refused:
    return Refused(
        401,
        "The credentials are none of the proxy's access tokens: send APCA-API-KEY-ID and "
        "APCA-API-SECRET-KEY, or Authorization.",
    )


def _feed_for(orders: OrderSide, path: str, account: str, credentials: Credentials) -> OrderFeed:
    """The feed behind a path, for who shows these credentials."""
    found = orders.path(path)
    if found is None:
        raise Refused(404, _unknown(orders, account))
    if found.missing:
        raise Refused(404, found.missing)
    feed = found.feed_for(credentials)
    if isinstance(feed, str):
        raise Refused(503, feed)
    return feed


def _unknown(orders: OrderSide, account: str) -> str:
    if not orders.accounts:
        return "No order updates are served: no credentials are set, or STREAM_PROXY_ORDERS is off."
    names = ", ".join(orders.accounts)
    return f"No account is called {account[:40]!r}; there are: {names}."


def _peer(request: Request) -> str:
    client = request.client
    return f"{client.host}:{client.port}" if client is not None else "unknown"
