"""A simulated crypto order book.

Prices and sizes are whole numbers inside (ticks and units), so that levels compare exactly and
the best levels are the quote to the last digit.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from random import Random

from stream_proxy.model.messages import BookLevel, CryptoQuote, OrderBook
from stream_proxy.model.time import to_timestamp

DEPTH = 20

SIZE_SCALE = 10**9

# Levels lie up to this far apart; the price is drawn back to its anchor, fully at the leash's end.
_WIDEST_GAP = 0.0003
_LEASH = 0.03
_WIDEST_SPREAD_GAPS = 3
# What rests on a level, in units of the quote currency times its price in USD: a few thousand USD.
_SMALLEST_USD, _LARGEST_USD = 200.0, 60_000.0


class BookSide:
    """One side of a book; ``sign`` is 1 for asks and -1 for bids, so that less is better."""

    __slots__ = ("changed", "keys", "sign", "sizes")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.keys: list[int] = []
        self.sizes: dict[int, int] = {}
        self.changed: dict[int, int] = {}

    @property
    def best(self) -> int:
        """The best price in ticks."""
        return self.sign * self.keys[0]

    @property
    def best_size(self) -> int:
        """What rests at the best price, in units."""
        return self.sizes[self.best]

    def set(self, price: int, size: int) -> None:
        """Set a level; size 0 removes it. The change is noted in ``changed``."""
        if size:
            if price not in self.sizes:
                insort(self.keys, self.sign * price)
            self.sizes[price] = size
        else:
            del self.keys[bisect_left(self.keys, self.sign * price)]
            del self.sizes[price]
        self.changed[price] = size

    def clear(self) -> None:
        """Forget all levels and changes."""
        self.keys.clear()
        self.sizes.clear()
        self.changed.clear()


class Book:
    """The order book of one pair.

    Args:
        symbol: the pair, ``BTC/USD``.
        price: where it begins, in the quote currency.
        decimals: of its prices.
        usd: what one unit of the quote currency is worth in USD, for plausible sizes.
    """

    __slots__ = (
        "_anchor",
        "_gap",
        "_largest",
        "_pull",
        "_scale",
        "_smallest",
        "asks",
        "bids",
        "symbol",
    )

    def __init__(self, symbol: str, price: float, decimals: int, usd: float, rng: Random) -> None:
        self.symbol = symbol
        self._scale: int = 10**decimals
        self._anchor: int = round(price * self._scale)
        self._gap: int = max(2, int(self._anchor * _WIDEST_GAP))
        self._pull: float = 0.5 / (_LEASH * self._anchor)
        self._smallest = _SMALLEST_USD / (price * usd) * SIZE_SCALE
        self._largest = _LARGEST_USD / (price * usd) * SIZE_SCALE
        self.bids, self.asks = BookSide(-1), BookSide(1)
        self.rebuild(rng, self._anchor)

    @property
    def middle(self) -> float:
        """The middle of the quote, in the quote currency."""
        return (self.bids.best + self.asks.best) / (2 * self._scale)

    def rebuild(self, rng: Random, middle: int | None = None) -> None:
        """Replace all levels by new ones around a price in ticks, by default the present one."""
        if middle is None:
            middle = (self.bids.best + self.asks.best) // 2
        for side in (self.bids, self.asks):
            side.clear()
            price = middle
            for _ in range(DEPTH):
                price += side.sign * self._step(rng)
                side.set(price, self._size(rng))
            side.changed.clear()

    def update(self, rng: Random) -> None:
        """Change something: a size, a level deep in the book, or the best price."""
        up = self._leans_up(rng)
        if self.asks.best - self.bids.best > _WIDEST_SPREAD_GAPS * self._gap:
            self._improve(rng, self.bids if up else self.asks)
            return
        side = self.bids if rng.random() < 0.5 else self.asks
        what = rng.random()
        # The better levels change more often.
        place = int(len(side.keys) * rng.random() ** 3)
        price = side.sign * side.keys[place]
        if what < 0.6:
            side.set(price, self._size(rng))
        elif what < 0.75 and place and len(side.keys) > DEPTH // 2:
            side.set(price, 0)
        elif what < 0.85:
            self._deepen(rng, side)
        else:
            # The best level of one side goes; the other side improves into the gap it left.
            fleeing, following = (self.asks, self.bids) if up else (self.bids, self.asks)
            self._deepen(rng, fleeing)
            fleeing.set(fleeing.best, 0)
            self._improve(rng, following)

    def trade(self, rng: Random) -> tuple[bool, float, float]:
        """Let a taker take from the best level: whether it bought, the price, and the size."""
        buys = self._leans_up(rng)
        side = self.asks if buys else self.bids
        price, resting = side.best, side.best_size
        taken = resting if rng.random() < 0.3 else max(1, int(resting * rng.random() ** 2))
        side.set(price, resting - taken)
        if len(side.keys) < DEPTH // 2:
            self._deepen(rng, side)
        return buys, price / self._scale, taken / SIZE_SCALE

    def changes(self, at_ns: int) -> OrderBook:
        """The levels that changed since the last call, and start noting anew."""
        message = OrderBook(
            self.symbol,
            to_timestamp(at_ns),
            self._levels(self.bids.changed),
            self._levels(self.asks.changed),
        )
        self.bids.changed.clear()
        self.asks.changed.clear()
        return message

    def full(self, at_ns: int) -> OrderBook:
        """The whole book, best levels first, marked to replace whatever was known."""
        bids, asks = (
            {side.sign * key: side.sizes[side.sign * key] for key in side.keys}
            for side in (self.bids, self.asks)
        )
        return OrderBook(
            self.symbol, to_timestamp(at_ns), self._levels(bids), self._levels(asks), True
        )

    def quote(self, at_ns: int) -> CryptoQuote:
        """The best levels as a quote."""
        bids, asks, scale = self.bids, self.asks, self._scale
        return CryptoQuote(
            self.symbol,
            bids.best / scale,
            bids.best_size / SIZE_SCALE,
            asks.best / scale,
            asks.best_size / SIZE_SCALE,
            to_timestamp(at_ns),
        )

    @property
    def top(self) -> tuple[int, int, int, int]:
        """What the quote consists of, to see whether it changed."""
        return self.bids.best, self.bids.best_size, self.asks.best, self.asks.best_size

    def _leans_up(self, rng: Random) -> bool:
        # The farther from its anchor the price is, the likelier it comes back.
        middle = (self.bids.best + self.asks.best) / 2
        return rng.random() < 0.5 + (self._anchor - middle) * self._pull

    def _improve(self, rng: Random, side: BookSide) -> None:
        # A new best level inside the spread, if there is room.
        room = self.asks.best - self.bids.best - 1
        if room > 0:
            step = 1 + int(min(room, self._gap) * rng.random())
            side.set(side.best - side.sign * min(step, room), self._size(rng))
            if len(side.keys) > DEPTH:
                side.set(side.sign * side.keys[-1], 0)

    def _deepen(self, rng: Random, side: BookSide) -> None:
        # A new worst level, or a new size for the worst if the book is deep enough.
        worst = side.sign * side.keys[-1]
        price = worst + side.sign * self._step(rng)
        side.set(price if price > 0 and len(side.keys) < DEPTH else worst, self._size(rng))

    def _step(self, rng: Random) -> int:
        return 1 + int(self._gap * rng.random())

    def _size(self, rng: Random) -> int:
        # Small orders are more frequent than large ones.
        spread = self._largest - self._smallest
        return max(1, int(self._smallest + spread * rng.random() ** 4))

    def _levels(self, sizes: dict[int, int]) -> list[BookLevel]:
        scale = self._scale
        return [BookLevel(price / scale, size / SIZE_SCALE) for price, size in sizes.items()]
