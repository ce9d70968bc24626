"""Alpaca's trading REST, as far as catching up needs it.

Source: Alpaca, "Orders", "Account Activities", "Trade Events (SSE)". Pages are followed until one
is empty or brings nothing new, since tokens have been seen to repeat. Every request takes its turn
in a bucket shared by the account, and a 429 is obeyed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import httpx
import msgspec

from stream_proxy.model.time import parse_rfc3339, rfc3339
from stream_proxy.wire.alpaca.requests import Credentials

ORDERS_PER_PAGE = 500
FILLS_PER_PAGE = 100
_MOST_PAGES = 1000
_TRIES = 4
_BURST = 20
"""Requests that don't wait for their turn: what catching up after a gap usually takes."""
_LONGEST_WAIT_SECONDS = 60.0


class RestFailed(Exception):
    """A request that gave no usable answer; the text says which and why."""


class TradingRest(Protocol):
    """What reconciling asks; a simulation has its own."""

    async def events(self, since_ns: int, until_ns: int) -> list[bytes] | None:
        """Alpaca's own record of events between two instants, in order; None if this account has
        none."""

    async def orders(self, after_ns: int) -> list[dict[str, Any]]:
        """All orders submitted after an instant, oldest first."""

    async def order(self, order_id: str) -> dict[str, Any] | None:
        """One order, or None if there is none of this id."""

    async def open_orders(self) -> list[dict[str, Any]]:
        """The orders that may still change."""

    async def fills(self, after_ns: int) -> list[dict[str, Any]]:
        """All fills after an instant, oldest first."""

    async def close(self) -> None: ...


class HttpTradingRest:
    """`TradingRest` over HTTP.

    Args:
        base_url: scheme, host and, in front of ``/v2``, whatever path there is.
        requests_per_minute: what this account may ask; Alpaca's own limit is 200.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Credentials,
        *,
        requests_per_minute: float = 150,
        timeout_seconds: float = 10,
        transport: httpx.AsyncBaseTransport | None = None,
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
        self._bucket = _Bucket(requests_per_minute / 60)
        self._has_events = True
        self.requests = 0
        self.throttled = 0

    async def close(self) -> None:
        await self._client.aclose()

    async def events(self, since_ns: int, until_ns: int) -> list[bytes] | None:
        if not self._has_events:
            return None
        # Ids rather than times: the record is ordered by them. Not the newest id that we have,
        # since what was missed may lie before it. Without an end the answer would never end.
        params = {"since_id": ulid_at(since_ns, first=True), "until_id": ulid_at(until_ns)}
        response = await self._get("/v2/events/trades", params, accept="text/event-stream")
        if response.status_code in (401, 403, 404, 405, 501):
            self._has_events = False
            return None
        self._expect_ok(response)
        return [
            line[len("data:") :].strip().encode()
            for line in response.text.splitlines()
            if line.startswith("data:")
        ]

    async def orders(self, after_ns: int) -> list[dict[str, Any]]:
        return await self._orders("all", after_ns)

    async def open_orders(self) -> list[dict[str, Any]]:
        return await self._orders("open", 0)

    async def _orders(self, status: str, after_ns: int) -> list[dict[str, Any]]:
        params = {"status": status, "direction": "asc", "nested": "true", "limit": ORDERS_PER_PAGE}
        found: dict[str, dict[str, Any]] = {}
        after = rfc3339(after_ns)
        for _ in range(_MOST_PAGES):
            page = await self._get_list("/v2/orders", {**params, "after": after})
            new = {order["id"]: order for order in page if order["id"] not in found}
            found.update(new)
            if not new or len(page) < ORDERS_PER_PAGE:
                break
            # Several orders of one instant may lie on both sides of the page's end.
            after = rfc3339(parse_rfc3339(str(page[-1]["submitted_at"])) - 1)
        return list(found.values())

    async def order(self, order_id: str) -> dict[str, Any] | None:
        response = await self._get(f"/v2/orders/{order_id}", {"nested": "true"})
        if response.status_code == 404:
            return None
        self._expect_ok(response)
        found: dict[str, Any] = _decode(response)
        return found

    async def fills(self, after_ns: int) -> list[dict[str, Any]]:
        params = {"direction": "asc", "page_size": FILLS_PER_PAGE, "after": rfc3339(after_ns)}
        found: dict[str, dict[str, Any]] = {}
        for _ in range(_MOST_PAGES):
            page = await self._get_list("/v2/account/activities/FILL", params)
            new = {fill["id"]: fill for fill in page if fill["id"] not in found}
            found.update(new)
            if not new or len(page) < FILLS_PER_PAGE:
                break
            params["page_token"] = str(page[-1]["id"])
        return list(found.values())

    # One request

    async def _get_list(self, path: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        response = await self._get(path, params)
        self._expect_ok(response)
        page = _decode(response)
        if not isinstance(page, list) or not all(isinstance(item, dict) for item in page):
            raise RestFailed(f"{path} answered something else than a list")
        return page

    async def _get(
        self, path: str, params: Mapping[str, Any], accept: str = "application/json"
    ) -> httpx.Response:
        """One answer that isn't a refusal for the moment.

        Raises:
            RestFailed: there was none within a few tries.
        """
        reason = ""
        for number in range(_TRIES):
            await self._bucket.take()
            self.requests += 1
            try:
                response = await self._client.get(
                    path, params=dict(params), headers={"Accept": accept}
                )
            except httpx.HTTPError as error:
                reason = f"{type(error).__name__}: {error}"[:200]
                wait = 0.2 * 2**number
            else:
                if response.status_code != 429 and response.status_code < 500:
                    return response
                reason = f"HTTP {response.status_code}"
                wait = _retry_after(response, 0.2 * 2**number)
                if response.status_code == 429:
                    self.throttled += 1
                    self._bucket.empty(wait)
            await asyncio.sleep(wait)
        raise RestFailed(f"{path}: {reason}")

    def _expect_ok(self, response: httpx.Response) -> None:
        if response.status_code != 200:
            raise RestFailed(f"{response.url.path}: HTTP {response.status_code}")


def ulid_at(ns: int, *, first: bool = False) -> str:
    """The last, or the first, ULID of an instant's millisecond (48 bits of time, 80 more)."""
    value = (ns // 1_000_000) << 80 | (0 if first else (1 << 80) - 1)
    letters = []
    for _ in range(26):
        value, digit = divmod(value, 32)
        letters.append("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[digit])
    return "".join(reversed(letters))


class _Bucket:
    """A token bucket; some may be taken at once, since Alpaca counts by the minute."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._next = 0.0

    async def take(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        start = max(self._next, now - _BURST / self._per_second)
        self._next = start + 1.0 / self._per_second
        if start > now:
            await asyncio.sleep(start - now)

    def empty(self, seconds: float) -> None:
        """Let nobody ask for so long."""
        self._next = max(self._next, asyncio.get_running_loop().time() + seconds)


def _retry_after(response: httpx.Response, otherwise: float) -> float:
    text = response.headers.get("Retry-After", "")
    seconds = float(text) if text.isascii() and text.isdigit() else otherwise
    return min(seconds, _LONGEST_WAIT_SECONDS)


def _decode(response: httpx.Response) -> Any:
    try:
        return msgspec.json.decode(response.content)
    except msgspec.MsgspecError as error:
        raise RestFailed(f"{response.url.path}: not JSON: {error}") from error


RestFactory = Callable[[str, Credentials], TradingRest]
