"""What the record has of an order's fills, and that it is enough never to tell one twice."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from stream_proxy.model.fills import Fill
from stream_proxy.model.orders import OrderEvent, Origin
from stream_proxy.model.time import rfc3339
from stream_proxy.sources.trading.reconstruct import missing_events
from stream_proxy.state.journal import Journal
from stream_proxy.wire.alpaca.trade_updates import read_event

START = 1_772_000_000_000_000_000
SECOND = 1_000_000_000
PARTS = ((1, 1, "10"), (3, 2, "16"), (7, 4, "20"))
"""Cumulative quantity, quantity and price of an order's fills, a second apart."""


def opened(folder: Path) -> Journal:
    journal = Journal(folder / "orders.sqlite3", new_epoch=lambda: "epoch-1")
    journal.commit(lambda j: j.open_account("paper", START))
    return journal


def append(journal: Journal, *events: OrderEvent) -> list[str]:
    records = journal.commit(lambda j: j.append("paper", events, START))
    journal.note_high_water(records)
    return [record.event.kind for record in records]


def heard(order: str, event: str, filled: object, **fields: Any) -> OrderEvent:
    """An event of the stream."""
    said = {"event": event, "timestamp": rfc3339(START), "execution_id": f"{order}{filled}"}
    told = {**said, **fields, "order": {"id": order, "filled_qty": filled}}
    return read_event(json.dumps(told).encode(), Origin.STREAM)


def test_the_fills_of_each_order(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    append(
        journal,
        heard("a", "new", "0"),
        heard("a", "partial_fill", "10", qty="10", price="2.5"),
        heard("a", "partial_fill", "12", qty=2, price=3),
        heard("a2", "fill", "5", qty="5", price="1"),
        heard("b", "fill", "4", qty="several"),
        heard("b", "canceled", "4"),
    )
    ten = Fill(Decimal(0), Decimal(10), Decimal("2.5"), START)
    twelve = Fill(Decimal(10), Decimal(12), Decimal(3), START)
    told = journal.fills_told("paper", ["a", "b", "c"])
    assert {order: sorted(fills) for order, fills in told.items()} == {
        "a": [ten, twelve],
        "b": [],
        "c": [],
    }
    assert journal.fills_told("live", ["a"]) == {"a": []}
    journal.close()


def test_what_was_told_as_one_is_known_after_a_restart(tmp_path: Path) -> None:
    """Its parts come to light when it has ended long ago."""
    order = {
        "id": "a",
        "status": "filled",
        "qty": "7",
        "filled_qty": "7",
        "filled_avg_price": "17.428571429",
        "submitted_at": rfc3339(START),
        "filled_at": rfc3339(START + 3 * SECOND),
    }
    shown = [
        {
            "order_id": "a",
            "qty": str(quantity),
            "cum_qty": str(filled),
            "price": price,
            "transaction_time": rfc3339(START + number * SECOND),
        }
        for number, (filled, quantity, price) in enumerate(PARTS, 1)
    ]
    journal = opened(tmp_path)
    append(journal, heard("a", "partial_fill", "1", qty="1", price="10"))
    told = journal.fills_told("paper", ["a"])
    made, _ = missing_events([order], [], START, told=told, overdue_ns=START + 9 * SECOND)
    assert append(journal, *made) == ["a:new", "a:fill:7"]
    journal.close()
    journal = opened(tmp_path)
    told = journal.fills_told("paper", ["a"])
    assert [fill.quantity for fill in sorted(told["a"])] == [1, 6]
    made, left_out = missing_events([order], shown, START, told=told)
    assert append(journal, *made) == [] and not left_out
    journal.close()
