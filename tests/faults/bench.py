"""The fault bench: worlds from ever new seeds until time is up, then the figures.

``python -m faults.bench --hours 10000 --minutes 30 --write docs``; ``--from 7`` begins with seed 7.
A world that fails is made smaller, printed as JSON, and put into ``tests/regressions``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from faults.kinds import ROWS
from faults.order_bench import OrderResult, play_disk, play_orders
from faults.page import write_page
from faults.play import Fired, Result, play, shrink
from faults.script import Script
from faults.strike import FAULTS

_REGRESSIONS = Path(__file__).resolve().parents[1] / "regressions"
_OF_TWELVE = ("market",) * 9 + ("orders",) * 2 + ("disk",)
_FIRST_OF_ORDERS = 12
"""One for each weather."""
_SHRINK_SECONDS = 60.0
_MOST_SHRUNK = 3
_HOUR_SECONDS = 3600.0


class Tally(msgspec.Struct):
    """What is known of one row of the catalogue in one of the worlds."""

    seeds: int = 0
    fired: int = 0
    recovered: list[float] = []
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0

    def add(self, fired: list[Fired], result: Result | OrderResult) -> None:
        """Count a world in which this was tried."""
        self.seeds += 1
        self.fired += len(fired)
        self.recovered += [
            one.recovered_seconds for one in fired if one.recovered_seconds is not None
        ]
        self.lost += result.lost
        self.duplicated += result.duplicated
        self.reordered += result.reordered

    def figures(self) -> dict[str, Any]:
        """For the page."""
        times = sorted(self.recovered)
        return {
            "seeds": self.seeds,
            "fired": self.fired,
            "recovery_p50_seconds": _quantile(times, 0.5),
            "recovery_p99_seconds": _quantile(times, 0.99),
            "lost_unflagged": self.lost,
            "duplicated": self.duplicated,
            "reordered": self.reordered,
        }


def _quantile(ordered: list[float], share: float) -> float | None:
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)


class Bench:
    """Counts what the worlds came to."""

    def __init__(self) -> None:
        self.market: dict[str, Tally] = defaultdict(Tally)
        self.orders: dict[str, Tally] = defaultdict(Tally)
        self.seeds: dict[str, int] = dict.fromkeys(("market", "orders", "disk"), 0)
        self.seconds: dict[str, float] = dict.fromkeys(self.seeds, 0.0)
        self.heard = dict.fromkeys(self.seeds, 0)
        self.flagged = 0
        self.most_open = 0
        self.dials = 0
        self.reached: dict[str, int] = {}
        self.fired: dict[str, int] = dict.fromkeys(sorted(FAULTS), 0)
        self.failures: list[Result | OrderResult] = []

    @property
    def hours(self) -> float:
        return sum(self.seconds.values()) / _HOUR_SECONDS

    def take(self, world: str, result: Result | OrderResult) -> None:
        """Count one world."""
        self.seeds[world] += 1
        self.seconds[world] += result.simulated_seconds
        self.heard[world] += result.heard
        if result.complaints:
            self.failures.append(result)
        by_row: dict[str, list[Fired]] = defaultdict(list)
        for one in result.fired:
            for number in _rows_of(world, one.name):
                by_row[number].append(one)
        for number, fired in by_row.items():
            (self.market if world == "market" else self.orders)[number].add(fired, result)
        if isinstance(result, Result):
            self.flagged += result.flagged
            self.dials += result.dials
            self.most_open = max(self.most_open, result.most_open)
            for step, times in result.reached.items():
                self.reached[step] = self.reached.get(step, 0) + times
            for one in result.fired:
                self.fired[one.name] += 1

    def figures(self, first_seed: int, elapsed_seconds: float) -> dict[str, Any]:
        """All of it, for the page."""
        return {
            "first_seed": first_seed,
            "elapsed_seconds": round(elapsed_seconds),
            "simulated_hours": {
                name: round(s / _HOUR_SECONDS, 1) for name, s in self.seconds.items()
            },
            "seeds": self.seeds,
            "messages_heard": self.heard,
            "missing_and_said_so": self.flagged,
            "most_connections_at_once": self.most_open,
            "connects": self.dials,
            "steps_reached": self.reached,
            "fired": self.fired,
            "failures": len(self.failures),
            "rows": {
                number: {
                    "market": self.market[number].figures() if number in self.market else None,
                    "orders": self.orders[number].figures() if number in self.orders else None,
                }
                for number in ROWS
            },
        }


def _rows_of(world: str, name: str) -> list[str]:
    if world == "market":
        return [FAULTS[name].row]
    return [number for number, row in ROWS.items() if name in row.orders]


def run_one(job: tuple[str, int]) -> tuple[str, Result | OrderResult]:
    """One world, in whatever process."""
    world, seed = job
    match world:
        case "alone":
            return "market", play(Script.alone(sorted(FAULTS)[seed % len(FAULTS)], seed))
        case "market":
            return world, play(Script.from_seed(seed))
        case "orders":
            return world, play_orders(seed)
        case _:
            return world, play_disk(seed)


def jobs(first_seed: int) -> Iterator[tuple[str, int]]:
    """Worlds without end: some of orders, each fault of the market alone, then all together."""
    seed = first_seed
    firsts = (
        ("orders",) * _FIRST_OF_ORDERS + ("disk",) * _FIRST_OF_ORDERS + ("alone",) * len(FAULTS)
    )
    for world in firsts:
        yield world, seed
        seed += 1
    while True:
        for world in _OF_TWELVE:
            yield world, seed
            seed += 1


def _jobs_until(first_seed: int, until: float) -> Iterator[tuple[str, int]]:
    for job in jobs(first_seed):
        if time.monotonic() > until:
            return
        yield job


def run(bench: Bench, first_seed: int, hours: float, seconds: float, processes: int) -> None:
    """Fill the bench."""
    until = time.monotonic() + seconds
    said = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=500) as pool:
        waiting = []
        upcoming = _jobs_until(first_seed, until)
        while bench.hours < hours:
            while len(waiting) < 4 * processes and (job := next(upcoming, None)) is not None:
                waiting.append(pool.apply_async(run_one, (job,)))
            if not waiting:
                return
            world, result = waiting.pop(0).get()
            bench.take(world, result)
            if result.complaints:
                what = result.script.seed if isinstance(result, Result) else result.name
                print(f"{what}: {result.complaints[0].splitlines()[0][:150]}", flush=True)
            if time.monotonic() - said > 60.0:
                said = time.monotonic()
                print(f"{bench.hours:,.0f} hours, {len(bench.failures)} failures", flush=True)


def _tell(bench: Bench) -> None:
    for number, failure in enumerate(bench.failures):
        if isinstance(failure, OrderResult):
            print(failure.name, *failure.complaints[:5], sep="\n  ")
            continue
        if number < _MOST_SHRUNK:
            failure = shrink(failure, _SHRINK_SECONDS)
        print(failure.told())
        path = _REGRESSIONS / f"seed-{failure.script.seed}.json"
        path.write_text(failure.script.json() + "\n")
        print(f"kept as {path.name}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--hours", type=float, default=10_000.0, help="simulated hours")
    options.add_argument("--minutes", type=float, default=30.0, help="at the most, real ones")
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--from", dest="first_seed", type=int, default=1_000_000)
    options.add_argument("--write", type=Path, help="the folder of the pages")
    chosen = options.parse_args()
    bench, began = Bench(), time.monotonic()
    run(bench, chosen.first_seed, chosen.hours, chosen.minutes * 60, chosen.processes)
    figures = bench.figures(chosen.first_seed, time.monotonic() - began)
    print(f"{bench.hours:,.1f} simulated hours, {sum(bench.seeds.values()):,} worlds")
    never = [name for name, times in bench.fired.items() if not times]
    if never:
        print(f"never fired: {', '.join(never)}")
    _tell(bench)
    if chosen.write is not None:
        write_page(figures, chosen.write)
    sys.exit(bool(bench.failures))


if __name__ == "__main__":
    main()
