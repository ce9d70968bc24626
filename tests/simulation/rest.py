"""Alpaca's trading REST in this process: what the ledger says, late, or not at all.

What an answer shows is of the instant at which the request arrived, less the lag.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from simulation.alpaca import Alpaca
from stream_proxy.simulator.trading.history import (
    ActivityFilter,
    OrderFilter,
    list_activities,
    list_orders,
    order_at,
)
from stream_proxy.sources.trading.event_record import ulid_at
from stream_proxy.sources.trading.rest import RestFailed
from stream_proxy.sources.trading.server_clock import ServerTime

_ALL = 1 << 30


class SimulatedRest:
    """`TradingRest` over the simulator's books."""

    def __init__(self, alpaca: Alpaca) -> None:
        self._alpaca = alpaca
        self.fails_until = 0.0
        self.calls = 0
        self.failures = 0

    async def _arrive(self) -> None:
        """The way there; it may end nowhere."""
        alpaca = self._alpaca
        self.calls += 1
        alpaca.moments.passes("REST asked")
        await asyncio.sleep(alpaca.one_way())
        if alpaca.loop.time() < self.fails_until:
            self.failures += 1
            await asyncio.sleep(alpaca.one_way())
            raise RestFailed("/v2: HTTP 503")
        alpaca.moments.passes("REST looked")

    async def _return(self) -> None:
        await asyncio.sleep(self._alpaca.one_way())
        self._alpaca.moments.passes("REST answered")

    def _shown_at(self, further_seconds: float = 0.0) -> int | None:
        lag = self._alpaca.weather.lag_seconds + further_seconds
        return self._alpaca.clock.now_ns() - int(lag * 1e9) if lag else None

    async def time(self) -> ServerTime:
        await self._arrive()
        now_ns = self._alpaca.clock.now_ns()
        await self._return()
        return ServerTime(now_ns, 0)

    async def events(self, since_ns: int, until_ns: int) -> list[bytes] | None:
        if not self._alpaca.weather.has_events:
            return None
        await self._arrive()
        shown_ns = self._shown_at() or self._alpaca.clock.now_ns()
        since_id, until_id = ulid_at(since_ns, first=True), ulid_at(until_ns)
        found = [
            msgspec.json.encode(event.data)
            for event in self._alpaca.account.events
            if since_id <= event.id <= until_id and event.at_ns <= shown_ns
        ]
        await self._return()
        return found

    async def orders(self, after_ns: int) -> list[dict[str, Any]]:
        await self._arrive()
        wanted = OrderFilter("all", _ALL, after_ns, ascending=True, nested=True)
        found = list_orders(self._alpaca.account, wanted, self._shown_at())
        await self._return()
        return found

    async def open_orders(self) -> list[dict[str, Any]]:
        await self._arrive()
        wanted = OrderFilter("open", _ALL, ascending=True, nested=True)
        found = list_orders(self._alpaca.account, wanted, self._shown_at())
        await self._return()
        return found

    async def order(self, order_id: str) -> dict[str, Any] | None:
        await self._arrive()
        order = self._alpaca.account.orders.get(order_id)
        found = None if order is None else order_at(order, self._shown_at())
        await self._return()
        return found

    async def fills(self, after_ns: int) -> list[dict[str, Any]]:
        await self._arrive()
        wanted = ActivityFilter(_ALL, after_ns, ascending=True)
        shown_ns = self._shown_at(self._alpaca.weather.fills_lag_seconds)
        found = list_activities(self._alpaca.account, wanted, shown_ns)
        await self._return()
        return found

    async def close(self) -> None:
        """Nothing is open."""
