"""What orders are matched against: one seam, and two markets behind it that need no sockets.

`HandMarket` says exactly what a test told it. `WalkingMarket` has a price for every symbol at
every instant, as a pure function of seed, symbol and time: whoever asks, and however often, gets
the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from math import pi, sin
from typing import Protocol
from zlib import crc32

from stream_proxy.model.time import NS_PER_SECOND
from stream_proxy.simulator.market.crypto import PAIR_PRICES
from stream_proxy.simulator.market.options import best_cents, deviation_until, value_cents
from stream_proxy.simulator.market.tickers import ticker
from stream_proxy.simulator.trading.amounts import ZERO
from stream_proxy.simulator.trading.assets import contract_of


@dataclass(frozen=True, slots=True)
class Quote:
    """Best bid and offer; a size of zero means that this side is empty."""

    bid: Decimal
    ask: Decimal
    bid_size: Decimal
    ask_size: Decimal

    @property
    def middle(self) -> Decimal:
        return (self.bid + self.ask) / 2


class TradingMarket(Protocol):
    """Where the engine learns prices."""

    def quote(self, symbol: str, now_ns: int) -> Quote | None:
        """The quote of an asset, or None while it has none: nothing trades then."""
        ...


class HandMarket:
    """Quotes set by hand: they stay until they are set anew."""

    def __init__(self) -> None:
        self._quotes: dict[str, Quote] = {}

    def set(
        self, symbol: str, bid: str | Decimal, ask: str | Decimal, size: str | Decimal = "1000000"
    ) -> None:
        """Say what a symbol is worth, with this much on both sides."""
        volume = Decimal(size)
        self._quotes[symbol] = Quote(Decimal(bid), Decimal(ask), volume, volume)

    def clear(self, symbol: str) -> None:
        """Let a symbol have no quote: it is halted."""
        self._quotes.pop(symbol, None)

    def quote(self, symbol: str, now_ns: int) -> Quote | None:
        return self._quotes.get(symbol)


_WAVES = ((0.004, 61.0), (0.0025, 17.0), (0.001, 5.3))
"""Swings around the anchor: share of the price, and period in seconds."""
_STOCK_SIZE, _CRYPTO_USD = 300, 20_000.0
_OPTION_SIZE = Decimal(20)


class WalkingMarket:
    """Prices that swing around the ticker's usual one by less than a percent.

    Args:
        seed: another seed gives other swings.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def quote(self, symbol: str, now_ns: int) -> Quote | None:
        contract = contract_of(symbol)
        if contract is not None:
            today = datetime.fromtimestamp(now_ns // NS_PER_SECOND, UTC).date()
            price = self._price(contract.underlying, ticker(contract.underlying).price, now_ns)
            deviation = deviation_until(contract.expiry, today, price)
            value = value_cents(price, float(contract.strike), deviation, contract.is_call)
            bid, ask = best_cents(value)
            return Quote(
                Decimal(bid) / 100, Decimal(ask) / 100, _OPTION_SIZE if bid else ZERO, _OPTION_SIZE
            )
        pair = PAIR_PRICES.get(symbol)
        if pair is not None:
            price = self._price(symbol, pair, now_ns)
            size = Decimal(f"{_CRYPTO_USD / price:.4f}") if price < _CRYPTO_USD else Decimal(2)
            return _quote(price, Decimal(f"{price * 2e-4:.2g}"), size)
        price = self._price(symbol, ticker(symbol).price, now_ns)
        lots = 1 + (crc32(symbol.encode()) + now_ns // NS_PER_SECOND) % 4
        step = Decimal("0.01") if price >= 1 else Decimal("0.0001")
        return _quote(price, step, Decimal(_STOCK_SIZE * lots))

    def _price(self, symbol: str, anchor: float, now_ns: int) -> float:
        phase = crc32(f"{self._seed}/{symbol}".encode()) / 2**32
        seconds = now_ns / NS_PER_SECOND
        swing = sum(
            share * sin(2 * pi * (seconds / period + phase * turn))
            for turn, (share, period) in enumerate(_WAVES, 1)
        )
        return anchor * (1 + swing)


def _quote(price: float, spread: Decimal, size: Decimal) -> Quote:
    # On the grid of the spread, so that both sides are prices one could see.
    bid = (Decimal(repr(price)) // spread) * spread
    return Quote(bid, bid + spread, size, size)
