"""Replays tell recorded rows unchanged, each exactly once."""

from __future__ import annotations

import csv
import gzip
import os
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from stream_proxy.model.conditions import bar_effects
from stream_proxy.model.messages import (
    CryptoQuote,
    CryptoTrade,
    Message,
    OptionQuote,
    OptionTrade,
    Quote,
    Trade,
)
from stream_proxy.model.time import NS_PER_MINUTE, NS_PER_SECOND, parse_rfc3339, timestamp_ns
from stream_proxy.simulator.market.bars import BarBuilder
from stream_proxy.simulator.market.replay import FAR_FUTURE_NS, ReplayMarket

REPOSITORY = Path(__file__).resolve().parents[4]
DATA = Path(os.environ.get("STREAM_PROXY_TEST_DATA", REPOSITORY.parent / "shared" / "data"))

needs_data = pytest.mark.skipif(
    # In CI the folder is there, or its absence is a failure.
    not DATA.is_dir() and not os.environ.get("CI"),
    reason=f"no recorded market data at {DATA} (set STREAM_PROXY_TEST_DATA)",
)

HEADER = "ts_ns,symbol,kind,price,size,bid,bid_size,ask,ask_size,exchange,ask_exchange,conditions"


def written(folder: Path, *rows: str, name: str = "ticks.csv") -> Path:
    """A recording of these rows."""
    path = folder / name
    text = "\n".join((HEADER, *rows)) + "\n"
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def everything(market: ReplayMarket, count: int = 5000) -> list[Message]:
    """All messages, as fast as possible."""
    out: list[Message] = []
    while taken := market.take(count, FAR_FUTURE_NS):
        out += taken
    return out


def test_stock_rows_become_trades_and_quotes(tmp_path: Path) -> None:
    """Flags become letters, a missing side becomes 0, ids count up."""
    path = written(
        tmp_path,
        "1000,AIG,q,,,49.07,1500,49.08,400,N,Z,1",
        "1000,AIG,q,,,,,49.08,400,N,Z,1",
        "1001,AIG,t,49.08,100,,,,,D,,20002020",
        "1002,AIG,t,49.08,7,,,,,XNAS,,1",
        "1003,ZZZZ,t,1.5,7,,,,,SOMEWHERE,,4800",
    )
    market = ReplayMarket(path)
    bid_and_ask, ask_only, late, plain, unknown = everything(market)

    assert isinstance(bid_and_ask, Quote)
    assert isinstance(ask_only, Quote)
    assert isinstance(late, Trade)
    assert isinstance(plain, Trade)
    assert isinstance(unknown, Trade)
    assert (bid_and_ask.bid_exchange, bid_and_ask.bid_price, bid_and_ask.bid_size) == (
        "N",
        49.07,
        1500,
    )
    assert (bid_and_ask.ask_exchange, bid_and_ask.ask_price, bid_and_ask.ask_size) == (
        "Z",
        49.08,
        400,
    )
    assert (ask_only.bid_exchange, ask_only.bid_price, ask_only.bid_size) == (" ", 0, 0)
    assert (late.conditions, late.tape, late.id) == ([" ", "F", "T"], "A", 1)
    assert (plain.exchange, plain.id) == ("Q", 2)
    assert (unknown.exchange, unknown.tape, unknown.conditions) == (" ", "C", ["@", "Z"])
    assert market.skipped == {}
    assert market.symbols == ("AIG", "ZZZZ")


def test_options_and_pairs_are_told_by_their_symbols(tmp_path: Path) -> None:
    """OCC names, pairs with and without separator."""
    path = written(
        tmp_path,
        "1,GOOG160115C00750000,q,,,,0,13.2,26,,,",
        "2,GOOG160115C00750000,t,13,5,,,,,EMLD,,",
        "3,BTCUSDT,t,39432.48,0.000263,,,,,BINANCE,,m",
        "4,SKL-USD,q,,,0.5,10.5,0.6,3,COINBASE,,",
        "5,ETH/USD,t,1.5,2,,,,,COINBASE,,sell",
        "6,BRK-B,t,1.5,2,,,,,N,,1",
        name="ticks.csv.gz",
    )
    market = ReplayMarket(path)
    quote, trade, bitcoin, skale, ether, berkshire = everything(market, 2)

    assert isinstance(quote, OptionQuote)
    assert (quote.bid_price, quote.bid_size, quote.ask_price, quote.ask_size) == (0, 0, 13.2, 26)
    assert isinstance(trade, OptionTrade)
    assert (trade.exchange, trade.size) == ("D", 5)
    assert isinstance(bitcoin, CryptoTrade)
    assert (bitcoin.symbol, bitcoin.size, bitcoin.taker_side) == ("BTC/USDT", 0.000263, "S")
    assert isinstance(skale, CryptoQuote)
    assert (skale.symbol, skale.bid_size) == ("SKL/USD", 10.5)
    assert isinstance(ether, CryptoTrade)
    assert ether.taker_side == "B"
    assert isinstance(berkshire, Trade)


def test_what_cannot_be_said_is_counted(tmp_path: Path) -> None:
    """By reason, and the other rows still come."""
    path = written(
        tmp_path,
        "1,AIG,x,,,,,,,N,,1",
        "2,AIG,t,,100,,,,,N,,1",
        "3,AIG,t,1.5,,,,,,N,,1",
        "4,AIG,t,1.5,0.25,,,,,N,,1",
        "5,AIG,t,1.5,-3,,,,,N,,1",
        "6,AIG,t,1.5,3,,,,,N,,what",
        "7,ETHBUSD,t,1.5,3,,,,,BINANCE,,m",
        "8,,t,1.5,3,,,,,N,,1",
        "9,AIG,t,1.5,3,,,,,N,,1",
    )
    market = ReplayMarket(path)

    assert len(everything(market)) == 1
    assert market.rows_read == 9
    assert market.skipped == {
        "kind 'x'": 1,
        "trade without price": 1,
        "trade without size": 1,
        "fractional size": 1,
        "negative size": 1,
        "conditions 'what'": 1,
        "ambiguous pair ETHBUSD": 1,
        "no symbol": 1,
    }


def test_time_gates_what_may_be_taken(tmp_path: Path) -> None:
    """A row that goes back in time waits for the one before it: order comes first."""
    path = written(
        tmp_path,
        *(f"{ts},AIG,t,1.5,{size},,,,,N,,1" for size, ts in enumerate((100, 200, 150, 300), 1)),
    )
    market = ReplayMarket(path)

    def sizes(count: int, now_ns: int) -> list[int]:
        return [m.size for m in market.take(count, now_ns) if isinstance(m, Trade)]

    assert market.next_ns == 100
    assert sizes(10, 99) == []
    assert sizes(10, 199) == [1]
    assert market.next_ns == 200
    assert sizes(1, 299) == [2]
    assert sizes(0, 299) == []
    assert sizes(10, 299) == [3]
    assert sizes(10, FAR_FUTURE_NS) == [4]
    assert market.next_ns is None
    assert sizes(10, FAR_FUTURE_NS) == []


def test_speed_maps_real_time_to_recorded_time(tmp_path: Path) -> None:
    """Ten times speed passes ten seconds in one."""
    path = written(tmp_path, "1000,AIG,t,1.5,3,,,,,N,,1")

    assert ReplayMarket(path, 10.0).position_ns(NS_PER_SECOND) == 1000 + 10 * NS_PER_SECOND
    assert ReplayMarket(path).position_ns(1) == FAR_FUTURE_NS
    assert ReplayMarket(path).snapshot("quotes", "AIG") == []
    with pytest.raises(ValueError, match="positive"):
        ReplayMarket(path, 0)


def test_an_empty_recording_has_nothing_to_say(tmp_path: Path) -> None:
    """Header only."""
    market = ReplayMarket(written(tmp_path))

    assert (market.next_ns, list(market.symbols), market.take(5, FAR_FUTURE_NS)) == (None, [], [])


def test_unknown_kinds_of_files_are_refused(tmp_path: Path) -> None:
    """By name, before reading."""
    with pytest.raises(ValueError, match=r"ticks\.txt"):
        ReplayMarket(tmp_path / "ticks.txt")


def test_without_pyarrow_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only Parquet needs it."""
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)

    with pytest.raises(ImportError, match="extra 'parquet'"):
        ReplayMarket(tmp_path / "ticks.parquet")


def test_parquet_and_csv_tell_the_same(tmp_path: Path) -> None:
    """Also when numbers are missing as NaN and words are dictionary-coded."""
    arrow: Any = pyarrow
    parquet: Any = pyarrow.parquet
    nan = float("nan")
    table = arrow.table(
        {
            "ts_ns": [1, 2],
            "symbol": arrow.array(["AIG", "AIG"]).dictionary_encode(),
            "kind": ["q", "t"],
            "price": [nan, 1.25],
            "size": [nan, 300.0],
            "bid": [nan, nan],
            "ask": [1.5, nan],
            "ask_size": [100, None],
            "exchange": arrow.array(["N", None]).dictionary_encode(),
            "conditions": ["1", "20"],
        }
    )
    parquet.write_table(table, tmp_path / "ticks.parquet")
    path = written(tmp_path, "1,AIG,q,,,,,1.5,100,N,,1", "2,AIG,t,1.25,300,,,,,,,20")

    assert everything(ReplayMarket(tmp_path / "ticks.parquet")) == everything(ReplayMarket(path))


@pytest.mark.slow
@needs_data
def test_a_real_day_of_stocks_passes_unchanged() -> None:
    """Every row of the day becomes exactly one message; bars from it agree with the vendor's."""
    parquet: Any = pyarrow.parquet
    path = DATA / "us_equity_ticks_20131007.parquet"
    columns = parquet.read_table(
        path, columns=["ts_ns", "price", "size", "bid", "bid_size", "ask", "ask_size"]
    ).to_pydict()
    rows = zip(*columns.values(), strict=True)
    market = ReplayMarket(path)
    minutes: dict[tuple[int, str], BarBuilder] = defaultdict(BarBuilder)
    identities: set[tuple[str, int]] = set()
    counted = Counter[type]()
    told: tuple[Any, ...]
    while messages := market.take(10_000, FAR_FUTURE_NS):
        for message in messages:
            counted[type(message)] += 1
            row = next(rows)
            if isinstance(message, Quote):
                told = (
                    timestamp_ns(message.timestamp),
                    None,
                    None,
                    message.bid_price,
                    message.bid_size,
                    message.ask_price,
                    message.ask_size,
                )
            else:
                assert isinstance(message, Trade)
                identities.add((message.symbol, message.id))
                at_ns = timestamp_ns(message.timestamp)
                told = (at_ns, message.price, message.size, None, None, None, None)
                minute = at_ns - at_ns % NS_PER_MINUTE
                effect = bar_effects(message.conditions, message.tape).minute
                minutes[minute, message.symbol].add(message.price, message.size, effect)
            assert told == row

    assert counted == {Quote: 832_927, Trade: 388_417}
    assert len(identities) == 388_417
    assert market.rows_read == 1_221_344
    assert market.skipped == {}
    assert set(market.symbols) == {"AIG", "BAC", "IBM", "SPY"}
    compare_with_the_vendor(minutes)


def compare_with_the_vendor(minutes: dict[tuple[int, str], BarBuilder]) -> None:
    """The vendor's rule for prices is not published, so they agree mostly; volumes exactly."""
    auctions = (
        range(parse_rfc3339("2013-10-07T13:30:00Z"), parse_rfc3339("2013-10-07T13:31:00Z") + 1),
        range(parse_rfc3339("2013-10-07T19:59:00Z"), parse_rfc3339("2013-10-07T20:00:00Z") + 1),
    )
    first_ns, last_ns = min(minutes)[0], max(minutes)[0]
    same_volume = equal = near = compared = 0
    with gzip.open(DATA / "us_equity_minute_bars.csv.gz", "rt") as file:
        for bar in csv.DictReader(file):
            start_ns = int(bar["ts_ns"])
            if not first_ns <= start_ns <= last_ns or any(start_ns in span for span in auctions):
                continue
            ours = minutes[start_ns, bar["symbol"]]
            compared += 1
            same_volume += ours.volume == int(bar["volume"])
            prices = [(getattr(ours, f), float(bar[f])) for f in ("open", "high", "low", "close")]
            equal += sum(a == b for a, b in prices)
            near += sum(abs(a - b) <= 0.0101 for a, b in prices)
    assert compared > 1500
    assert same_volume / compared > 0.998
    assert equal / (4 * compared) > 0.91
    assert near / (4 * compared) > 0.96


@needs_data
@pytest.mark.parametrize(
    ("name", "rows", "kinds"),
    [
        pytest.param(
            "us_equity_ticks_20131008.parquet",
            1_564_133,
            {Quote: 909_993, Trade: 654_140},
            marks=pytest.mark.slow,
        ),
        ("options_minute_quotes.parquet", 302_079, {OptionQuote: 302_079}),
        ("crypto_ticks.csv.gz", 4_413, {CryptoQuote: 2_313, CryptoTrade: 2_100}),
        (
            "databento_ns_fixtures.csv",
            24,
            {Quote: 8, Trade: 8, OptionQuote: 4, OptionTrade: 4},
        ),
    ],
)
def test_every_real_row_becomes_one_message(name: str, rows: int, kinds: dict[type, int]) -> None:
    """Nothing is skipped in any of the recordings."""
    market = ReplayMarket(DATA / name)
    counted = Counter[type]()
    while messages := market.take(10_000, FAR_FUTURE_NS):
        counted.update(map(type, messages))

    assert counted == kinds
    assert market.rows_read == rows
    assert market.skipped == {}
    assert market.next_ns is None
