"""How REST calls come in: who calls, what faults and limits say, and the shape of answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeAlias
from uuid import uuid4

import msgspec
from fastapi import APIRouter, Request, Response

from stream_proxy.model.time import NS_PER_SECOND, parse_rfc3339
from stream_proxy.simulator.trading.account import Account
from stream_proxy.simulator.trading.desk import TradingDesk, feed_name
from stream_proxy.simulator.trading.refusals import (
    INTERNAL,
    TOO_MANY,
    UNAUTHORIZED,
    Refusal,
    forbidden,
    invalid,
)
from stream_proxy.wire.alpaca.requests import header_credentials

_WINDOW_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Call:
    """One call, judged. ``at_ns`` is the instant that lists show, None for the present."""

    desk: TradingDesk
    account: Account
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, object]
    now_ns: int
    at_ns: int | None

    def choice(self, name: str, known: tuple[str, ...], default: str) -> str:
        value = self.query.get(name) or default
        if value.lower() not in known:
            raise invalid(f"invalid {name}: one of {', '.join(known)}")
        return value.lower()

    def flag(self, name: str) -> bool:
        return self.query.get(name, "").lower() in ("true", "1")

    def count(self, name: str, default: int, most: int) -> int:
        value = self.query.get(name)
        if not value:
            return default
        if not value.isascii() or not value.isdecimal() or not 1 <= int(value) <= most:
            raise invalid(f"{name} must be a number from 1 to {most}")
        return int(value)

    def instant(self, name: str) -> int | None:
        """A time, or a date that means its midnight in UTC."""
        value = self.query.get(name)
        if not value:
            return None
        # A plus sign that was not escaped comes as a space.
        value = value.replace(" ", "+") if value.count(":") > 1 else value
        try:
            return parse_rfc3339(value if "T" in value else f"{value}T00:00:00Z")
        except ValueError:
            raise invalid(f"invalid {name}: write a time such as 2026-01-02T15:04:05Z") from None


@dataclass(frozen=True, slots=True)
class Answer:
    """A status other than 200, or no body."""

    status: int
    body: object = None


Handler: TypeAlias = Callable[[Call], object]
Route: TypeAlias = tuple[str, str, Handler]


class RateLimit:
    """Calls per key and minute, in fixed windows."""

    def __init__(self, per_minute: int, time: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._time = time
        self._windows: dict[Hashable, tuple[int, int]] = {}

    def count(self, caller: Hashable) -> dict[str, str]:
        """Count a call; give the headers that tell about it.

        Raises:
            Refusal: there were too many.
        """
        if not self._per_minute:
            return {}
        now = int(self._time())
        window = now // _WINDOW_SECONDS
        begun, calls = self._windows.get(caller, (window, 0))
        calls = calls + 1 if begun == window else 1
        self._windows[caller] = window, calls
        headers = {
            "X-RateLimit-Limit": str(self._per_minute),
            "X-RateLimit-Remaining": str(max(0, self._per_minute - calls)),
            "X-RateLimit-Reset": str((window + 1) * _WINDOW_SECONDS),
        }
        if calls > self._per_minute:
            refusal = Refusal(429, TOO_MANY, "rate limit exceeded")
            raise Refused(refusal, headers | {"Retry-After": str(_WINDOW_SECONDS - now % 60)})
        return headers


class Refused(Exception):
    """A refusal that comes with headers."""

    def __init__(self, refusal: Refusal, headers: dict[str, str]) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.headers = headers


class Reception:
    """Where calls come in."""

    def __init__(self, desk: TradingDesk) -> None:
        self.desk = desk
        self._limit = RateLimit(
            desk.options.trading_rate_limit, lambda: desk.clock.now_ns() / NS_PER_SECOND
        )

    def admit(self, request: Request, kind: str | None) -> Account:
        """The account that calls.

        Raises:
            Refusal: nobody we know, or not here.
        """
        credentials = header_credentials(request.headers.get)
        account = None if credentials is None else self.desk.account_of(credentials, kind)
        if account is None:
            self.desk.ledger.refused_calls[request.url.path] += 1
            raise Refusal(401, UNAUTHORIZED, "request is not authorized")
        if self.desk.denied(account.kind):
            raise forbidden("access to this account is denied")
        return account

    async def pass_faults(self, account: Account) -> dict[str, str]:
        """Let faults and the rate limit strike; give headers for the answer.

        Raises:
            Refused: they did.
        """
        faults, feed = self.desk.faults, feed_name(account.kind)
        delay = faults.strike("rest_delay", feed, account.key)
        if delay is not None:
            await asyncio.sleep(delay.seconds)
        fault = faults.strike("rest_status", feed, account.key)
        if fault is not None:
            status = fault.code or 500
            code = TOO_MANY if status == 429 else INTERNAL if status >= 500 else status * 100_000
            text = "rate limit exceeded" if status == 429 else "refused on purpose"
            headers = {"Retry-After": f"{fault.seconds:g}"} if fault.seconds else {}
            raise Refused(Refusal(status, code, text), headers)
        return self._limit.count(account)

    def instant_shown(self, account: Account, now_ns: int) -> int | None:
        lag = self.desk.faults.lying("rest_lag", feed_name(account.kind), account.key)
        return None if lag is None else now_ns - int(lag.seconds * NS_PER_SECOND)

    async def serve(self, request: Request, kind: str | None, handler: Handler) -> Response:
        """Answer one call, whatever comes of it."""
        desk, account, headers = self.desk, None, dict[str, str]()
        try:
            account = self.admit(request, kind)
            headers = await self.pass_faults(account)
            now_ns = desk.clock.now_ns()
            call = Call(
                desk,
                account,
                request.path_params,
                request.query_params,
                await _body(request),
                now_ns,
                self.instant_shown(account, now_ns),
            )
            answer = handler(call)
        except Refusal as refusal:
            answer = Answer(refusal.status, refusal.body())
        except Refused as refused:
            answer = Answer(refused.refusal.status, refused.refusal.body())
            headers = refused.headers
        if not isinstance(answer, Answer):
            answer = Answer(200, answer)
        if account is not None:
            template = getattr(request.scope.get("route"), "path", request.url.path)
            desk.ledger.called(account, f"{request.method} {_short(template)}", answer.status)
        desk.pump()
        desk.wake()
        headers = headers | {"X-Request-ID": uuid4().hex}
        if answer.body is None:
            return Response(status_code=answer.status, headers=headers)
        content = msgspec.json.encode(answer.body)
        return Response(content, answer.status, headers, "application/json")


async def _body(request: Request) -> Mapping[str, object]:
    content = await request.body()
    if not content:
        return {}
    try:
        fields = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Refusal(400, 40010000, "request body format is invalid") from None
    if fields is None:
        return {}
    if not isinstance(fields, dict):
        raise Refusal(400, 40010000, "request body format is invalid: send one JSON object")
    return fields


def _short(path: str) -> str:
    for kind in ("/paper", "/live"):
        if path.startswith(kind + "/"):
            return path.removeprefix(kind)
    return path


def add_routes(
    router: APIRouter, reception: Reception, kind: str | None, routes: list[Route]
) -> None:
    """Serve handlers for one kind of account, or, with None, for whatever the key says."""
    prefix = f"/{kind}" if kind else ""
    for method, path, handler in routes:
        router.add_api_route(
            prefix + path,
            _endpoint(reception, kind, handler),
            methods=[method],
            include_in_schema=kind is None,
            summary=(handler.__doc__ or path).partition("\n")[0],
        )


def _endpoint(
    reception: Reception, kind: str | None, handler: Handler
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await reception.serve(request, kind, handler)

    return endpoint
