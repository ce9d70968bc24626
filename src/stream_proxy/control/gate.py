"""What stands before the HTTP application: Host and Origin, judged before anything else.

See ``outlets/doorkeeper.py`` for the reasons.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream_proxy.control.refusals import Refused
from stream_proxy.outlets.doorkeeper import Doorkeeper

CUT = "stream_proxy.cut"
"""The name, in the scope of a request, of a call that ends its connection at once."""


class Gate:
    """An ASGI application in front of another one.

    Pure ASGI, since what sits between a stream and its socket must not buffer.

    Args:
        on_refused: called for each request that doesn't get further.
    """

    def __init__(
        self,
        application: ASGIApp,
        doorkeeper: Doorkeeper,
        on_refused: Callable[[], None] = lambda: None,
    ) -> None:
        self._application = application
        self._doorkeeper = doorkeeper
        self._on_refused = on_refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._judge(headers)
        except Refused as refused:
            self._on_refused()
            await refused.response()(scope, receive, send)
            return
        scope[CUT] = partial(_cut, send)
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
