"""The orders' world and the journal's disk, as the bench runs them beside the market's world."""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
from pathlib import Path

import msgspec

from faults.play import Fired, log_lines
from simulation.test_disconnects import WEATHERS
from simulation.verdict import complaints
from simulation.world import run_world

_SHARED_MEMORY = Path("/dev/shm")


class OrderResult(msgspec.Struct):
    """What came of one world of orders, or one journal on a bad disk."""

    name: str
    simulated_seconds: float
    complaints: list[str]
    fired: list[Fired]
    heard: int

    @property
    def lost(self) -> int:
        return sum(one.startswith("lost") for one in self.complaints)

    @property
    def duplicated(self) -> int:
        return sum(one.startswith("twice") for one in self.complaints)

    @property
    def reordered(self) -> int:
        return sum(one.startswith("reordered") for one in self.complaints)


def play_orders(seed: int) -> OrderResult:
    """One world, in one of all weathers."""
    names = list(WEATHERS)
    name = names[seed % len(names)]
    weather, _ = WEATHERS[name]
    where = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(dir=where))
    with log_lines() as lines:
        outcome = run_world(seed, weather, folder / "world")
    shutil.rmtree(folder, ignore_errors=True)
    fired = [
        Fired(one.name, None if one.recovered is None else round(one.recovered - one.at, 3))
        for one in outcome.struck
    ]
    moments = sum(outcome.moments.struck.values())
    fired += [Fired("at a moment", None)] * moments + [Fired("in a gap", None)] * outcome.missed
    return OrderResult(
        f"orders, {name}, SIMULATION_SEED={seed}",
        outcome.simulated_seconds,
        complaints(outcome) + lines,
        fired,
        sum(len(consumer.heard) for consumer in outcome.consumers),
    )


def play_disk(seed: int) -> OrderResult:
    """Nine order events on a disk whose n-th operation fails; nothing is told that isn't durable."""
    disk = importlib.import_module("unit.state.test_journal_disk_faults")
    kinds = list(disk.FAULTS)
    kind, times = kinds[seed % len(kinds)], (1, 4)[seed // len(kinds) % 2]
    rig = disk.Rig(disk.Disk(reverts=bool(seed // 8 % 2)), checkpoint_pages=20)
    rig.disk.fault = disk.after(40 + seed * 7 % 120, disk.FAULTS[kind](rig.disk, times))
    found: list[str] = []
    with log_lines():
        try:
            disk.lived_through(rig, check_each=seed % 10 == 0)
        except AssertionError as error:
            found.append(f"lost, or not durable: {error}")
    fired = [Fired("disk", None)] if rig.troubles else []
    return OrderResult(f"disk, {kind}, {seed}", 0.0, found, fired, len(rig.delivered))
