"""Alpaca's market-data REST, as far as filling gaps and looking at silent symbols needs it.

Source: Alpaca, "Historical Stock Data", "Historical Crypto Data", "Historical Option Data",
"News". Pages are followed by their tokens until there is none. Every request takes its turn in a
budget that all who use the same keys share, a 429 is obeyed, and nobody waits for ever.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from stream_proxy.model.feeds import Feed
from stream_proxy.model.time import NS_PER_SECOND, rfc3339
from stream_proxy.model.topics import WILDCARD
from stream_proxy.runtime.backoff import Backoff
from stream_proxy.runtime.tracing import NO_TRACER, Tracer
from stream_proxy.sources.market_data_refusals import (
    MarketDataFailed,
    given_up,
    no_history,
    nonsense,
    refusal,
)
from stream_proxy.sources.request_budget import RequestBudget
from stream_proxy.sources.retry_after import date_seconds, retry_after_seconds
from stream_proxy.sources.trading.server_clock import told_by
from stream_proxy.wire.alpaca.requests import Credentials

SYMBOLS_PER_REQUEST = 200
SYMBOL_BYTES_PER_REQUEST = 4000
"""As written in the address, where proxies on the way allow some 8 KB."""
ITEMS_PER_PAGE = 10_000
ARTICLES_PER_PAGE = 50
_MOST_PAGES = 10_000
_PROMPT_SECONDS = 1.0
"""An answer that took longer says less of the time than an older one."""
_CLOCK_SECONDS = 600.0
"""But so old it may not be."""

_STOCK_HISTORY = {"delayed_sip": "sip"}
"""The stream of delayed trades has the same trades; all other stock feeds have their own history.
"""
_NO_STOCK_HISTORY = frozenset({"overnight", "test"})


@dataclass(frozen=True, slots=True)
class Page:
    """One answer.

    ``items`` are pairs of symbol and item as REST has it (no ``T``, no ``S``, ``t`` as text), each
    symbol's in time order; the symbol of news is ``*``. ``symbols`` are those the request was
    for, and with ``last`` nothing more is to come for them.
    """

    items: list[tuple[str, dict[str, Any]]]
    symbols: tuple[str, ...]
    last: bool


class MarketDataRest:
    """What one feed's history says.

    Args:
        base_url: scheme and host, as in ``https://data.alpaca.markets``.
        feed: whose messages are asked for.
        budget: the account's: Alpaca allows 200 requests a minute with the same keys.
        random: spreads retries.
        timeout_seconds: how long a connection, or the next bytes of an answer, may take.
        answer_seconds: how long a whole answer may take, however steadily it trickles.
        patience_seconds: how long one page is tried for.
        latest_seconds: how long what came last is; later the answer is of no use.
        retry_seconds: about the wait after a first failure; it doubles.
        throttled_seconds: the same after a 429 that doesn't say how long to wait.
        tracer: told of each request, of its path but not of its query.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Credentials,
        feed: Feed,
        *,
        budget: RequestBudget,
        random: Random,
        timeout_seconds: float = 10,
        answer_seconds: float = 60,
        patience_seconds: float = 120,
        latest_seconds: float = 10,
        retry_seconds: float = 0.5,
        throttled_seconds: float = 3,
        transport: httpx.AsyncBaseTransport | None = None,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        headers = {
            "APCA-API-KEY-ID": credentials.key,
            "APCA-API-SECRET-KEY": credentials.secret,
        }
        if credentials.bearer:
            headers = {"Authorization": f"Bearer {credentials.secret}"}
        self._client = httpx.AsyncClient(
            base_url=base_url.rstrip("/"),
            headers=headers | {"User-Agent": "alpaca-stream-proxy", "Accept": "application/json"},
            timeout=timeout_seconds,
            transport=transport,
            trust_env=transport is None,
        )
        self._feed = feed
        self._budget = budget
        self._random = random
        self._answer_seconds = answer_seconds
        self._patience_seconds = patience_seconds
        self._latest_seconds = latest_seconds
        self._retry_seconds = retry_seconds
        self._throttled_seconds = throttled_seconds
        self._tracer = tracer
        self._clock: tuple[int, float] | None = None
        """What Alpaca's clock showed, and when that was (loop time)."""
        self.requests = 0
        self.throttled = 0

    def now_ns(self) -> int | None:
        """What time it is by Alpaca's clock, to a second; None before the first answer."""
        if self._clock is None:
            return None
        shown_ns, at = self._clock
        return shown_ns + int((asyncio.get_running_loop().time() - at) * 1e9)

    def _compare(self, shown_ns: int, begun: float, ended: float) -> None:
        """Take what a clock showed, unless the answer was too long on its way to say much."""
        is_old = self._clock is None or ended - self._clock[1] > _CLOCK_SECONDS
        if is_old or ended - begun < _PROMPT_SECONDS:
            self._clock = shown_ns, (begun + ended) / 2

    async def close(self) -> None:
        await self._client.aclose()

    # Questions. Both ends of an interval belong to it.

    def trades(self, symbols: Sequence[str], from_ns: int, to_ns: int) -> AsyncIterator[Page]:
        """Trades that happened from an instant to another.

        Raises:
            MarketDataFailed: while iterating; pages given before are good. That a symbol is
                refused is told at the end, after the pages of all others.
        """
        return self._history("trades", symbols, from_ns, to_ns)

    def quotes(self, symbols: Sequence[str], from_ns: int, to_ns: int) -> AsyncIterator[Page]:
        """Quotes, likewise; of options there are none."""
        return self._history("quotes", symbols, from_ns, to_ns)

    def bars(self, symbols: Sequence[str], from_ns: int, to_ns: int) -> AsyncIterator[Page]:
        """Minute bars whose left edges lie in the interval, as they are now known."""
        return self._history("bars", symbols, from_ns, to_ns, timeframe="1Min")

    def news(self, symbols: Sequence[str], from_ns: int, to_ns: int) -> AsyncIterator[Page]:
        """Articles written or updated in the interval, about any of these symbols; ``*`` is all."""
        return self._news(symbols, from_ns, to_ns)

    async def latest(self, channel: str, symbols: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The last item of each symbol that has one; ``channel`` is trades, quotes or bars.

        Raises:
            MarketDataFailed: there is no answer.
        """
        no_bars = self._feed.kind == "options" and channel == "bars"
        if self._feed.kind == "news" or self._feed.name == "test" or no_bars:
            raise no_history(f"latest {channel} of {self._feed.name}")
        root = self._root()
        path = f"{root}/{channel}/latest"
        params: dict[str, str | int] = {}
        if self._feed.kind == "crypto":
            path = f"{root}/latest/{channel}"
        else:
            params["feed"] = self._feed.name
        found: dict[str, dict[str, Any]] = {}
        for some in cut(symbols):
            asked = params | {"symbols": ",".join(some)}
            body = await self._ask(path, asked, self._latest_seconds)
            found |= _by_symbol(path, channel, body, dict)
        return found

    async def _history(
        self,
        channel: str,
        symbols: Sequence[str],
        from_ns: int,
        to_ns: int,
        **further: str,
    ) -> AsyncIterator[Page]:
        kind, name = self._feed.kind, self._feed.name
        if kind == "news" or (kind == "options" and channel == "quotes"):
            raise no_history(f"{channel} of {name}")
        params: dict[str, str | int] = {**further, **_interval(from_ns, to_ns, ITEMS_PER_PAGE)}
        if kind == "stocks":
            if name in _NO_STOCK_HISTORY:
                raise no_history(f"the feed {name}")
            params["feed"] = _STOCK_HISTORY.get(name, name)
        path = f"{self._root()}/{channel}"
        chunks = deque(cut(symbols))
        refused: MarketDataFailed | None = None
        while chunks:
            some = chunks.popleft()
            try:
                async for body, last in self._pages(path, params | {"symbols": ",".join(some)}):
                    lists = _by_symbol(path, channel, body, list)
                    items = [(symbol, item) for symbol, found in lists.items() for item in found]
                    yield Page(items, some, last)
            except MarketDataFailed as failed:
                if failed.reason != "symbol":
                    raise
                # One symbol that Alpaca doesn't like must not cost the others their data.
                half = len(some) // 2
                if half:
                    chunks.extendleft((some[half:], some[:half]))
                refused = failed
        if refused is not None:
            raise refused

    async def _news(self, symbols: Sequence[str], from_ns: int, to_ns: int) -> AsyncIterator[Page]:
        path = "/v1beta1/news"
        params = _interval(from_ns, to_ns, ARTICLES_PER_PAGE) | {"include_content": "true"}
        chunks = [(WILDCARD,)] if WILDCARD in symbols else cut(symbols)
        for some in chunks:
            about = {} if WILDCARD in some else {"symbols": ",".join(some)}
            async for body, last in self._pages(path, params | about):
                articles = body.get("news")
                if not isinstance(articles, list) or not all(map(_is_item, articles)):
                    raise nonsense(path, "the answer is not a list of articles")
                yield Page([(WILDCARD, article) for article in articles], some, last)

    async def _pages(
        self, path: str, params: Mapping[str, str | int]
    ) -> AsyncIterator[tuple[dict[str, Any], bool]]:
        """Answers by their tokens, and whether each is the last.

        Raises:
            MarketDataFailed: one is missing, or they have no end.
        """
        tokens: set[str] = set()
        further: dict[str, str] = {}
        while len(tokens) < _MOST_PAGES:
            body = await self._ask(path, {**params, **further}, self._patience_seconds)
            token = body.get("next_page_token")
            if token is not None and not isinstance(token, str):
                raise nonsense(path, "the next page has no usable token")
            if token in tokens:
                raise nonsense(path, "the same page came twice, which hides what lies behind it")
            yield body, not token
            if not token:
                return
            tokens.add(token)
            further = {"page_token": token}
        raise nonsense(path, f"there is no end after {_MOST_PAGES} pages")

    def _root(self) -> str:
        match self._feed.kind:
            case "crypto":
                return f"/v1beta3/crypto/{self._feed.name.removeprefix('crypto-')}"
            case "options":
                return "/v1beta1/options"
            case _:
                return "/v2/stocks"

    # One request

    async def _ask(
        self, path: str, params: Mapping[str, str | int], patience_seconds: float
    ) -> dict[str, Any]:
        """One answer, tried for until patience ends.

        Raises:
            MarketDataFailed: there was none.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        failures = Backoff(self._retry_seconds, 30, self._random)
        throttles = Backoff(self._throttled_seconds, 60, self._random)
        attempt = 0
        while True:
            await self._budget.take()
            self.requests += 1
            status: int | None = None
            try:
                response = await self._send(path, params, attempt)
            except TimeoutError:
                why = f"no whole answer within {self._answer_seconds:g} s"
            except httpx.HTTPError as error:
                why = f"no answer ({type(error).__name__} {error})"[:200].rstrip()
            else:
                status = response.status_code
                why = f"HTTP {status}"
                body = _decode(response)
                if status == 200 and body is not None:
                    return body
                if status == 200:
                    why = "answers that are not one JSON object"
                elif not _is_momentary(status):
                    raise refusal(path, status, str((body or {}).get("message", "")))
            throttled = status == 429
            wait = (throttles if throttled else failures).next_delay_seconds()
            if status is not None:
                wait = retry_after_seconds(response.headers, wait, throttled=throttled)
            if throttled:
                self.throttled += 1
                self._budget.empty(wait)
            spent = loop.time() - begun
            if spent + wait > patience_seconds:
                raise given_up(path, why, spent, status)
            attempt += 1
            await asyncio.sleep(wait)

    async def _send(
        self, path: str, params: Mapping[str, str | int], attempt: int
    ) -> httpx.Response:
        """One request, as a span named by OpenTelemetry's conventions for HTTP clients."""
        with self._tracer.span(
            f"GET {path}",
            {
                "http.request.method": "GET",
                "url.template": path,
                "server.address": self._client.base_url.host,
                "http.request.resend_count": attempt,
            },
            kind="client",
        ) as span:
            loop = asyncio.get_running_loop()
            begun = loop.time()
            async with asyncio.timeout(self._answer_seconds):
                response = await self._client.get(path, params=dict(params))
            shown = date_seconds(response.headers)
            if shown is not None:
                self._compare(told_by(int(shown * NS_PER_SECOND)).now_ns, begun, loop.time())
            span.set({"http.response.status_code": response.status_code})
            if response.status_code >= 400:
                span.fail(f"HTTP {response.status_code}")
            return response


def cut(symbols: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Lists of symbols that fit into an address, in order, each symbol once."""
    some: list[str] = []
    length = 0
    for symbol in dict.fromkeys(symbols):
        added = len(quote(symbol, safe="")) + len("%2C")
        if some and (len(some) == SYMBOLS_PER_REQUEST or length + added > SYMBOL_BYTES_PER_REQUEST):
            yield tuple(some)
            some, length = [], 0
        some.append(symbol)
        length += added
    if some:
        yield tuple(some)


def _interval(from_ns: int, to_ns: int, limit: int) -> dict[str, str | int]:
    return {"start": rfc3339(from_ns), "end": rfc3339(to_ns), "limit": limit, "sort": "asc"}


def _is_momentary(status: int) -> bool:
    """Whether the same question may have another answer soon."""
    return status in (408, 429) or (status >= 500 and status != 501)


def _decode(response: httpx.Response) -> dict[str, Any] | None:
    """The answer, if it is one JSON object."""
    try:
        body = msgspec.json.decode(response.content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _is_item(value: object) -> bool:
    return isinstance(value, dict)


def _by_symbol(path: str, channel: str, body: dict[str, Any], shape: type) -> dict[str, Any]:
    """An answer's items by symbol; ``shape`` is what each symbol has, a list of items or one.

    Raises:
        MarketDataFailed: the answer has another form.
    """
    found = body.get(channel, "missing")
    # Alpaca writes null where there is nothing.
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise nonsense(path, f"the answer has no {channel} by symbol")
    present = {symbol: value for symbol, value in found.items() if value is not None}
    for value in present.values():
        items = value if shape is list else [value]
        if not isinstance(items, list) or not all(map(_is_item, items)):
            raise nonsense(path, f"the {channel} of a symbol have another form than expected")
    return present
