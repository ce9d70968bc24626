"""Recorded ticks in the present: the same ticks with other times, and the bars that follow."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from stream_proxy.model.messages import Bar, DailyBar, Message, Quote, Trade
from stream_proxy.model.time import NS_PER_SECOND, parse_rfc3339, timestamp_ns, to_timestamp
from stream_proxy.simulator.market.present import PresentMarket
from stream_proxy.simulator.market.replay import FAR_FUTURE_NS, ReplayMarket

NOW_NS = parse_rfc3339("2026-06-01T14:00:50Z")
HEADER = "ts_ns,symbol,kind,price,size,bid,bid_size,ask,ask_size,exchange,ask_exchange,conditions"


def recording(folder: Path) -> Path:
    """180 trades of 100 shares, each with a quote."""
    rows = [HEADER]
    for number in range(180):
        rows.append(f"{number * 7},AIG,t,{10 + number / 100},100,,,,,N,,1")
        rows.append(f"{number * 7},AIG,q,,,49.07,1500,49.08,400,N,Z,1")
    path = folder / "ticks.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def lived(market: PresentMarket, seconds: int) -> list[Message]:
    """A trade and a quote a second, while there are some."""
    out: list[Message] = []
    for second in range(1, seconds + 1):
        out += market.take(2, NOW_NS + second * NS_PER_SECOND)
    return out


def test_the_ticks_are_those_recorded(tmp_path: Path) -> None:
    path = recording(tmp_path)
    recorded = ReplayMarket(path).take(1000, FAR_FUTURE_NS)
    market = PresentMarket(ReplayMarket(path), NOW_NS)
    assert market.take(0, NOW_NS) == []  # nobody listens yet
    ticks = [m for m in lived(market, 400) if isinstance(m, Trade | Quote)]
    stamp = to_timestamp(0)
    assert [replace(tick, timestamp=stamp) for tick in ticks] == [
        replace(tick, timestamp=stamp) for tick in recorded
    ]
    assert [timestamp_ns(tick.timestamp) - NOW_NS for tick in ticks] == [
        NS_PER_SECOND * n // 2 for n in range(1, 361)
    ]


def test_a_recording_can_begin_again(tmp_path: Path) -> None:
    """The same ticks, and trades with ids of their own: else they would be taken for the same."""
    market = PresentMarket(ReplayMarket(recording(tmp_path), again=True), NOW_NS)
    ticks = [m for m in lived(market, 400) if isinstance(m, Trade | Quote)]
    assert len(ticks) == 800
    assert [tick.__class__ for tick in ticks[:440]] == [tick.__class__ for tick in ticks[360:]]
    trades = [tick for tick in ticks if isinstance(tick, Trade)]
    assert [trade.price for trade in trades[180:360]] == [trade.price for trade in trades[:180]]
    assert [trade.id for trade in trades] == list(range(1, 401))


def test_a_recording_with_nothing_to_tell_ends(tmp_path: Path) -> None:
    path = tmp_path / "ticks.csv"
    path.write_text(f"{HEADER}\n1,AIG,?,10,100,,,,,N,,1\n")
    market = ReplayMarket(path, again=True)
    assert market.take(10, FAR_FUTURE_NS) == []
    assert market.skipped.total() == 1


def test_bars_are_those_of_the_trades(tmp_path: Path) -> None:
    messages = lived(PresentMarket(ReplayMarket(recording(tmp_path)), NOW_NS), 300)
    bars = [m for m in messages if m.__class__ is Bar]
    trades = [m for m in messages if isinstance(m, Trade)]
    # It begins ten seconds before a full minute.
    assert [bar.volume for bar in bars] == [1000, 6000, 6000, 5000]
    for bar in bars:
        assert isinstance(bar, Bar)
        begin_ns = timestamp_ns(bar.timestamp)
        of_it = [
            trade.price
            for trade in trades
            if begin_ns <= timestamp_ns(trade.timestamp) < begin_ns + 60 * NS_PER_SECOND
        ]
        prices = (bar.open, bar.high, bar.low, bar.close)
        assert prices == (of_it[0], max(of_it), min(of_it), of_it[-1])
        later = messages[messages.index(bar) + 1 :]
        assert all(
            timestamp_ns(m.timestamp) >= begin_ns + 60 * NS_PER_SECOND
            for m in later
            if isinstance(m, Trade)
        )
    assert any(isinstance(m, DailyBar) for m in messages)
