"""Bars follow the rules of their trades' conditions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_proxy.model.conditions import OpenClose, bar_effects, known_conditions
from stream_proxy.model.messages import Bar, DailyBar
from stream_proxy.model.time import timestamp_ns
from stream_proxy.simulator.market.bars import BarBuilder

# Written apart from the table under test: code -> (minute rule, daily rule) on tape C.
TAPE_C = {
    "@": ("GGG", "GGG"),
    "F": ("GGG", "GGG"),
    "I": ("RRG", "RRG"),
    "T": ("GGG", "RRG"),
    "Z": ("RRG", "YGG"),
    "4": ("RRG", "YGG"),
    "P": ("RRG", "YGG"),
    "G": ("RRG", "YGG"),
    "W": ("RRG", "RRG"),
    "M": ("RRR", "RRR"),
    "Q": ("RRR", "RRR"),
    "9": ("RRR", "GGR"),
    "B": ("GGG", "GGG"),
    "X": ("GGG", "GGG"),
    "6": ("GGG", "GGG"),
    "U": ("RRG", "RRG"),
}

trades = st.lists(
    st.tuples(
        st.integers(1, 50_000).map(lambda cents: cents / 100),
        st.integers(1, 5000),
        st.lists(st.sampled_from(sorted(TAPE_C)), min_size=1, max_size=4, unique=True),
    ),
    max_size=40,
)


def rebuilt(made: list[tuple[float, int, list[str]]], daily: bool) -> dict[str, float]:
    """The plain reading of the rules, trade list in, bar out."""
    ruled = [
        (
            price,
            size,
            [max((TAPE_C[c][daily][i] for c in codes), key="GYR".index) for i in range(3)],
        )
        for price, size, codes in made
    ]
    opens = [price for price, _, (oc, _, _) in ruled if oc in "GY"]
    closes = [price for price, _, (oc, _, _) in ruled if oc == "G"]
    highs = [price for price, _, (_, hl, _) in ruled if hl == "G"]
    sizes = [size for _, size, (_, _, volume) in ruled if volume == "G"]
    weighed = [(p, s) for p, s, (_, hl, volume) in ruled if hl == "G" and volume == "G"]
    return {
        "open": opens[0] if opens else 0,
        "close": closes[-1] if closes else opens[0] if opens else 0,
        "high": max(highs, default=0),
        "low": min(highs, default=0),
        "volume": sum(sizes),
        "trade_count": len(sizes),
        "vwap": sum(p * s for p, s in weighed) / sum(s for _, s in weighed) if weighed else 0,
    }


@given(trades, st.booleans())
def test_a_bar_is_what_the_rules_make_of_its_trades(
    made: list[tuple[float, int, list[str]]], daily: bool
) -> None:
    """Any mix of conditions, minute and daily."""
    builder = BarBuilder()
    for price, size, codes in made:
        effects = bar_effects(codes, "C")
        builder.add(price, size, effects.daily if daily else effects.minute)

    bar = builder.message(DailyBar if daily else Bar, "AAPL", 60_000_000_000)
    expected = rebuilt(made, daily)

    assert {field: getattr(bar, field) for field in expected} == pytest.approx(expected, abs=1e-6)
    assert isinstance(bar.volume, int)
    assert builder.is_complete == all(
        expected[field] for field in ("open", "high", "low", "close", "volume")
    )


def test_odd_lots_alone_make_no_bar() -> None:
    """They have volume, but no prices."""
    builder = BarBuilder()
    builder.add(10.0, 5, bar_effects(["@", "I"], "C").minute)

    assert builder.volume == 5
    assert not builder.is_complete


def test_the_vwap_leaves_out_trades_that_only_count_for_volume() -> None:
    """So its volume is smaller than the bar's."""
    builder = BarBuilder()
    builder.add(10.0, 100, bar_effects(["@"], "C").minute)
    builder.add(99.0, 900, bar_effects(["@", "W"], "C").minute)

    assert (builder.volume, builder.vwap) == (1000, 10.0)


@pytest.mark.parametrize(
    ("conditions", "tape", "minute", "daily"),
    [
        ([" "], "A", (OpenClose.ALWAYS, True, True), (OpenClose.ALWAYS, True, True)),
        (["@", "T"], "C", (OpenClose.ALWAYS, True, True), (OpenClose.NEVER, False, True)),
        (["@", "F", "T", "I"], "C", (OpenClose.NEVER, False, True), (OpenClose.NEVER, False, True)),
        (["@", "Z"], "C", (OpenClose.NEVER, False, True), (OpenClose.FIRST, True, True)),
        ([" ", "B"], "A", (OpenClose.NEVER, False, True), (OpenClose.NEVER, False, True)),
        (["@", "B"], "C", (OpenClose.ALWAYS, True, True), (OpenClose.ALWAYS, True, True)),
        (["@", "M"], "C", (OpenClose.NEVER, False, False), (OpenClose.NEVER, False, False)),
        ([" ", "9"], "B", (OpenClose.NEVER, False, False), (OpenClose.ALWAYS, True, False)),
        (["?"], "C", (OpenClose.ALWAYS, True, True), (OpenClose.ALWAYS, True, True)),
        ([], "O", (OpenClose.ALWAYS, True, True), (OpenClose.ALWAYS, True, True)),
    ],
)
def test_the_strictest_condition_wins(
    conditions: list[str], tape: str, minute: tuple[object, ...], daily: tuple[object, ...]
) -> None:
    """Field by field, by tape, minute and daily apart."""
    effects = bar_effects(conditions, tape)

    assert (effects.minute.open_close, effects.minute.high_low, effects.minute.volume) == minute
    assert (effects.daily.open_close, effects.daily.high_low, effects.daily.volume) == daily


def test_each_tape_knows_its_conditions() -> None:
    """The documented table has 24 rows for A and B, 27 for C, fewer for OTC."""
    assert set("WAGDY@") <= set(known_conditions("C"))
    assert not set("WAGDY@") & set(known_conditions("A"))
    assert known_conditions("A") == known_conditions("B")
    assert set(known_conditions("O")) == set("@CINPRTUW")


def test_a_bar_is_stamped_with_its_left_edge() -> None:
    """Whatever its last trade's time."""
    builder = BarBuilder()
    builder.add(1.5, 100, bar_effects(["@"], "C").minute)

    bar = builder.message(Bar, "F", 120_000_000_000)

    assert timestamp_ns(bar.timestamp) == 120_000_000_000
    assert (bar.open, bar.high, bar.low, bar.close) == (1.5, 1.5, 1.5, 1.5)
