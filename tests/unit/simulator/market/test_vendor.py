"""Recorded names in Alpaca's terms."""

from __future__ import annotations

import pytest

from stream_proxy.simulator.market.vendor import (
    is_option,
    option_venue,
    pair_readings,
    stock_venue,
    trade_conditions,
)


@pytest.mark.parametrize(
    ("flags", "tape", "letters"),
    [
        ("1", "A", [" "]),
        ("", "C", ["@"]),
        ("20000020", "B", [" ", "F"]),
        ("2000", "A", [" ", "T"]),
        ("20002020", "C", ["@", "F", "T"]),
        ("20000040", "A", [" ", "O"]),
        ("20000080", "A", [" ", "6"]),
        ("20000200", "C", ["@", "4"]),
        ("800", "A", [" ", "L"]),
        ("4800", "A", [" ", "Z"]),
        ("6004", "A", [" ", "N", "U"]),
        ("100000", "A", [" ", "B"]),
        ("100000", "C", ["@", "W"]),
        ("1000000", "A", [" ", "M"]),
        ("4000000", "C", ["@", "Q"]),
        ("2000000", "A", [" ", "P"]),
    ],
)
def test_flags_become_letters(flags: str, tape: str, letters: list[str]) -> None:
    """In the tape's alphabet."""
    assert trade_conditions(flags, tape) == letters


@pytest.mark.parametrize(
    ("symbol", "readings"),
    [
        ("BTCUSDT", ("BTC/USDT",)),
        ("BLZETH", ("BLZ/ETH",)),
        ("SKL-USD", ("SKL/USD",)),
        ("ETH/BTC", ("ETH/BTC",)),
        ("ETHBUSD", ("ETH/BUSD", "ETHB/USD")),
        ("AAPL", ()),
        ("BRK-B", ()),
        ("BRK.B", ()),
        ("GOOGLE", ()),
    ],
)
def test_pairs_are_read_if_unambiguous(symbol: str, readings: tuple[str, ...]) -> None:
    """One reading is a pair, none is a stock, two are nothing."""
    assert pair_readings(symbol) == readings


def test_options_are_known_by_their_names() -> None:
    """OCC without padding."""
    assert is_option("AAPL250221C00250000")
    assert not is_option("AAPL")
    assert not is_option("AAPL250221X00250000")


def test_venues_become_letters() -> None:
    """Stocks and options have different alphabets; unknown ones are blank."""
    assert [stock_venue(name) for name in ("N", "XNAS", "EQUS", "", None)] == [
        "N",
        "Q",
        " ",
        " ",
        " ",
    ]
    assert [option_venue(name) for name in ("C2OX", "EMLD", "XISX")] == ["W", "D", "I"]
