"""The question that settles whether a silent symbol is quiet or mute: what does REST have?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from stream_proxy.model.time import parse_rfc3339
from stream_proxy.model.topics import Channel, Symbol
from stream_proxy.sources.market_data_refusals import MarketDataFailed


class LatestCheck(Protocol):
    """Asks Alpaca's REST for the newest message of some symbols of one feed."""

    async def latest_ns(
        self, channel: Channel, symbols: Sequence[Symbol]
    ) -> Mapping[Symbol, int] | None:
        """When the latest trade or quote of each symbol happened, nanoseconds since 1970.

        Symbols of which nothing is known are left out. None when no answer is to be had: REST is
        down, the budget is spent, or the plan doesn't allow it.

        Args:
            channel: ``trades`` or ``quotes``.
        """

    def now_ns(self) -> int | None:
        """What time it is by Alpaca's clock, to a second; None before its first answer."""


class NoLatestCheck:
    """Knows nothing: silence has to be judged without REST."""

    async def latest_ns(
        self, channel: Channel, symbols: Sequence[Symbol]
    ) -> Mapping[Symbol, int] | None:
        return None

    def now_ns(self) -> int | None:
        return None


class LatestItems(Protocol):
    """What can be asked for the latest items themselves, such as `MarketDataRest`."""

    async def latest(self, channel: str, symbols: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Raises:
        MarketDataFailed: there is no answer.
        """

    def now_ns(self) -> int | None:
        """See `LatestCheck`."""


class RestLatestCheck:
    """The check by market-data REST.

    Args:
        rest: of the feed.
    """

    def __init__(self, rest: LatestItems) -> None:
        self._rest = rest

    async def latest_ns(
        self, channel: Channel, symbols: Sequence[Symbol]
    ) -> Mapping[Symbol, int] | None:
        try:
            items = await self._rest.latest(channel, symbols)
        except MarketDataFailed:
            return None
        found = {}
        for symbol, item in items.items():
            try:
                found[symbol] = parse_rfc3339(str(item.get("t", "")))
            except ValueError:
                continue  # a latest item without a time says nothing
        return found

    def now_ns(self) -> int | None:
        return self._rest.now_ns()
