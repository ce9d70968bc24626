"""The page of faults is what the figures say, and the catalogue is whole."""

from __future__ import annotations

import json
from pathlib import Path

from faults.kinds import ROWS
from faults.page import page
from faults.strike import FAULTS

_DOCS = Path(__file__).resolve().parents[2] / "docs"
_ASKED = 34


def test_the_page_is_made_of_the_figures() -> None:
    figures = json.loads((_DOCS / "figures" / "faults.json").read_text())
    assert (_DOCS / "faults.md").read_text() == page(figures), "run: make fault-bench"
    rows = figures["rows"].values()
    tried = [row for row in rows if row["market"] or row["orders"]]
    assert len(tried) >= _ASKED
    assert all(figures["fired"].values()), "a fault that never struck"
    for row in rows:
        for found in filter(None, (row["market"], row["orders"])):
            assert found["lost_unflagged"] == found["duplicated"] == found["reordered"] == 0
    assert figures["most_connections_at_once"] == 1
    assert figures["failures"] == 0


def test_every_row_is_made_or_says_why_not() -> None:
    assert list(ROWS) == [f"U{number}" for number in range(1, 37)]
    for row in ROWS.values():
        assert row.market or row.orders or row.missing


def test_every_fault_has_a_row() -> None:
    assert {kind.row for kind in FAULTS.values()} <= set(ROWS)


def test_the_tests_that_are_named_are_there() -> None:
    for row in ROWS.values():
        for path in row.real:
            assert (_DOCS.parent / path).is_file(), path
