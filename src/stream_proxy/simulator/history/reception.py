"""How questions about market data come in: who asks, what faults and limits say, which record."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
from fastapi import Request, Response

from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.time import NS_PER_SECOND
from stream_proxy.simulator.history.answers import Answers
from stream_proxy.simulator.history.questions import Refusal, instant
from stream_proxy.simulator.trading.rest import RateLimit, Refused
from stream_proxy.wire.alpaca.requests import header_credentials

if TYPE_CHECKING:
    from stream_proxy.simulator.endpoint import Endpoint
    from stream_proxy.simulator.server import Simulator

_DELAY_SECONDS = 900
"""How old data must be for a plan without real-time data of its feed."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call, admitted. ``now_ns`` is the end of what may be asked for.

    ``repeats`` makes a page name itself as the next.
    """

    endpoint: Endpoint
    answers: Answers
    path: Mapping[str, str]
    query: Mapping[str, str]
    now_ns: int
    repeats: bool


Handler: TypeAlias = Callable[[Call], Awaitable[dict[str, Any]]]
FeedOf: TypeAlias = Callable[["Simulator", Request], str]


class MarketDataReception:
    """Where calls come in; ``calls`` counts them by path and status."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._limit = RateLimit(
            simulator.options.data_rate_limit, lambda: simulator.clock.now_ns() / NS_PER_SECOND
        )
        self.calls: Counter[str] = Counter()

    async def serve(self, request: Request, feed_of: FeedOf, handler: Handler) -> Response:
        """Answer one call, whatever comes of it."""
        headers: dict[str, str] = {}
        truncated = False
        try:
            key = self._admit(request)
            feed = feed_of(self._simulator, request)
            headers = await self._pass_faults(feed, key)
            truncated = self._strikes("data_truncated", feed, key)
            status, body = 200, await handler(self._call(request, feed, key))
        except Refusal as refusal:
            status, body = refusal.status, {"message": refusal.message}
            headers |= refusal.headers
        template = getattr(request.scope.get("route"), "path", request.url.path)
        self.calls[f"{template} {status}"] += 1
        content = msgspec.json.encode(body)
        if truncated:
            content = content[: len(content) // 2]
        return Response(content, status, headers, "application/json")

    def _admit(self, request: Request) -> str:
        """The key of whoever asks.

        Raises:
            Refusal: nobody we know.
        """
        credentials = header_credentials(request.headers.get)
        if credentials is None or not self._simulator.knows(credentials):
            raise Refusal(403, "forbidden.")
        return credentials.key

    async def _pass_faults(self, feed: str, key: str) -> dict[str, str]:
        """Let faults and the rate limit strike; give headers for the answer.

        Raises:
            Refusal: they did.
        """
        faults = self._simulator.faults
        delay = faults.strike("data_delay", feed, key)
        if delay is not None:
            await asyncio.sleep(delay.seconds)
        fault = faults.strike("data_status", feed, key)
        if fault is not None:
            status = fault.code or 500
            headers = {"Retry-After": f"{fault.seconds:g}"} if fault.seconds else {}
            text = "too many requests." if status == 429 else "refused on purpose"
            raise Refusal(status, text, headers)
        try:
            return self._limit.count(key)
        except Refused as refused:
            raise Refusal(429, "too many requests.", refused.headers) from None

    def _strikes(
        self, kind: Literal["data_truncated", "data_repeat_page"], feed: str, key: str
    ) -> bool:
        return self._simulator.faults.strike(kind, feed, key) is not None

    def _call(self, request: Request, feed: str, key: str) -> Call:
        simulator = self._simulator
        endpoint = simulator.endpoint(FEEDS[feed])
        if endpoint.history is None:
            raise Refusal(501, "this simulator remembers nothing: see --history-minutes")
        endpoint.begin()
        now_ns = simulator.clock.now_ns()
        lag = simulator.faults.lying("data_lag", feed, key)
        shown_ns = now_ns if lag is None else now_ns - int(lag.seconds * NS_PER_SECOND)
        end_ns = self._end_ns(feed, key, now_ns)
        is_latest = "latest" in request.url.path or "snapshot" in request.url.path
        asked_ns = now_ns if is_latest else instant(request.query_params, "end", end_ns)
        if end_ns < min(asked_ns, now_ns):
            text = f"subscription does not permit querying recent {feed.upper()} data"
            raise Refusal(403, text)
        repeats = "page_token" in request.query_params and self._strikes(
            "data_repeat_page", feed, key
        )
        return Call(
            endpoint,
            Answers(endpoint.history, shown_ns, has_bars=FEEDS[feed].kind != "options"),
            request.path_params,
            request.query_params,
            end_ns,
            repeats,
        )

    def _end_ns(self, feed: str, key: str, now_ns: int) -> int:
        """The latest instant that these keys may see of a feed."""
        fault = self._simulator.faults.lying("data_recent", feed, key)
        if fault is not None:
            return now_ns - int((fault.seconds or _DELAY_SECONDS) * NS_PER_SECOND)
        if feed in self._simulator.options.denied_feeds:
            return now_ns - _DELAY_SECONDS * NS_PER_SECOND
        return now_ns
