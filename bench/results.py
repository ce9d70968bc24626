"""A table for people and a JSON file for whatever makes the README."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bench.machine import ROOT, describe

_FOLDER = ROOT / "bench" / "results"


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most of all rounds."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "rounds": len(values),
    }


def short(value: float) -> str:
    """A rate for people."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def plain(value: float) -> str:
    """Any other number for people."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def ranged(values: Mapping[str, float]) -> str:
    return f"{short(values['median'])} ({short(values['min'])} - {short(values['max'])})"


def table(rows: Sequence[Sequence[str]], heading: Sequence[str]) -> None:
    """Print columns, the first to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in (heading, *rows)) for i in range(len(heading))]
    for row in (heading, ["-" * width for width in widths], *rows):
        cells = [
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip(), flush=True)


def verdict(what: str, value: float, bound: float, *, at_most: bool = False) -> dict[str, Any]:
    """Hold a figure against what was asked of it, and say so."""
    met = value <= bound if at_most else value >= bound
    sign = "at most" if at_most else "at least"
    print(
        f"{'met   ' if met else 'MISSED'}  {what}: {plain(value)} ({sign} {plain(bound)})",
        flush=True,
    )
    return {"what": what, "value": value, "bound": bound, "at_most": at_most, "met": met}


def save(name: str, rows: Sequence[Mapping[str, Any]], verdicts: Sequence[Any] = ()) -> None:
    """Print the machine, and write everything to ``bench/results/NAME.json``."""
    machine = describe()
    packages = ", ".join(f"{k} {v}" for k, v in machine["packages"].items())
    print(f"\n{machine['processor']}, {machine['cores']} cores; {machine['pinning']}")
    print(f"Python {machine['python']}, {packages}; commit {machine['commit']}, {machine['when']}")
    _FOLDER.mkdir(exist_ok=True)
    path = _FOLDER / f"{name}.json"
    result = {"machine": machine, "rows": list(rows), "verdicts": list(verdicts)}
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written to {path.relative_to(ROOT)}")
