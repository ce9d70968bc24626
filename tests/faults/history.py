"""Alpaca's market-data REST in this process: the ledger's past, page by page, late, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from faults.alpaca import Alpaca
from faults.market import Market, at_ns
from simulation.virtual_time import START_NS
from stream_proxy.model.time import rfc3339
from stream_proxy.sources.market_data_refusals import MarketDataFailed
from stream_proxy.sources.market_data_rest import Page

_ANSWER_SECONDS = 0.05
_PAGE_ITEMS = 40
_KINDS = {"trades": "t", "quotes": "q", "bars": "b"}


class SimulatedHistory:
    """What back-filling and the judgement of silence ask.

    Attributes:
        fails_until, lags_until: until then there is no answer, or one of some seconds ago.
        lag_seconds: of how many.
    """

    def __init__(self, alpaca: Alpaca, market: Market) -> None:
        self._alpaca = alpaca
        self._market = market
        self.fails_until = 0.0
        self.slow_until = 0.0
        self.lags_until = 0.0
        self.lag_seconds = 0.0
        self.calls = 0
        self._answered = False

    def now_ns(self) -> int | None:
        """The exchange's time, once anything was answered."""
        return START_NS + int(self._alpaca.loop.time() * 1e9) if self._answered else None

    async def _arrive(self) -> float:
        """The way there; gives the instant of which the answer tells."""
        loop = self._alpaca.loop
        self.calls += 1
        line = self._alpaca.line
        if line is not None:
            self._alpaca.sprung("history", line)
        await asyncio.sleep(_ANSWER_SECONDS if loop.time() > self.slow_until else 20.0)
        now = loop.time()
        if now < self.fails_until:
            raise MarketDataFailed("unreachable", "no answer from REST")
        self._answered = True
        return now - self.lag_seconds if now < self.lags_until else now

    def trades(self, symbols: Sequence[str], from_ns: int, to_ns: int) -> AsyncIterator[Page]:
        return self._pages("trades", symbols, from_ns, to_ns)

    def quotes(self, symbols: Sequence[str], from_ns: int, to_ns: int) -> AsyncIterator[Page]:
        return self._pages("quotes", symbols, from_ns, to_ns)

    def bars(self, symbols: Sequence[str], from_ns: int, to_ns: int) -> AsyncIterator[Page]:
        return self._pages("bars", symbols, from_ns, to_ns)

    def news(self, symbols: Sequence[str], from_ns: int, to_ns: int) -> AsyncIterator[Page]:
        raise AssertionError("a feed of stocks has no news")

    async def _pages(
        self, channel: str, symbols: Sequence[str], from_ns: int, to_ns: int
    ) -> AsyncIterator[Page]:
        start = 0
        while True:
            shown = await self._arrive()
            found = [
                (tick.symbol, self._item(tick))
                for tick in self._market.ticks
                if tick.kind == _KINDS[channel]
                and tick.symbol in symbols
                and tick.born <= shown
                and from_ns <= at_ns(tick) <= to_ns
            ]
            found.sort(key=lambda one: one[0])
            page = found[start : start + _PAGE_ITEMS]
            start += _PAGE_ITEMS
            last = start >= len(found)
            yield Page(page, tuple(symbols), last)
            if last:
                return

    def _item(self, tick: Any) -> dict[str, Any]:
        fields = self._market.fields(tick)
        del fields["T"], fields["S"]
        return {**fields, "t": rfc3339(at_ns(tick))}

    async def latest_ns(self, channel: str, symbols: Sequence[str]) -> Mapping[str, int] | None:
        """`LatestCheck`."""
        try:
            shown = await self._arrive()
        except MarketDataFailed:
            return None
        found: dict[str, int] = {}
        for tick in self._market.ticks:
            if tick.kind == _KINDS.get(channel) and tick.symbol in symbols and tick.born <= shown:
                found[tick.symbol] = at_ns(tick)
        return found
