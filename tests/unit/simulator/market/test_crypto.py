"""The simulated crypto market: books, quotes and bars that agree with each other."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_proxy.model.messages import (
    Bar,
    CryptoQuote,
    CryptoTrade,
    DailyBar,
    Message,
    OrderBook,
    UpdatedBar,
)
from stream_proxy.model.time import NS_PER_MINUTE, NS_PER_SECOND, parse_rfc3339, timestamp_ns
from stream_proxy.simulator.market.crypto import CryptoMarket

START_NS = parse_rfc3339("2026-06-01T14:00:20Z")


class FollowedBook:
    """A book as a consumer keeps it: snapshot first, then changes."""

    def __init__(self) -> None:
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}

    def apply(self, message: OrderBook) -> None:
        if message.reset:
            self.bids.clear()
            self.asks.clear()
        for side, levels in ((self.bids, message.bids), (self.asks, message.asks)):
            for level in levels:
                if level.size:
                    side[level.price] = level.size
                else:
                    # Only what is there can be removed.
                    del side[level.price]

    def top(self) -> tuple[float, float, float, float]:
        bid, ask = max(self.bids), min(self.asks)
        return bid, self.bids[bid], ask, self.asks[ask]


def followed(market: CryptoMarket) -> dict[str, FollowedBook]:
    books = {symbol: FollowedBook() for symbol in market.symbols}
    for symbol, book in books.items():
        (full,) = market.snapshot("orderbooks", symbol)
        assert isinstance(full, OrderBook)
        assert full.reset
        book.apply(full)
    return books


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 1500), min_size=1, max_size=6))
def test_followed_books_agree_with_quotes_and_snapshots(seed: int, counts: list[int]) -> None:
    """The best levels are the quote; a later snapshot is what a follower has by then."""
    market = CryptoMarket(seed, START_NS)
    books = followed(market)
    quoted: dict[str, tuple[float, float, float, float]] = {}
    for i, count in enumerate(counts):
        for message in market.take(count, START_NS + (i + 1) * NS_PER_SECOND):
            if isinstance(message, OrderBook):
                books[message.symbol].apply(message)
                assert max(books[message.symbol].bids) < min(books[message.symbol].asks)
            elif isinstance(message, CryptoQuote):
                quoted[message.symbol] = (
                    message.bid_price,
                    message.bid_size,
                    message.ask_price,
                    message.ask_size,
                )
                assert quoted[message.symbol] == books[message.symbol].top()
                assert message.bid_price < message.ask_price
    for symbol, book in books.items():
        # No silent change of the top either.
        assert quoted.get(symbol, book.top()) == book.top()
        (full,) = market.snapshot("orderbooks", symbol)
        assert isinstance(full, OrderBook)
        again = FollowedBook()
        again.apply(full)
        assert (again.bids, again.asks) == (book.bids, book.asks)


def test_snapshots_are_for_order_books_only() -> None:
    """And for pairs that exist; the book comes best level first."""
    market = CryptoMarket(1, START_NS)
    (full,) = market.snapshot("orderbooks", "BTC/USD")
    assert isinstance(full, OrderBook)

    assert market.snapshot("trades", "BTC/USD") == []
    assert market.snapshot("orderbooks", "NO/PAIR") == []
    assert [level.price for level in full.bids] == sorted(
        (x.price for x in full.bids), reverse=True
    )
    assert [level.price for level in full.asks] == sorted(x.price for x in full.asks)


def test_levels_go_and_books_are_sent_anew() -> None:
    """Size 0 removes a level; resets come in mid-stream too."""
    market = CryptoMarket(3, START_NS)
    books = [m for m in market.take(25_000, START_NS + NS_PER_SECOND) if isinstance(m, OrderBook)]

    assert any(level.size == 0 for book in books for level in book.bids + book.asks)
    assert 1 <= sum(book.reset for book in books) < 10
    assert b'"r":' not in msgspec.json.encode(
        msgspec.structs.replace(next(b for b in books if not b.reset), timestamp=None)
    )


def test_trades_happen_at_the_top_of_the_book() -> None:
    """A taker buys at the ask and sells at the bid; ids exceed what a double can count."""
    market = CryptoMarket(5, START_NS)
    books = followed(market)
    last_id, sides = 2**53, Counter[str]()
    for message in market.take(5000, START_NS + NS_PER_SECOND):
        if isinstance(message, OrderBook):
            books[message.symbol].apply(message)
        elif isinstance(message, CryptoTrade):
            bid, bid_size, ask, ask_size = books[message.symbol].top()
            price, most = (ask, ask_size) if message.taker_side == "B" else (bid, bid_size)
            assert message.price == price
            assert 0 < message.size <= most
            assert last_id < message.id < 2**63
            last_id = message.id
            sides[message.taker_side] += 1
    assert sides.keys() == {"B", "S"}


def test_bars_exist_without_trades_at_midpoints() -> None:
    """Every pair, every minute, volume 0 and the middle of the quote as price."""
    market = CryptoMarket(1, START_NS)
    (full,) = market.snapshot("orderbooks", "BTC/USD")
    assert isinstance(full, OrderBook)
    middle = (full.bids[0].price + full.asks[0].price) / 2

    messages = market.take(0, START_NS + 41 * NS_PER_SECOND)
    bars = [m for m in messages if type(m) is Bar]

    assert [bar.symbol for bar in bars] == list(market.symbols)
    assert {(bar.volume, bar.trade_count, bar.vwap) for bar in bars} == {(0, 0, 0)}
    first = bars[0]
    assert first.open == first.high == first.low == first.close == pytest.approx(middle)
    assert timestamp_ns(first.timestamp) == START_NS - 20 * NS_PER_SECOND
    assert Counter(type(m) for m in messages) == {Bar: 20, DailyBar: 20}


def test_bars_equal_a_recomputation() -> None:
    """From the trades and the midpoints of the quotes that were sent."""
    market = CryptoMarket(8, START_NS)
    made: dict[tuple[str, int], list[tuple[float, float]]] = {}
    middles: dict[str, float] = {}
    seen = Counter[type]()
    edge = START_NS // NS_PER_MINUTE
    for i in range(600):
        for message in market.take(60, START_NS + (i + 1) * NS_PER_SECOND // 2):
            if isinstance(message, CryptoQuote | CryptoTrade):
                minute = timestamp_ns(message.timestamp) // NS_PER_MINUTE
                if isinstance(message, CryptoQuote):
                    tick = ((message.bid_price + message.ask_price) / 2, 0.0)
                    middles[message.symbol] = tick[0]
                else:
                    tick = (message.price, message.size)
                made.setdefault((message.symbol, minute), []).append(tick)
            elif type(message) is Bar or type(message) is UpdatedBar:
                minute = timestamp_ns(message.timestamp) // NS_PER_MINUTE
                edge = max(edge, minute)
                ticks = made.get((message.symbol, minute), [])
                seen[type(message)] += 1
                sizes = [size for _, size in ticks if size]
                assert message.trade_count == len(sizes)
                assert message.volume == pytest.approx(sum(sizes))
                if ticks:
                    # The bar opened at the midpoint that the minute before left.
                    assert message.high >= max(price for price, _ in ticks) - 1e-9
                    assert message.low <= min(price for price, _ in ticks) + 1e-9
                    assert message.low <= message.open <= message.high
                if type(message) is Bar and ticks:
                    assert message.close == pytest.approx(ticks[-1][0])
                if sizes:
                    paid = sum(price * size for price, size in ticks)
                    assert message.vwap == pytest.approx(paid / sum(sizes), abs=1e-6)
    assert seen[Bar] >= 80
    assert seen[UpdatedBar] >= 3


def test_daily_bars_begin_at_chicago_midnight() -> None:
    """Volumes add up over the day."""
    market = CryptoMarket(2, START_NS)
    last: dict[str, float] = {}
    for i in range(240):
        for message in market.take(20, START_NS + (i + 1) * NS_PER_SECOND):
            if type(message) is DailyBar:
                assert timestamp_ns(message.timestamp) == parse_rfc3339("2026-06-01T05:00:00Z")
                assert message.volume >= last.get(message.symbol, 0)
                last[message.symbol] = message.volume
    assert last["BTC/USD"] > 0


def test_a_new_day_begins_at_chicago_midnight() -> None:
    """The last minute belongs to the old day, the next one to the new."""
    midnight_ns = parse_rfc3339("2026-06-02T05:00:00Z")
    market = CryptoMarket(2, midnight_ns - NS_PER_MINUTE)
    market.take(500, midnight_ns - 1)
    old = [m for m in market.take(0, midnight_ns + NS_PER_SECOND) if type(m) is DailyBar]
    new = [m for m in market.take(0, midnight_ns + 61 * NS_PER_SECOND) if type(m) is DailyBar]

    assert {timestamp_ns(m.timestamp) for m in old} == {midnight_ns - 86_400 * NS_PER_SECOND}
    assert {timestamp_ns(m.timestamp) for m in new} == {midnight_ns}
    assert any(m.volume for m in old)
    assert not any(m.volume for m in new)


def test_the_same_calls_give_the_same_messages() -> None:
    """And the count asked for is about what comes."""

    def stream(seed: int) -> list[Message]:
        market = CryptoMarket(seed, START_NS)
        return [m for i in range(5) for m in market.take(1000, START_NS + (i + 1) * NS_PER_SECOND)]

    first = stream(3)
    assert msgspec.msgpack.encode(first) == msgspec.msgpack.encode(stream(3))
    assert msgspec.msgpack.encode(first) != msgspec.msgpack.encode(stream(4))
    assert 4000 < len(first) < 6000


def test_prices_stay_near_where_they_began() -> None:
    """However many ticks pass."""
    market = CryptoMarket(6, START_NS)
    first: dict[str, float] = {}
    for i in range(20):
        for message in market.take(3000, START_NS + (i + 1) * NS_PER_SECOND):
            if isinstance(message, CryptoQuote):
                begun = first.setdefault(message.symbol, message.bid_price)
                assert 0.9 < message.bid_price / begun < 1.1
                assert message.ask_price / message.bid_price < 1.02
