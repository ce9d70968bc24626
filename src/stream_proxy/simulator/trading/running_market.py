"""The simulator's own markets as the place where orders trade.

While somebody watches a market, orders trade at what is being streamed there. A market that
nobody watches stands still, so then prices come from a `WalkingMarket`.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol, cast

from stream_proxy.simulator.market.base import BestPrices
from stream_proxy.simulator.trading.prices import Quote, WalkingMarket

if TYPE_CHECKING:
    from stream_proxy.simulator.endpoint import Endpoint


class _Quoting(Protocol):
    def best(self, symbol: str) -> BestPrices | None: ...


class RunningMarket:
    """Quotes of the endpoints that run, and made-up ones for all else.

    Args:
        endpoints: the simulator's, by feed; they may come and go.
        seed: of the made-up prices.
    """

    def __init__(self, endpoints: Mapping[str, Endpoint], seed: int) -> None:
        self._endpoints = endpoints
        self._walk = WalkingMarket(seed)

    def quote(self, symbol: str, now_ns: int) -> Quote | None:
        for endpoint in self._endpoints.values():
            if endpoint.feed.name == "test" or not endpoint.watched:
                continue
            if not hasattr(endpoint.market, "best"):
                continue  # a recording or news
            best = cast("_Quoting", endpoint.market).best(symbol)
            if best is not None:
                return Quote(*map(_decimal, (best.bid, best.ask, best.bid_size, best.ask_size)))
        return self._walk.quote(symbol, now_ns)


def _decimal(number: float) -> Decimal:
    return Decimal(repr(number)) if isinstance(number, float) else Decimal(number)
