"""A simulated option market, as Alpaca's option feeds report it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from math import ceil, erf, exp, floor, pi, sqrt
from random import Random

from stream_proxy.model.messages import Message, OptionQuote, OptionTrade
from stream_proxy.model.time import NS_PER_SECOND, to_timestamp
from stream_proxy.simulator.market.base import BestPrices
from stream_proxy.simulator.market.tickers import ticker, tickers

# Weekly expiries, then monthly ones (third Fridays); strikes on either side of the price.
_WEEKS, _MONTHS, _STRIKES_EACH_SIDE = 4, 3, 10
_FRIDAY = 4
_VOLATILITY = 0.35
_DAYS_A_YEAR = 365.0

_TRADE_SHARE = 0.04
_HALF_SPREAD = 0.03
# Options from 3 USD trade in nickels, cheaper ones in pennies.
_NICKELS_FROM_CENTS, _NICKEL_CENTS = 300, 5
_LEASH = 0.03
_LARGEST_QUOTE, _LARGEST_TRADE = 400, 50
_USUAL_SIZE = 50

_VENUES = "ABCDEHIJMNPQTUWXZ"
_NO_VENUE = " "
# Mostly "eligible for automatic execution"; trades mostly automatic, then sweeps and spreads.
_QUOTE_CONDITIONS = "AAAAAAAAAAAAAAAAAAAAAABC"
_TRADE_CONDITIONS = "IIIIIIIIISSSaaffgju"


@dataclass(slots=True)
class _Underlying:
    price: float
    anchor: float


@dataclass(frozen=True, slots=True)
class _Contract:
    symbol: str
    underlying: _Underlying
    strike: float
    is_call: bool
    # One standard deviation of the underlying until expiry, in USD.
    deviation: float

    def value_cents(self) -> float:
        return value_cents(self.underlying.price, self.strike, self.deviation, self.is_call)


class OptionMarket:
    """Quotes with wide spreads and a few trades, on some 300 contracts for each underlying.

    Contracts far out of the money have no bid: price 0, size 0. The underlyings move on their
    own, apart from any ``StockMarket``. Contracts are those listed at the start: none is added,
    none expires.

    Args:
        seed: the same seed and calls give the same messages.
        underlyings: stock symbols, the most active first; or how many, from ``tickers``.
        start_ns: when market time begins; all contracts expire after that day.
    """

    def __init__(self, seed: int, underlyings: Sequence[str] | int, start_ns: int) -> None:
        names = tickers(underlyings) if isinstance(underlyings, int) else underlyings
        self._rng = Random(seed)
        self._now_ns = start_ns
        today = datetime.fromtimestamp(start_ns // NS_PER_SECOND, UTC).date()
        self._contracts: list[_Contract] = []
        weights: list[float] = []
        for rank, name in enumerate(names, 1):
            for contract in _chain(name, today):
                self._contracts.append(contract)
                # Near the money trades most.
                away = (contract.strike - contract.underlying.price) / contract.deviation
                weights.append((0.02 + exp(-0.5 * away * away)) / rank)
        self._activity = list(accumulate(weights))
        self.symbols: Sequence[str] = tuple(contract.symbol for contract in self._contracts)
        self._by_symbol = {contract.symbol: contract for contract in self._contracts}

    def snapshot(self, channel: str, symbol: str) -> list[Message]:
        """Nothing: option streams begin with the next message."""
        return []

    def best(self, symbol: str) -> BestPrices | None:
        """Bid and ask as they stand; None for a contract that isn't listed."""
        contract = self._by_symbol.get(symbol)
        if contract is None:
            return None
        bid, ask = _market(contract.value_cents(), 0.5)
        return BestPrices(bid / 100, _USUAL_SIZE if bid else 0, ask / 100, _USUAL_SIZE)

    def take(self, count: int, now_ns: int) -> list[Message]:
        """See ``Market.take``; time alone brings nothing here."""
        begin_ns, self._now_ns = self._now_ns, max(now_ns, self._now_ns)
        if count <= 0:
            return []
        rng = self._rng
        step_ns = (self._now_ns - begin_ns) / count
        chosen = rng.choices(self._contracts, cum_weights=self._activity, k=count)
        return [
            self._tick(contract, self._now_ns - int((left + rng.random()) * step_ns))
            for left, contract in zip(range(count - 1, -1, -1), chosen, strict=True)
        ]

    def _tick(self, contract: _Contract, at_ns: int) -> OptionQuote | OptionTrade:
        random = self._rng.random
        underlying = contract.underlying
        lean = (underlying.anchor - underlying.price) / (underlying.anchor * _LEASH)
        underlying.price *= 1 + (random() - 0.5 + 0.5 * lean) * 1e-4
        bid, ask = _market(contract.value_cents(), random())
        if random() < _TRADE_SHARE:
            cents = bid if bid and random() < 0.5 else ask
            return OptionTrade(
                contract.symbol,
                to_timestamp(at_ns),
                cents / 100,
                1 + int(_LARGEST_TRADE * random() ** 4),
                _pick(_VENUES, random()),
                _pick(_TRADE_CONDITIONS, random()),
            )
        return OptionQuote(
            contract.symbol,
            to_timestamp(at_ns),
            _pick(_VENUES, random()) if bid else _NO_VENUE,
            bid / 100,
            1 + int(_LARGEST_QUOTE * random() ** 2) if bid else 0,
            _pick(_VENUES, random()),
            ask / 100,
            1 + int(_LARGEST_QUOTE * random() ** 2),
            _pick(_QUOTE_CONDITIONS, random()),
        )


def value_cents(price: float, strike: float, deviation: float, is_call: bool) -> float:
    """Bachelier's price of an option; ``deviation`` is the underlying's until expiry, in USD."""
    ahead = price - strike
    distance = ahead / deviation
    likely = 0.5 * (1 + erf(distance / sqrt(2)))
    density = exp(-0.5 * distance * distance) / sqrt(2 * pi)
    call = ahead * likely + deviation * density
    return 100 * (call if is_call else call - ahead)


def deviation_until(expiry: date, today: date, price: float) -> float:
    """One standard deviation of a stock at this price until expiry, in USD."""
    return price * _VOLATILITY * sqrt(max(1, (expiry - today).days) / _DAYS_A_YEAR)


def best_cents(value: float) -> tuple[int, int]:
    """A usual bid and ask around a value, in cents; the bid is 0 if there is none."""
    return _market(value, 0.5)


def contract_symbols(underlying: str, today: date) -> Iterator[str]:
    """Every contract that is listed on a stock today, by its OCC name."""
    return (contract.symbol for contract in _chain(underlying, today))


def occ_symbol(underlying: str, expiry: date, is_call: bool, strike: float) -> str:
    """The OCC name without padding: ``AAPL261218C00200000``."""
    root = underlying.replace(".", "")
    return f"{root}{expiry:%y%m%d}{'C' if is_call else 'P'}{round(strike * 1000):08d}"


def _market(value_cents: float, chance: float) -> tuple[int, int]:
    # Bid and ask in cents, on the grid of the price; the bid is 0 if there is none.
    tick = _NICKEL_CENTS if value_cents >= _NICKELS_FROM_CENTS else 1
    half = max(tick, value_cents * _HALF_SPREAD * (0.5 + chance))
    bid = max(0, floor((value_cents - half) / tick) * tick)
    return bid, max(ceil((value_cents + half) / tick) * tick, bid + tick)


def _pick(letters: str, chance: float) -> str:
    return letters[int(chance * len(letters))]


def _chain(name: str, today: date) -> Iterator[_Contract]:
    price = ticker(name).price
    underlying = _Underlying(price, price)
    step = _strike_step(price)
    at_the_money = max(1, round(price / step))
    lowest = max(1, at_the_money - _STRIKES_EACH_SIDE)
    for expiry in _expiries(today):
        deviation = deviation_until(expiry, today, price)
        for multiple in range(lowest, at_the_money + _STRIKES_EACH_SIDE + 1):
            strike = multiple * step
            for is_call in (True, False):
                symbol = occ_symbol(name, expiry, is_call, strike)
                yield _Contract(symbol, underlying, strike, is_call, deviation)


def _strike_step(price: float) -> float:
    for below, step in ((5, 0.5), (25, 1.0), (100, 2.5), (250, 5.0), (1000, 10.0)):
        if price < below:
            return step
    return 25.0


def _expiries(today: date) -> list[date]:
    tomorrow = today + timedelta(days=1)
    first = tomorrow + timedelta(days=(_FRIDAY - tomorrow.weekday()) % 7)
    fridays = [first + timedelta(weeks=week) for week in range(7 * _MONTHS)]
    third = [friday for friday in fridays[_WEEKS:] if 15 <= friday.day <= 21]
    return fridays[:_WEEKS] + third[:_MONTHS]
