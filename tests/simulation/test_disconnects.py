"""Ten thousand disconnects at random instants, on both sides: nothing lost, twice or reordered.

A world that fails names its seed. ``SIMULATION_SEED=1234`` runs that world alone, in every weather;
``SIMULATION_WORLDS=2000`` runs so many in each weather instead of the usual number.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import structlog

from simulation.moments import CONSUMER, UPSTREAM
from simulation.verdict import complaints
from simulation.weather import Weather
from simulation.world import Outcome, run_world

RECORD = Weather(has_events=True, rare_events=True, exits=True)
TRACES = Weather(has_events=False, exits=True)
ROUGH = Weather(lag_seconds=3.0, outage_seconds=20.0, swallows=True)
ROUGH_TRACES = replace(ROUGH, has_events=False, fills_lag_seconds=2.0, exits=True)
WEATHERS = {
    "event record": (RECORD, 22),
    "orders and fills": (TRACES, 22),
    "event record, clocks differ": (replace(RECORD, ahead_seconds=0.15), 5),
    "orders and fills, clocks differ": (replace(TRACES, ahead_seconds=0.15), 5),
    "event record, our clock a minute ahead": (replace(RECORD, ahead_seconds=-70.0), 2),
    "event record, our clock far behind": (replace(RECORD, ahead_seconds=300.0), 2),
    "event record, our clock jumps": (replace(RECORD, jump_seconds=3600.0), 2),
    "orders and fills, our clock a minute behind": (replace(TRACES, ahead_seconds=70.0), 2),
    "orders and fills, our clock far ahead": (replace(TRACES, ahead_seconds=-300.0), 2),
    "orders and fills, our clock jumps": (replace(TRACES, jump_seconds=3600.0), 2),
    "event record, REST late and failing": (ROUGH, 5),
    "orders and fills, REST late and failing": (ROUGH_TRACES, 5),
}
"""Each weather, and in how many worlds it is tried."""
A_WORLD = 140
"""Disconnects in a world, at least, on average; usually 165."""
ASKED = 10_000
MOST_OUT_OF_ORDER = 0.1
"""The share of worlds, in weathers with order, in which the hold may end too early all the same."""
_SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where journals lie: in memory if that is possible, since each commit is synchronised."""
    if not os.access(_SHARED_MEMORY, os.W_OK):
        yield tmp_path
        return
    made = Path(tempfile.mkdtemp(dir=_SHARED_MEMORY))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def trouble() -> Iterator[list[dict[str, Any]]]:
    """Log lines about errors of ours; all others, some hundred a world, go nowhere."""
    lines: list[dict[str, Any]] = []

    def keep(logger: object, method: str, line: Any) -> Any:
        if "exc_info" in line or method == "exception":
            lines.append(dict(line))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[keep])
    yield lines
    structlog.configure(**before)


def seeds(worlds: int) -> list[int]:
    """Which worlds to run."""
    alone = os.environ.get("SIMULATION_SEED")
    if alone:
        return [int(alone)]
    return list(range(int(os.environ.get("SIMULATION_WORLDS", worlds))))


def judged(outcome: Outcome) -> None:
    found = complaints(outcome)
    assert not found, "\n".join(
        [
            f"world {outcome.seed}: {len(found)} complaints. Again, alone: SIMULATION_SEED="
            f"{outcome.seed} pytest tests/simulation",
            *found[:20],
        ]
    )


@pytest.mark.slow
@pytest.mark.timeout(3600 if os.environ.get("SIMULATION_WORLDS") else 240)
@pytest.mark.parametrize("name", WEATHERS)
def test_nothing_is_lost_twice_or_reordered(
    name: str, folder: Path, trouble: list[dict[str, Any]]
) -> None:
    """Every consumer's list against the list of what happened; what that means: `verdict`."""
    weather, worlds = WEATHERS[name]
    disconnects = []
    unordered = 0
    for seed in seeds(worlds):
        outcome = run_world(seed, weather, folder / str(seed))
        judged(outcome)
        assert not trouble, f"world {seed}: {trouble[0]}"
        disconnects.append(outcome.disconnects)
        unordered += weather.in_order and not outcome.in_order
    assert unordered <= max(1, MOST_OUT_OF_ORDER * len(disconnects))
    assert mean(disconnects) >= (A_WORLD if len(disconnects) > 1 else A_WORLD / 2)


def test_that_is_enough() -> None:
    """All worlds together hold as many disconnects as were asked for."""
    assert sum(worlds for _, worlds in WEATHERS.values()) * A_WORLD >= ASKED


def test_a_world_happens_again(folder: Path, trouble: list[dict[str, Any]]) -> None:
    """The same seed gives the same records at the same instants; another one doesn't."""

    def told(seed: int, place: str) -> list[tuple[int, int, bytes]]:
        weather = replace(TRACES, seconds=30.0)
        outcome = run_world(seed, weather, folder / place)
        return [(r.sequence, r.received_ns, r.event.data) for r in outcome.journal]

    first = told(5, "first")
    assert len(first) > 20
    assert told(5, "again") == first
    assert told(6, "other") != first


def test_faults_strike_at_every_named_moment(folder: Path, trouble: list[dict[str, Any]]) -> None:
    """A moment that never comes would test nothing."""
    struck: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    deaths = 0
    for seed in range(3):
        outcome = run_world(seed, TRACES, folder / str(seed))
        judged(outcome)
        struck += outcome.moments.struck
        seen += outcome.moments.seen
        ends += Counter(outcome.upstream_ends)
        deaths += outcome.deaths
        assert all(consumer.cuts > 5 for consumer in outcome.consumers)
    assert deaths > 1
    assert set(seen) == set(UPSTREAM) | set(CONSUMER)
    assert set(struck) == set(seen)
    assert set(ends) == {"reset", "finished", "closed by the proxy", "the proxy died"}
