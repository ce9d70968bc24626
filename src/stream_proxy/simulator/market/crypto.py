"""A simulated crypto exchange, as one of Alpaca's crypto feeds reports it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from random import Random

from stream_proxy.model.messages import CryptoTrade, Message
from stream_proxy.model.time import NS_PER_MINUTE, NS_PER_SECOND, to_timestamp
from stream_proxy.simulator.market.agenda import Agenda
from stream_proxy.simulator.market.base import BestPrices
from stream_proxy.simulator.market.book import Book
from stream_proxy.simulator.market.crypto_bars import CryptoBarClock, PairBars

# pair, price, decimals of the price, value of the quote currency in USD, share of trades in ticks
_PAIRS = (
    ("BTC/USD", 97_350.0, 3, 1.0, 0.20),
    ("ETH/USD", 3_340.0, 3, 1.0, 0.20),
    ("SOL/USD", 252.0, 4, 1.0, 0.15),
    ("DOGE/USD", 0.385, 7, 1.0, 0.15),
    ("XRP/USD", 1.12, 5, 1.0, 0.15),
    ("AVAX/USD", 35.4, 4, 1.0, 0.10),
    ("LINK/USD", 15.1, 4, 1.0, 0.10),
    ("LTC/USD", 89.6, 4, 1.0, 0.10),
    ("BCH/USD", 489.0, 3, 1.0, 0.10),
    ("UNI/USD", 9.11, 4, 1.0, 0.10),
    ("AAVE/USD", 161.0, 4, 1.0, 0.10),
    ("DOT/USD", 5.83, 5, 1.0, 0.10),
    ("SHIB/USD", 0.0000248, 12, 1.0, 0.10),
    ("BTC/USDT", 97_360.0, 3, 1.0, 0.15),
    ("ETH/USDT", 3_341.0, 3, 1.0, 0.10),
    ("ETH/BTC", 0.03431, 9, 97_350.0, 0.05),
    ("MKR/USD", 1_480.0, 3, 1.0, 0.02),
    ("CRV/USD", 0.452, 6, 1.0, 0.02),
    ("BAT/USD", 0.217, 6, 1.0, 0.001),
    ("YFI/USD", 6_590.0, 2, 1.0, 0.001),
)

PAIR_PRICES = {pair[0]: pair[1] for pair in _PAIRS}
"""Every pair, with the price where it begins, in its quote currency."""

# Real ids are this large: more than a double can count.
_FIRST_ID = 3_447_222_699_101_865_076
_LARGEST_ID_STEP = 5000
# A change of the book mostly changes the quote too, so a step makes about two messages.
_STEPS_PER_MESSAGE = 0.55
_REBUILD_EVERY = 5000
_LATE_REPORT_SECONDS = (0.2, 10.0)
_LATE_BY_SECONDS = (0.0, 5.0)


class CryptoMarket:
    """Order books, the quotes at their top, trades that eat into them, and bars.

    A new subscriber of ``orderbooks`` gets the full book (``snapshot``), then the levels that
    change; now and then a book is sent anew as a whole. Each quote follows the book update that
    caused it, with the same timestamp. A trade comes before its book update.

    Args:
        seed: the same seed and calls give the same messages.
        start_ns: when market time begins.
    """

    def __init__(self, seed: int, start_ns: int) -> None:
        self.symbols: Sequence[str] = tuple(pair[0] for pair in _PAIRS)
        self._rng = Random(seed)
        self._now_ns = start_ns
        self._books = {
            symbol: Book(symbol, price, decimals, usd, self._rng)
            for symbol, price, decimals, usd, _ in _PAIRS
        }
        self._trade_share = {pair[0]: pair[4] for pair in _PAIRS}
        self._activity = list(accumulate(1 / rank for rank in range(1, len(_PAIRS) + 1)))
        self._bars = {book.symbol: PairBars(book.symbol, book.middle) for book in self._list()}
        self._agenda = Agenda()
        self._clock = CryptoBarClock(self._agenda, list(self._bars.values()), start_ns)
        self._enter_late_report(start_ns - start_ns % NS_PER_MINUTE + NS_PER_MINUTE)
        self._last_id = _FIRST_ID
        self._until_rebuild = _REBUILD_EVERY

    def snapshot(self, channel: str, symbol: str) -> list[Message]:
        """The full order book for ``orderbooks``, nothing for other channels."""
        if channel != "orderbooks" or symbol not in self._books:
            return []
        return [self._books[symbol].full(self._now_ns)]

    def best(self, symbol: str) -> BestPrices | None:
        """Bid and ask as they stand; None for a pair that isn't here."""
        book = self._books.get(symbol)
        if book is None:
            return None
        quote = book.quote(self._now_ns)
        return BestPrices(quote.bid_price, quote.bid_size, quote.ask_price, quote.ask_size)

    def take(self, count: int, now_ns: int) -> list[Message]:
        """See ``Market.take``."""
        begin_ns, self._now_ns = self._now_ns, max(now_ns, self._now_ns)
        out: list[Message] = []
        if count > 0:
            rng = self._rng
            steps = max(1, round(count * _STEPS_PER_MESSAGE))
            step_ns = (self._now_ns - begin_ns) / steps
            chosen = rng.choices(self._list(), cum_weights=self._activity, k=steps)
            for left, book in zip(range(steps - 1, -1, -1), chosen, strict=True):
                at_ns = self._now_ns - int((left + rng.random()) * step_ns)
                if at_ns >= self._agenda.due_ns:
                    self._agenda.run(at_ns, out)
                self._step(book, at_ns, out)
        self._agenda.run(self._now_ns, out)
        return out

    def _list(self) -> list[Book]:
        return list(self._books.values())

    def _step(self, book: Book, at_ns: int, out: list[Message]) -> None:
        before = book.top
        self._until_rebuild -= 1
        if self._until_rebuild <= 0:
            self._until_rebuild = _REBUILD_EVERY
            book.rebuild(self._rng)
            out.append(book.full(at_ns))
        elif self._rng.random() < self._trade_share[book.symbol]:
            buys, price, size = book.trade(self._rng)
            out.append(self._trade(book.symbol, price, size, buys, at_ns))
            self._bars[book.symbol].trade(price, size)
            out.append(book.changes(at_ns))
        else:
            book.update(self._rng)
            out.append(book.changes(at_ns))
        if book.top != before:
            out.append(book.quote(at_ns))
            self._bars[book.symbol].quote(book.middle)

    def _trade(self, symbol: str, price: float, size: float, buys: bool, at_ns: int) -> CryptoTrade:
        self._last_id += 1 + int(self._rng.random() * _LARGEST_ID_STEP)
        side = "B" if buys else "S"
        return CryptoTrade(symbol, price, size, to_timestamp(at_ns), self._last_id, side)

    def _enter_late_report(self, edge_ns: int) -> None:
        delay_ns = int(self._rng.uniform(*_LATE_REPORT_SECONDS) * NS_PER_SECOND)
        self._agenda.at(edge_ns + delay_ns, partial(self._report_late, edge_ns))

    def _report_late(self, edge_ns: int, _now_ns: int, out: list[Message]) -> None:
        # One trade of the minute before, after its bar was sent: it makes an updated bar.
        pair = self._clock.late_pair(self._rng)
        if pair is not None and not self._clock.is_day_edge(edge_ns):
            age_ns = int(self._rng.uniform(*_LATE_BY_SECONDS) * NS_PER_SECOND)
            price, size = pair.previous.close, pair.previous.volume / pair.previous.count
            price, size = round(price, 12), round(size, 9)
            out.append(
                self._trade(
                    pair.symbol, price, size, self._rng.random() < 0.5, edge_ns - 1 - age_ns
                )
            )
            self._clock.late_trade(pair, price, size)
        self._enter_late_report(edge_ns + NS_PER_MINUTE)
