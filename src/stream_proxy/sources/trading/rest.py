"""Alpaca's trading REST, as far as catching up needs it.

Source: Alpaca, "Orders", "Account Activities", "Trade Events (SSE)", "Clock". Pages are followed
until one isn't full. Tokens have been seen to repeat: a full page with nothing new hides what lies
behind it, and what isn't known to be complete is a failure. Every request takes its turn in a
budget shared by the account, and a 429 is obeyed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import quote

import httpx
import msgspec
import structlog

from stream_proxy.model.time import NS_PER_SECOND, parse_rfc3339, rfc3339
from stream_proxy.runtime.tracing import NO_TRACER, Tracer
from stream_proxy.sources.request_budget import RequestBudget
from stream_proxy.sources.retry_after import retry_after_seconds
from stream_proxy.sources.trading import event_record
from stream_proxy.sources.trading.server_clock import ServerTime, told_by
from stream_proxy.wire.alpaca.requests import Credentials

ORDERS_PER_PAGE = 500
FILLS_PER_PAGE = 100
_MOST_PAGES = 1000
_CONTRACTS_PER_PAGE = 10_000
_TRIES = 4
_EVENTS_AGAIN_SECONDS = 3600.0
"""An account without a record of events may be given one."""
_EVENTS_FAILED_SECONDS = 60.0
"""The same where the record fails while everything else works."""
_NO_EVENTS = frozenset({403, 404, 405, 501})
"""An account that has none; every other refusal is told."""


class RestFailed(Exception):
    """A request that gave no usable answer; the text says which and why, and names no order."""


class TradingRest(Protocol):
    """What reconciling asks; a simulation has its own."""

    async def time(self) -> ServerTime | None:
        """What time it is at Alpaca; None if it doesn't tell."""

    async def events(self, since_ns: int, until_ns: int) -> list[bytes] | None:
        """Alpaca's own record of events between two instants, in order; None if this account has
        none, or none that can be used now: then orders and fills tell."""

    async def orders(self, after_ns: int) -> list[dict[str, Any]]:
        """All orders submitted after an instant, oldest first."""

    async def order(self, order_id: str) -> dict[str, Any] | None:
        """One order, or None if there is none of this id."""

    async def open_orders(self) -> list[dict[str, Any]]:
        """The orders that may still change."""

    async def fills(self, after_ns: int) -> list[dict[str, Any]]:
        """All fills after an instant, oldest first."""

    async def option_contracts(self, underlying: str) -> list[str]:
        """The names of an underlying's option contracts."""

    async def close(self) -> None: ...


def _is_momentary(status: int) -> bool:
    """Whether the same question may have another answer soon."""
    return status == 429 or (status >= 500 and status != 501)


class HttpTradingRest:
    """`TradingRest` over HTTP.

    Args:
        base_url: scheme, host and, in front of ``/v2``, whatever path there is.
        requests_per_minute: what this account may ask; Alpaca's own limit is 200.
        budget: the account's, if others ask with the same keys; instead of one of our own.
        timeout_seconds: how long a connection, or the next bytes of an answer, may take.
        answer_seconds: how long a whole answer may take, however steadily it trickles.
        retry_seconds: the wait after a first failure; each further one is twice as long.
        throttled_seconds: the same after a 429 that doesn't say how long to wait.
        tracer: told of each request, of its path's pattern but not of its query.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Credentials,
        *,
        requests_per_minute: int = 150,
        budget: RequestBudget | None = None,
        timeout_seconds: float = 10,
        answer_seconds: float = 60,
        retry_seconds: float = 0.2,
        throttled_seconds: float = 3,
        transport: httpx.AsyncBaseTransport | None = None,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        headers = {
            "APCA-API-KEY-ID": credentials.key,
            "APCA-API-SECRET-KEY": credentials.secret,
            "User-Agent": "alpaca-stream-proxy",
        }
        if credentials.bearer:
            headers = {"Authorization": f"Bearer {credentials.secret}"}
        self._client = httpx.AsyncClient(
            base_url=base_url.rstrip("/"),
            headers=headers,
            timeout=timeout_seconds,
            transport=transport,
            trust_env=transport is None,
        )
        self._tracer = tracer
        self._budget = budget or RequestBudget(requests_per_minute)
        self._answer_seconds = answer_seconds
        self._retry_seconds = retry_seconds
        self._throttled_seconds = throttled_seconds
        self._no_events_until = 0.0
        self._events_warned = False
        self._log = structlog.get_logger("stream_proxy.trading").bind(
            server=self._client.base_url.host
        )
        self.requests = 0
        self.throttled = 0

    async def close(self) -> None:
        await self._client.aclose()

    async def time(self) -> ServerTime | None:
        path = "/v2/clock"
        # Nobody else has to wait because this doesn't work.
        response = await self._get(path, {}, is_momentary=lambda status: status == 429)
        with contextlib.suppress(RestFailed, ValueError, AttributeError):
            if response.status_code == 200:
                return told_by(parse_rfc3339(str(_decode(path, response).get("timestamp"))))
        with contextlib.suppress(ValueError, TypeError, KeyError):
            date = parsedate_to_datetime(response.headers["Date"])
            return told_by(int(date.timestamp()) * NS_PER_SECOND)
        return None

    async def events(self, since_ns: int, until_ns: int) -> list[bytes] | None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._no_events_until:
            return None
        path, params = "/v2/events/trades", event_record.between(since_ns, until_ns)
        try:
            response = await self._get(path, params, accept="text/event-stream")
        except RestFailed as failure:
            if not await self._answers():
                raise
            self._do_without_events(str(failure), _EVENTS_FAILED_SECONDS)
            return None
        if response.status_code in _NO_EVENTS:
            self._no_events_until = loop.time() + _EVENTS_AGAIN_SECONDS
            return None
        if response.status_code != 200:
            self._do_without_events(f"HTTP {response.status_code}", _EVENTS_AGAIN_SECONDS)
            return None
        try:
            found = event_record.read_events(response.content)
        except ValueError as error:
            raise RestFailed(f"{path} answered something else than events") from error
        self._events_warned = False
        return found

    async def _answers(self) -> bool:
        """Whether this REST works at all: what keeps the record from us isn't an outage."""
        try:
            return (await self._get("/v2/orders", {"limit": 1})).status_code == 200
        except RestFailed:
            return False

    def _do_without_events(self, reason: str, seconds: float) -> None:
        """Ask for the record no more for a while; say so once, until it works again."""
        self._no_events_until = asyncio.get_running_loop().time() + seconds
        if not self._events_warned:
            self._events_warned = True
            self._log.warning(
                "trading.no_event_record",
                reason=reason,
                meaning="missed order updates are made from orders and fills instead",
                next_attempt_seconds=seconds,
            )

    async def orders(self, after_ns: int) -> list[dict[str, Any]]:
        return await self._orders("all", after_ns)

    async def open_orders(self) -> list[dict[str, Any]]:
        return await self._orders("open", 0)

    async def _orders(self, status: str, after_ns: int) -> list[dict[str, Any]]:
        path = "/v2/orders"
        params = {"status": status, "direction": "asc", "nested": "true", "limit": ORDERS_PER_PAGE}
        found: dict[str, dict[str, Any]] = {}
        after = rfc3339(after_ns)
        for _ in range(_MOST_PAGES):
            if await self._last_page(path, {**params, "after": after}, ORDERS_PER_PAGE, found):
                return list(found.values())
            newest = next(reversed(found.values()))
            # Several orders of one instant may lie on both sides of the page's end.
            after = rfc3339(_submitted(path, newest) - 1)
        raise _endless(path)

    async def order(self, order_id: str) -> dict[str, Any] | None:
        named = "/v2/orders/{id}"
        path = f"/v2/orders/{quote(order_id, safe='')}"
        response = await self._get(path, {"nested": "true"}, named=named)
        if response.status_code == 404:
            return None
        _expect_ok(named, response)
        found = _decode(named, response)
        if not _is_item(found):
            raise RestFailed(f"{named} answered something else than an order")
        order: dict[str, Any] = found
        return order

    async def fills(self, after_ns: int) -> list[dict[str, Any]]:
        path = "/v2/account/activities/FILL"
        params = {"direction": "asc", "page_size": FILLS_PER_PAGE, "after": rfc3339(after_ns)}
        found: dict[str, dict[str, Any]] = {}
        for _ in range(_MOST_PAGES):
            if await self._last_page(path, params, FILLS_PER_PAGE, found):
                return list(found.values())
            params["page_token"] = next(reversed(found))
        raise _endless(path)

    async def _last_page(
        self,
        path: str,
        params: Mapping[str, Any],
        full: int,
        found: dict[str, dict[str, Any]],
    ) -> bool:
        """Ask for one page, and say whether it is the last.

        Raises:
            RestFailed: it gives no way to what lies behind it.
        """
        response = await self._get(path, params)
        _expect_ok(path, response)
        page = _decode(path, response)
        if not isinstance(page, list) or not all(map(_is_item, page)):
            raise RestFailed(f"{path} answered something else than a list of items with ids")
        known = len(found)
        found.update((item["id"], item) for item in page)
        if len(page) < full:
            return True
        if len(found) == known:
            raise RestFailed(
                f"{path}: a full page brought nothing new, so what lies behind it can't be seen"
            )
        return False

    async def option_contracts(self, underlying: str) -> list[str]:
        params: dict[str, Any] = {"underlying_symbols": underlying, "limit": _CONTRACTS_PER_PAGE}
        path = "/v2/options/contracts"
        found: dict[str, None] = {}
        for _ in range(_MOST_PAGES):
            response = await self._get(path, params)
            _expect_ok(path, response)
            page = _decode(path, response)
            if not isinstance(page, dict):
                raise RestFailed(f"{path} answered something else than an object")
            rows = page.get("option_contracts") or ()
            found |= {str(row["symbol"]): None for row in rows if "symbol" in row}
            token = page.get("next_page_token") or page.get("page_token")
            if not token or token == params.get("page_token"):
                return list(found)
            params["page_token"] = token
        raise RestFailed(f"{path} has no end")

    # One request

    async def _get(
        self,
        path: str,
        params: Mapping[str, Any],
        *,
        accept: str = "application/json",
        named: str = "",
        is_momentary: Callable[[int], bool] = _is_momentary,
    ) -> httpx.Response:
        """One answer that isn't a refusal for the moment.

        Args:
            named: what the path is called in errors, if not by itself.
            is_momentary: whether the same question may have another answer soon, by the status.

        Raises:
            RestFailed: there was none within a few tries.
        """
        reason = ""
        wait = 0.0
        for number in range(_TRIES):
            await asyncio.sleep(wait)
            await self._budget.take()
            self.requests += 1
            wait = self._retry_seconds * 2**number
            try:
                response = await self._ask(path, params, accept, named or path, number)
            except TimeoutError:
                reason = f"no whole answer within {self._answer_seconds:g} s"
                continue
            except httpx.HTTPError as error:
                reason = f"{type(error).__name__} {error}"[:200].strip()
                continue
            if not is_momentary(response.status_code):
                return response
            reason = f"HTTP {response.status_code}"
            if response.status_code == 429:
                self.throttled += 1
                wait = self._throttled_seconds * 2**number
            throttled = response.status_code == 429
            wait = retry_after_seconds(response.headers, wait, throttled=throttled)
            if throttled:
                self._budget.empty(wait)
        raise RestFailed(f"{named or path}: {reason}")

    async def _ask(
        self, path: str, params: Mapping[str, Any], accept: str, named: str, number: int
    ) -> httpx.Response:
        """One request, as a span named by OpenTelemetry's conventions for HTTP clients."""
        url = self._client.base_url
        with self._tracer.span(
            f"GET {named}",
            {
                "http.request.method": "GET",
                "url.template": named,
                "server.address": url.host,
                "http.request.resend_count": number,
            },
            kind="client",
        ) as span:
            async with asyncio.timeout(self._answer_seconds):
                response = await self._client.get(
                    path, params=dict(params), headers={"Accept": accept}
                )
            span.set({"http.response.status_code": response.status_code})
            if response.status_code >= 400:
                span.fail(f"HTTP {response.status_code}")
            return response


def _endless(path: str) -> RestFailed:
    return RestFailed(f"{path}: no end after {_MOST_PAGES} pages, so what was missed isn't known")


def _expect_ok(path: str, response: httpx.Response) -> None:
    if response.status_code == 401:
        raise RestFailed(f"{path}: HTTP 401: the account's key and secret are refused")
    if response.status_code != 200:
        raise RestFailed(f"{path}: HTTP {response.status_code}")


def _decode(path: str, response: httpx.Response) -> Any:
    try:
        return msgspec.json.decode(response.content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RestFailed(f"{path}: not JSON: {error}") from error


def _is_item(value: object) -> bool:
    """Whether it is something that has an id: an order, a fill."""
    return isinstance(value, dict) and isinstance(value.get("id"), str)


def _submitted(path: str, order: Mapping[str, Any]) -> int:
    try:
        return parse_rfc3339(str(order.get("submitted_at")))
    except ValueError as error:
        raise RestFailed(f"{path}: an order doesn't say when it was submitted") from error


RestFactory = Callable[[str, Credentials], TradingRest]
"""Makes what asks an account's REST, from its base address and keys."""
