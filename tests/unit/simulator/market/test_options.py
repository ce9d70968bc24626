"""The simulated option market lists plausible contracts and quotes them consistently."""

from __future__ import annotations

import re
from datetime import date

import msgspec

from stream_proxy.model.messages import OptionQuote, OptionTrade
from stream_proxy.model.time import NS_PER_SECOND, parse_rfc3339, timestamp_ns
from stream_proxy.simulator.market.options import OptionMarket, occ_symbol

START_NS = parse_rfc3339("2026-11-21T15:00:00Z")
OCC = re.compile(r"([A-Z]{1,6})(\d{6})([CP])(\d{8})")


def test_occ_symbols_have_no_padding() -> None:
    """Root, date, side, strike in thousandths."""
    assert occ_symbol("AAPL", date(2026, 12, 18), True, 200.0) == "AAPL261218C00200000"
    assert occ_symbol("BRK.B", date(2026, 12, 18), False, 472.5) == "BRKB261218P00472500"


def test_contracts_expire_after_the_start_around_the_price() -> None:
    """Calls and puts, several expiries, strikes on both sides."""
    market = OptionMarket(1, ["AAPL", "F", "BRK.B"], START_NS)

    assert len(set(market.symbols)) == len(market.symbols) > 600
    parsed = [OCC.fullmatch(symbol) for symbol in market.symbols]
    assert all(match and match[2] > "261121" for match in parsed)
    apple = [match for match in parsed if match and match[1] == "AAPL"]
    strikes = [int(match[4]) / 1000 for match in apple]
    assert min(strikes) < 229 < max(strikes)
    assert {match[3] for match in apple} == {"C", "P"}
    assert len({match[2] for match in apple}) == 7
    assert "AAPL261218C00230000" in market.symbols


def test_quotes_have_spreads_and_may_lack_a_bid() -> None:
    """Ask above bid; without a bid price, size 0 and no venue."""
    market = OptionMarket(2, 10, START_NS)
    ticks = market.take(20_000, START_NS + NS_PER_SECOND)
    quotes = [tick for tick in ticks if isinstance(tick, OptionQuote)]
    trades = [tick for tick in ticks if isinstance(tick, OptionTrade)]

    assert len(quotes) + len(trades) == len(ticks) == 20_000
    assert 0.02 < len(trades) / len(ticks) < 0.07
    for quote in quotes:
        assert quote.ask_price > quote.bid_price >= 0
        assert (quote.bid_price == 0) == (quote.bid_size == 0) == (quote.bid_exchange == " ")
        assert quote.ask_size > 0
        assert len(quote.condition) == len(quote.ask_exchange) == 1
    assert any(quote.bid_price == 0 for quote in quotes)
    assert sum(q.ask_price - q.bid_price > 0.05 for q in quotes) > len(quotes) / 2
    for trade in trades:
        assert trade.price > 0
        assert trade.size > 0
        assert trade.condition.strip()


def test_ticks_are_ordered_and_repeatable() -> None:
    """In time order within the interval; the same seed gives the same."""
    ticks = OptionMarket(3, 5, START_NS).take(2000, START_NS + NS_PER_SECOND)
    stamps = [timestamp_ns(tick.timestamp) for tick in ticks]  # type: ignore[union-attr]

    assert stamps == sorted(stamps)
    assert stamps[0] >= START_NS
    assert stamps[-1] <= START_NS + NS_PER_SECOND
    again = OptionMarket(3, 5, START_NS).take(2000, START_NS + NS_PER_SECOND)
    assert msgspec.msgpack.encode(ticks) == msgspec.msgpack.encode(again)


def test_time_alone_brings_nothing() -> None:
    """Nor is there a snapshot."""
    market = OptionMarket(3, 5, START_NS)

    assert market.take(0, START_NS + 3600 * NS_PER_SECOND) == []
    assert market.snapshot("trades", market.symbols[0]) == []
