"""The kinds of trades that occur cover all conditions that bars must know."""

from __future__ import annotations

import pytest

from stream_proxy.model.conditions import known_conditions
from stream_proxy.simulator.market.prints import TABLE_SIZE, TURNS, print_tables


@pytest.mark.parametrize("tape", ["A", "B", "C"])
def test_all_conditions_occur_somewhere(tape: str) -> None:
    """Over the turns and both sessions; regular hours have neither ``T`` nor ``U``."""
    shown: dict[bool, set[str]] = {}
    for regular in (True, False):
        tables = [print_tables(tape, regular, turn) for turn in range(TURNS)]
        kinds = [kind for table in tables for kind in (*table.round_lots, *table.odd_lots)]
        shown[regular] = {code for kind in kinds for code in kind.conditions}
        assert (
            {len(t.round_lots) for t in tables} == {len(t.odd_lots) for t in tables} == {TABLE_SIZE}
        )

    assert shown[True] == set(known_conditions(tape)) - {"T", "U"}
    assert shown[False] == set(known_conditions(tape))


def test_most_trades_are_plain_or_sweeps() -> None:
    """Rare kinds stay rare; odd lots are marked."""
    tables = print_tables("C", True, 0)

    assert sum(kind.conditions == ["@"] for kind in tables.round_lots) > TABLE_SIZE / 2
    assert sum(kind.conditions == ["@", "F", "I"] for kind in tables.odd_lots) > TABLE_SIZE / 5
    assert all(kind.conditions[-1] == "I" for kind in tables.odd_lots)
    assert all(kind.at_market for kind in tables.odd_lots if len(kind.conditions) == 2)
