"""The simulated stock market is plausible, consistent with itself, and deterministic."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_proxy.model.conditions import bar_effects
from stream_proxy.model.messages import (
    Bar,
    CancelError,
    Correction,
    DailyBar,
    Imbalance,
    Luld,
    Message,
    Quote,
    Status,
    Trade,
    UpdatedBar,
)
from stream_proxy.model.time import NS_PER_MINUTE, NS_PER_SECOND, parse_rfc3339, timestamp_ns
from stream_proxy.simulator.market.bars import BarBuilder
from stream_proxy.simulator.market.stocks import StockMarket

# A Monday morning in New York, daylight saving time, 20 seconds into a minute.
MORNING_NS = parse_rfc3339("2026-06-01T14:00:20Z")
NIGHT_NS = parse_rfc3339("2026-06-01T02:00:20Z")
MIDNIGHT_NS = parse_rfc3339("2026-06-01T04:00:00Z")

Kind = TypeVar("Kind")

EXCHANGES = set("ZIMULWXBDJPQSVAENTYCHK")
HALTING = {"H", "P", "2"}
RESUMING = {"T", "3"}


def run(
    market: StockMarket, start_ns: int, takes: int, count: int, step_seconds: float
) -> list[Message]:
    """All messages of so many takes."""
    step_ns = int(step_seconds * NS_PER_SECOND)
    return [
        message
        for i in range(takes)
        for message in market.take(count, start_ns + (i + 1) * step_ns)
    ]


@pytest.fixture(scope="module")
def morning() -> list[Message]:
    """Six and a half minutes of regular trading in forty stocks."""
    market = StockMarket(7, 40, MORNING_NS)
    return run(market, MORNING_NS, 780, 150, 0.5)


def of(kind: type[Kind], messages: Iterable[Message]) -> list[Kind]:
    return [message for message in messages if type(message) is kind]


def test_every_type_shows_up_within_ten_thousand_ticks(morning: list[Message]) -> None:
    """Bars need their minutes; all else comes soon."""
    kinds = {type(message) for message in morning}
    assert kinds == {
        Trade,
        Quote,
        Bar,
        UpdatedBar,
        DailyBar,
        Status,
        Luld,
        Correction,
        CancelError,
        Imbalance,
    }

    soon = StockMarket(1, 50, MORNING_NS).take(12_500, MORNING_NS + NS_PER_SECOND)
    assert {Status, Luld, Correction, CancelError, Imbalance} <= {type(m) for m in soon}


def test_the_same_calls_give_the_same_messages() -> None:
    """And another seed gives others."""

    def stream(seed: int) -> bytes:
        market = StockMarket(seed, 30, MORNING_NS)
        return msgspec.msgpack.encode(run(market, MORNING_NS, 70, 100, 1.0))

    assert stream(3) == stream(3)
    assert stream(3) != stream(4)


def test_the_mix_is_mostly_quotes(morning: list[Message]) -> None:
    """About 85 to 15."""
    trades, quotes = len(of(Trade, morning)), len(of(Quote, morning))

    assert 0.11 < trades / (trades + quotes) < 0.17


def test_the_count_is_about_what_was_asked() -> None:
    """Ticks and a few followers."""
    market = StockMarket(5, 100, MORNING_NS)

    assert 1000 <= len(market.take(1000, MORNING_NS + NS_PER_SECOND)) < 1100


def test_ticks_come_in_time_order_within_the_interval() -> None:
    """Late trades are the only ones from the past."""
    market = StockMarket(11, 60, MORNING_NS)
    before_ns, late = MORNING_NS, 0
    for i in range(300):
        now_ns = MORNING_NS + (i + 1) * NS_PER_SECOND
        last_ns = before_ns
        for message in market.take(200, now_ns):
            if isinstance(message, Bar):
                continue
            at_ns = timestamp_ns(message.timestamp)  # type: ignore[union-attr]
            if isinstance(message, Trade) and at_ns < last_ns:
                late += 1
                assert at_ns // NS_PER_MINUTE == last_ns // NS_PER_MINUTE - 1
                continue
            assert last_ns <= at_ns <= now_ns
            last_ns = at_ns
        before_ns = now_ns
    assert late > 0


def test_asks_are_above_bids_and_sizes_positive(morning: list[Message]) -> None:
    """In every quote; venues are letters the SDKs know."""
    for quote in of(Quote, morning):
        assert isinstance(quote, Quote)
        assert 0 < quote.bid_price < quote.ask_price
        assert quote.bid_size > 0
        assert quote.ask_size > 0
        assert {quote.bid_exchange, quote.ask_exchange} <= EXCHANGES
        assert quote.conditions == ["R"]


def test_trades_at_the_market_lie_within_the_last_quote(morning: list[Message]) -> None:
    """Unless their conditions say that their price is no market price, or they are late."""
    last: dict[str, Quote] = {}
    latest_ns = checked = 0
    for message in morning:
        if isinstance(message, Quote):
            last[message.symbol] = message
        elif isinstance(message, Trade):
            at_ns = timestamp_ns(message.timestamp)
            plain = [code for code in message.conditions if code != "I"]
            market_price = bar_effects(plain, message.tape).minute.high_low
            if at_ns >= latest_ns and market_price and message.symbol in last:
                quote = last[message.symbol]
                assert quote.bid_price <= message.price <= quote.ask_price
                checked += 1
            latest_ns = max(latest_ns, at_ns)
    assert checked > 5000


def test_trade_conditions_fit_tape_lot_and_hour() -> None:
    """``@`` on tape C, blank on A and B; ``I`` under 100 shares; ``T`` at night."""
    for start_ns, extended in ((MORNING_NS, False), (NIGHT_NS, True)):
        market = StockMarket(2, 200, start_ns)
        for trade in of(Trade, market.take(20_000, start_ns + 20 * NS_PER_SECOND)):
            assert isinstance(trade, Trade)
            assert trade.conditions[0] == ("@" if trade.tape == "C" else " ")
            assert ("I" in trade.conditions) == (trade.size < 100)
            assert ("T" in trade.conditions) == extended
            assert trade.exchange in EXCHANGES


def test_trade_ids_are_unique_and_rise(morning: list[Message]) -> None:
    """Per symbol, over trades and corrected trades, so per exchange too."""
    last: dict[str, int] = defaultdict(int)
    for message in morning:
        if isinstance(message, Trade | Correction):
            new = message.id if isinstance(message, Trade) else message.corrected_id
            assert new > last[message.symbol]
            last[message.symbol] = new


def test_trade_ids_begin_anew_each_day() -> None:
    """At New York midnight."""
    start_ns = MIDNIGHT_NS - 10 * NS_PER_SECOND
    market = StockMarket(2, ["AAPL"], start_ns)
    before = of(Trade, market.take(1000, MIDNIGHT_NS - 1))
    after = of(Trade, market.take(1000, MIDNIGHT_NS + NS_PER_SECOND))

    assert [trade.id for trade in before[:2]] == [1, 2]
    assert [trade.id for trade in after[:2]] == [1, 2]


def test_minute_bars_equal_a_recomputation_from_the_trades(morning: list[Message]) -> None:
    """Bars, updated bars and daily bars, each from exactly the trades sent before it."""
    minutes: dict[tuple[str, int], BarBuilder] = defaultdict(BarBuilder)
    days: dict[str, BarBuilder] = defaultdict(BarBuilder)
    day_at_edge: dict[str, tuple[float, ...]] = {}
    edge, seen = MORNING_NS // NS_PER_MINUTE, Counter[type]()
    for message in morning:
        if isinstance(message, Trade):
            at_ns = timestamp_ns(message.timestamp)
            minute = at_ns // NS_PER_MINUTE
            if minute > edge:
                edge, day_at_edge = minute, {symbol: values(day) for symbol, day in days.items()}
            effects = bar_effects(message.conditions, message.tape)
            minutes[message.symbol, minute].add(message.price, message.size, effects.minute)
            days[message.symbol].add(message.price, message.size, effects.daily)
        elif isinstance(message, DailyBar):
            assert bar_values(message) == day_at_edge[message.symbol]
            assert timestamp_ns(message.timestamp) == MIDNIGHT_NS
        elif isinstance(message, Bar):
            minute = timestamp_ns(message.timestamp) // NS_PER_MINUTE
            if minute == edge:
                # No trade came between the edge and the bars.
                edge, day_at_edge = minute + 1, {s: values(day) for s, day in days.items()}
            assert bar_values(message) == values(minutes[message.symbol, minute])
        else:
            continue
        seen[type(message)] += 1
    # Each complete minute that ended gave its bar.
    complete = [key for key, bar in minutes.items() if bar.is_complete and key[1] < edge]
    assert seen[Bar] == len(complete)
    assert seen[UpdatedBar] >= 5
    assert seen[DailyBar] > 100


def values(bar: BarBuilder) -> tuple[float, ...]:
    return bar.open, bar.high, bar.low, bar.close, bar.volume, bar.count, bar.vwap


def bar_values(bar: Bar) -> tuple[float, ...]:
    return bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trade_count, bar.vwap


def test_updated_bars_follow_late_trades_at_the_half_minute() -> None:
    """One for each symbol with a late trade, and only for those."""
    market = StockMarket(9, 400, MORNING_NS)
    edge_ns = MORNING_NS + 40 * NS_PER_SECOND
    market.take(8000, edge_ns - 1)
    after = market.take(2000, edge_ns + 20 * NS_PER_SECOND)
    half = market.take(0, edge_ns + 31 * NS_PER_SECOND)
    late = {
        message.symbol for message in of(Trade, after) if timestamp_ns(message.timestamp) < edge_ns
    }
    updated = {message.symbol for message in half}  # type: ignore[union-attr]

    assert late == updated != set()
    assert all(type(message) is UpdatedBar for message in half)
    assert market.take(0, edge_ns + 59 * NS_PER_SECOND) == []


def test_no_trade_during_a_halt() -> None:
    """Quotes go on; the halt ends after its time."""
    market = StockMarket(4, 20, MORNING_NS, incident_every=50, halt_seconds=5.0)
    halted: set[str] = set()
    halts = quoted = 0
    for message in run(market, MORNING_NS, 600, 100, 0.2):
        if isinstance(message, Status):
            if message.status_code in HALTING:
                assert message.symbol not in halted
                halted.add(message.symbol)
                halts += 1
            elif message.status_code in RESUMING:
                halted.remove(message.symbol)
        elif isinstance(message, Trade):
            assert message.symbol not in halted
        elif isinstance(message, Imbalance):
            assert message.symbol in halted
        elif isinstance(message, Quote):
            quoted += message.symbol in halted
    assert halts >= 5
    assert quoted > 0


def test_cancels_and_corrections_name_a_trade_that_was_sent() -> None:
    """With its own ids and values, and each trade at most once."""
    market = StockMarket(4, 20, MORNING_NS, incident_every=50)
    known: dict[tuple[str, str, int], Trade] = {}
    touched: set[tuple[str, str, int]] = set()
    for message in run(market, MORNING_NS, 100, 300, 0.2):
        if isinstance(message, Trade):
            known[message.symbol, message.exchange, message.id] = message
            continue
        if isinstance(message, CancelError):
            key = (message.symbol, message.exchange, message.id)
            named: object = (message.price, message.size, message.tape)
            trade = known[key]
            assert named == (trade.price, trade.size, trade.tape)
        elif isinstance(message, Correction):
            key = (message.symbol, message.exchange, message.original_id)
            trade = known[key]
            assert message.original_price == trade.price
            assert message.original_size == trade.size
            assert message.original_conditions == trade.conditions
            assert (message.corrected_price, message.corrected_size) != (trade.price, trade.size)
            assert message.corrected_price > 0 < message.corrected_size
        else:
            continue
        assert key not in touched
        touched.add(key)
    assert len(touched) > 20


def test_bands_hold_the_price_between_them(morning: list[Message]) -> None:
    """Down below up, both around the last quote."""
    last: dict[str, Quote] = {}
    for message in morning:
        if isinstance(message, Quote):
            last[message.symbol] = message
        elif isinstance(message, Luld) and message.symbol in last:
            quote = last[message.symbol]
            assert message.limit_down < quote.bid_price < quote.ask_price < message.limit_up


def test_time_alone_brings_the_bars() -> None:
    """A count of 0 lets time pass; without trades nothing comes."""
    market = StockMarket(1, ["AAPL", "F"], MORNING_NS)
    market.take(500, MORNING_NS + NS_PER_SECOND)

    passed = market.take(0, MORNING_NS + 41 * NS_PER_SECOND)
    assert {type(message) for message in passed} == {Bar, DailyBar}
    later = market.take(0, MORNING_NS + 3600 * NS_PER_SECOND)
    assert {type(message) for message in later} <= {Trade, UpdatedBar, Status, Quote}
    assert market.take(0, MORNING_NS + 9 * 86_400 * NS_PER_SECOND) == []


def test_time_stands_still_for_an_earlier_now() -> None:
    """Ticks are then stamped with the latest instant."""
    market = StockMarket(1, 3, MORNING_NS)
    market.take(10, MORNING_NS + NS_PER_SECOND)

    again = market.take(10, MORNING_NS)

    assert {timestamp_ns(m.timestamp) for m in again} == {  # type: ignore[union-attr]
        MORNING_NS + NS_PER_SECOND
    }


def test_at_night_there_are_daily_bars_only_if_always_open() -> None:
    """Trades marked ``T`` set no daily prices."""
    for always_open in (False, True):
        market = StockMarket(1, 5, NIGHT_NS, always_open=always_open)
        messages = run(market, NIGHT_NS, 60, 50, 1.0)

        assert bool(of(DailyBar, messages)) == always_open
        assert of(Bar, messages)


def test_activity_is_uneven(morning: list[Message]) -> None:
    """The first symbol is far more active than the twentieth."""
    ticks = Counter(message.symbol for message in of(Quote, morning))

    assert ticks["AAPL"] > 5 * ticks["DIS"] > 0


def test_a_market_needs_symbols() -> None:
    """None make no market."""
    with pytest.raises(ValueError, match="at least one symbol"):
        StockMarket(1, [], MORNING_NS)


def test_snapshots_are_empty() -> None:
    """Stock streams have none."""
    assert StockMarket(1, 3, MORNING_NS).snapshot("quotes", "AAPL") == []


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 60),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 90_000)), max_size=12),
)
def test_any_sequence_of_calls_keeps_the_promises(
    seed: int, symbols: int, calls: list[tuple[int, int]]
) -> None:
    """Whatever the counts and steps (milliseconds): no crossed quote, nothing from the future."""
    market = StockMarket(seed, symbols, MORNING_NS, incident_every=20, halt_seconds=2.0)
    now_ns = MORNING_NS
    for count, step in calls:
        now_ns += step * 1_000_000
        messages = market.take(count, now_ns)
        assert len(of(Quote, messages)) + len(of(Trade, messages)) >= count
        for message in messages:
            assert timestamp_ns(message.timestamp) <= now_ns  # type: ignore[union-attr]
            if isinstance(message, Quote):
                assert 0 < message.bid_price < message.ask_price
