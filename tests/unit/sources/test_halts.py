"""Halts, from statuses and price bands."""

from __future__ import annotations

import pytest

from stream_proxy.sources.halts import Halts

SECOND = 1_000_000_000


def status(code: str, symbol: str = "X") -> dict[str, str]:
    return {"T": "s", "S": symbol, "sc": code, "sm": "code", "rm": "because"}


def bands(indicator: str) -> dict[str, str]:
    return {"T": "l", "S": "X", "i": indicator}


@pytest.mark.parametrize(
    ("halting", "resuming"),
    [
        (status("2"), status("3")),  # tapes A and B
        (status("H"), status("T")),  # tapes C and O
        (status("P"), status("T")),
        (bands("D"), bands("E")),
    ],
)
def test_a_halt_begins_and_ends(halting: dict[str, str], resuming: dict[str, str]) -> None:
    """By status on each tape, and by price bands."""
    halts = Halts()
    halts.tell(halting, 7)
    assert halts.symbols["X"].since_ns == 7
    halts.tell(resuming, 8)
    assert not halts.symbols


@pytest.mark.parametrize("message", [status(c) for c in "56789ACDEFQ"] + [bands("B"), bands("A")])
def test_other_messages_neither_halt_nor_resume(message: dict[str, str]) -> None:
    """Indications, imbalances, the short-sale restriction, and quotes before trading."""
    halts = Halts()
    halts.tell(message, 7)
    assert not halts.symbols
    halts.tell(status("H"), 8)
    halts.tell(message, 9)
    assert halts.symbols["X"].since_ns == 8


def test_trades_end_a_halt_whose_end_was_not_told() -> None:
    """Late prints of trades before the halt don't."""
    halts = Halts()
    halts.tell(status("H"), 0)
    halts.heard("trades", "X", 2 * SECOND)
    halts.heard("quotes", "X", 60 * SECOND)
    assert "X" in halts.symbols
    halts.heard("trades", "X", 6 * SECOND)
    assert not halts.symbols


def test_after_an_interruption_anything_ends_it() -> None:
    """The resumption may have been said while nobody listened."""
    halts = Halts()
    halts.tell(status("H"), 0)
    halts.interrupted()
    halts.heard("quotes", "X", 1)
    assert not halts.symbols


def test_a_message_without_a_symbol_is_nobodys() -> None:
    """Damage upstream must not end the look."""
    halts = Halts()
    halts.tell({"T": "s", "sc": "H"}, 0)
    assert not halts.symbols
