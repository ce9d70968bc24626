"""Write ``docs/faults.md`` from the figures that the bench found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from faults.kinds import ROWS, Row

_HEAD = """# Faults

<!-- Generated from figures/faults.json by `make fault-bench`; don't edit. -->

What Alpaca, the network, the disk and the host can do to the proxy, how often each was tried, how
long it took until all was well again, and what was lost without a word, heard twice, or heard out
of order. Time is simulated, the code is the product's own; how that works is told in
[decision 9](decisions/0009-fault-bench.md).

"""

_UNMENDED = """ The figures below have what they lost or heard twice; a row counts all that happened
in the worlds in which its fault struck, among others."""

_COLUMNS = (
    "| | fault | worlds | fired | to recover, p50 | p99 | lost unflagged | twice | reordered |\n"
    "|---|---|---:|---:|---:|---:|---:|---:|---:|\n"
)

_LEGEND = """
*Worlds*: seeds in which the fault took effect. *To recover*: from the fault, or from its end if it
lasts, until the upstream connection is up, everything is subscribed, no gap is open, and data
flows; where another fault struck meanwhile, that one's time is in it. Tens of seconds are Alpaca's
slot, which the proxy waits for. *Lost unflagged*: a message that a consumer was owed, did not get,
and that no recorded gap covers; for order updates, any that is missing. Counted over all worlds in
which the fault occurs.
"""


def page(figures: dict[str, Any]) -> str:
    """The whole page."""
    hours, seeds = figures["simulated_hours"], figures["seeds"]
    rows = figures["rows"]
    tried = [number for number, row in rows.items() if row["market"] or row["orders"]]
    text = _HEAD
    text += (
        f"{len(tried)} of {len(ROWS)} kinds, {sum(hours.values()):,.0f} simulated hours in "
        f"{sum(seeds.values()):,} worlds ({figures['elapsed_seconds'] / 60:.0f} minutes of real "
        f"time), beginning with seed {figures['first_seed']}. "
        f"Worlds that failed: {figures['failures']}."
        + (_UNMENDED if figures["failures"] else "")
        + "\n\n"
    )
    text += (
        f"The most upstream connections that were open at an instant: "
        f"{figures['most_connections_at_once']}, over {figures['connects']:,} connects. "
        f"{figures['messages_heard']['market']:,} market-data messages were heard; "
        f"{figures['missing_and_said_so']:,} were missing and lay in a recorded gap.\n\n"
    )
    text += "## Market data\n\n" + _COLUMNS
    text += "".join(_line(row, rows[row.number]["market"]) for row in ROWS.values() if row.market)
    text += "\n## Order updates\n\n" + _COLUMNS
    text += "".join(_line(row, rows[row.number]["orders"]) for row in ROWS.values() if row.orders)
    text += (
        _LEGEND + "\n## How each is made\n\n| | made by | with real sockets, files, processes |\n"
    )
    text += "|---|---|---|\n" + "".join(_how(row) for row in ROWS.values())
    return text


def _line(row: Row, found: dict[str, Any] | None) -> str:
    if found is None:
        return f"| {row.number} | {row.title} | 0 | 0 | | | | | |\n"
    return (
        f"| {row.number} | {row.title} | {found['seeds']:,} | {found['fired']:,} "
        f"| {_seconds(found['recovery_p50_seconds'])} | {_seconds(found['recovery_p99_seconds'])} "
        f"| {found['lost_unflagged']} | {found['duplicated']} | {found['reordered']} |\n"
    )


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f} s"


def _how(row: Row) -> str:
    made = [found.name for found in row.market]
    made += [f"orders: {', '.join(row.orders)}"] if row.orders else []
    notes = [note for note in (row.note, row.missing) if note]
    real = ", ".join(f"`{path}`" for path in row.real)
    return f"| {row.number} | {'; '.join(made)}{''.join(f' — {n}' for n in notes)} | {real} |\n"


def write_page(figures: dict[str, Any], docs: Path) -> None:
    """Keep the figures, and the page made of them."""
    text = json.dumps(figures, indent=1) + "\n"
    (docs / "figures").mkdir(parents=True, exist_ok=True)
    (docs / "figures" / "faults.json").write_text(text)
    (docs / "faults.md").write_text(page(figures))
