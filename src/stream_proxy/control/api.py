"""The HTTP application: ``/healthz``, ``/readyz`` and ``/v2/events/trades``.

Errors have Alpaca's shape, ``{"code": …, "message": …}``, since its clients read that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream_proxy import __version__
from stream_proxy.control.readiness import OrderSide, Readiness
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
from stream_proxy.wire.alpaca.requests import Credentials, header_credentials

_CUT = "stream_proxy.cut"


class Refused(Exception):
    """A request that is answered with an error.

    Args:
        status: the HTTP status; Alpaca's code is made of it, as Alpaca does.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    def response(self) -> Response:
        content = {"code": self.status * 100_000 + 10_000, "message": self.message}
        return JSONResponse(content, self.status)


class _Gate:
    """Host and Origin are judged before anything else: see ``outlets/doorkeeper.py``.

    Pure ASGI, since what sits between a stream and its socket must not buffer.
    """

    def __init__(self, application: ASGIApp, doorkeeper: Doorkeeper) -> None:
        self._application = application
        self._doorkeeper = doorkeeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._judge(headers)
        except Refused as refused:
            await refused.response()(scope, receive, send)
            return
        scope[_CUT] = partial(_cut, send)
        origin = headers.get("origin")
        if origin is not None:
            send = _readable_by(origin, send)
        await self._application(scope, receive, send)

    def _judge(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._doorkeeper.allows_host(hosts[0]):
            raise Refused(
                421,
                "This server doesn't go by the name in the Host header. Connect to the address it "
                "is bound to, or add the name to STREAM_PROXY_ALLOWED_HOSTS.",
            )
        if not self._doorkeeper.allows_origin(headers.getlist("origin"), headers.get("host")):
            raise Refused(
                403,
                "Pages of this Origin may not read here. Add it, exactly, to "
                "STREAM_PROXY_ALLOWED_ORIGINS if it is yours.",
            )


def _readable_by(origin: str, send: Send) -> Send:
    """Let the browser show the answer to a page of this Origin, which was allowed (CORS)."""

    async def send_with_header(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Access-Control-Allow-Origin"] = origin
            headers["Vary"] = "Origin"
        await send(message)

    return send_with_header


def _cut(send: Send) -> None:
    """End a connection without sending what waits: its reader has stopped reading.

    ASGI has no word for that; uvicorn's ``send`` belongs to an object that has the transport.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is not None:
        transport.abort()


class EventStreamResponse(StreamingResponse):
    """An event stream that lets go of its feed as soon as the client is gone."""

    def __init__(self, stream: EventStream, forget: Callable[[EventStream], None]) -> None:
        self._stream = stream
        self._forget = forget
        super().__init__(
            stream.chunks(), headers={"Cache-Control": "no-store"}, media_type="text/event-stream"
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._forget(self._stream)


def control_api(
    orders: OrderSide,
    events: OrderEventOutlet,
    readiness: Readiness,
    doorkeeper: Doorkeeper,
    clock: Clock,
) -> ASGIApp:
    """The application to serve."""
    # Its own pages load scripts from elsewhere, which this server has no business with.
    api = FastAPI(title="Alpaca Stream Proxy", version=__version__, docs_url=None, redoc_url=None)

    @api.exception_handler(Refused)
    async def refuse(request: Request, refused: Refused) -> Response:
        return refused.response()

    @api.get("/healthz")
    async def healthz() -> dict[str, Any]:
        """Whether the process answers; nothing more."""
        return {"alive": True, "version": __version__}

    @api.get("/readyz")
    async def readyz(account: str = "") -> Response:
        """200 when every connected account is reconciled and the journal works, else 503.

        With ``account`` it is about that one, which then has to be connected.
        """
        if account and account not in orders.accounts:
            raise Refused(404, _unknown(orders, account))
        report = readiness.report(clock.now_ns(), account)
        return JSONResponse(report, 200 if report["ready"] else 503)

    @api.get("/v2/events/trades")
    async def events_of_default_account(request: Request) -> Response:
        """Order updates as server-sent events, of the account whose key is shown."""
        return await serve("/stream", "", request)

    @api.get("/{account}/v2/events/trades")
    async def events_of_account(account: str, request: Request) -> Response:
        """Order updates of a named account as server-sent events."""
        return await serve(f"/{account}/stream", account, request)

    async def serve(path: str, account: str, request: Request) -> Response:
        feed = _feed_for(orders, doorkeeper, path, account, request)
        if events.full:
            raise Refused(
                503, "Too many consumers are connected: raise STREAM_PROXY_MAX_CONNECTIONS."
            )
        try:
            wanted = read_range(request.query_params)
            stream = await events.open(feed, wanted, _peer(request), request.scope[_CUT])
        except BadRange as bad:
            raise Refused(422, str(bad)) from None
        except JournalSilent as silent:
            raise Refused(503, f"Events wait for the journal: {silent}") from None
        if isinstance(stream, CannotResume):
            raise Refused(410, stream.reason)
        return EventStreamResponse(stream, events.forget)

    return _Gate(api, doorkeeper)


def _feed_for(
    orders: OrderSide, doorkeeper: Doorkeeper, path: str, account: str, request: Request
) -> OrderFeed:
    """The feed behind a path, for who shows these credentials."""

    def single(name: str) -> str | None:
        values = request.headers.getlist(name)
        return values[0] if len(values) == 1 else None

    credentials = header_credentials(single) or Credentials("", "")
    if doorkeeper.identify(credentials) is None:
        raise Refused(
            401,
            "The credentials are none of the proxy's access tokens: send APCA-API-KEY-ID and "
            "APCA-API-SECRET-KEY, or Authorization.",
        )
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
