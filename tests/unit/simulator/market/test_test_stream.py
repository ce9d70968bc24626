"""The test stream has one stock, around the clock, on tape A."""

from __future__ import annotations

from collections import Counter

import msgspec

from stream_proxy.model.messages import Bar, DailyBar, Quote, Trade
from stream_proxy.model.time import NS_PER_SECOND, parse_rfc3339
from stream_proxy.simulator.market.test_stream import FAKEPACA, FakepacaMarket

SUNDAY_NIGHT_NS = parse_rfc3339("2026-11-22T03:00:00Z")


def test_it_speaks_as_documented() -> None:
    """Venues O and R, tape A, and bars from its own trades."""
    market = FakepacaMarket(1, SUNDAY_NIGHT_NS)
    messages = [
        m for i in range(130) for m in market.take(2, SUNDAY_NIGHT_NS + (i + 1) * NS_PER_SECOND)
    ]
    kinds = Counter(type(message) for message in messages)
    first_minute: list[Trade] = []
    bar: Bar | None = None
    for message in messages:
        if isinstance(message, Quote):
            assert message.symbol == FAKEPACA
            assert {message.bid_exchange, message.ask_exchange} <= set("OR")
            assert message.tape == "A"
            assert message.bid_price < message.ask_price
        elif isinstance(message, Trade):
            assert message.exchange in "OR"
            first_minute.append(message)
        elif type(message) is Bar and bar is None:
            bar = message

    assert kinds[Quote] + kinds[Trade] == 260
    assert kinds[Bar] == kinds[DailyBar] == 2
    assert bar is not None
    minute = first_minute[: bar.trade_count]
    assert bar.open == minute[0].price
    assert bar.close == minute[-1].price
    assert bar.high == max(trade.price for trade in minute)
    assert bar.low == min(trade.price for trade in minute)
    assert bar.volume == sum(trade.size for trade in minute)


def test_the_same_calls_give_the_same_messages() -> None:
    """By seed."""
    first, again, other = (
        msgspec.msgpack.encode(
            FakepacaMarket(seed, SUNDAY_NIGHT_NS).take(500, SUNDAY_NIGHT_NS + NS_PER_SECOND)
        )
        for seed in (1, 1, 2)
    )

    assert first == again != other


def test_no_snapshot_and_time_stands_still() -> None:
    """As in every stock market."""
    market = FakepacaMarket(1, SUNDAY_NIGHT_NS)

    assert market.symbols == (FAKEPACA,)
    assert market.snapshot("quotes", FAKEPACA) == []
    assert len(market.take(3, SUNDAY_NIGHT_NS)) == 3
