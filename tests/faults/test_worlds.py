"""Worlds from fixed seeds, from fresh ones, and those that failed once: nothing lost unflagged.

A world that fails prints one line of JSON; ``python -m faults.replay '<JSON>'`` plays it alone.
``FAULT_SEEDS=123`` begins the fresh ones with that seed, ``FAULT_SECONDS=600`` takes more of them.
"""

from __future__ import annotations

import os
import secrets
import time
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from faults.alpaca import STEPS
from faults.play import Result, play, shrink
from faults.script import Script
from faults.strike import FAULTS

FIXED_SEEDS = range(1, 9)
_FRESH_SECONDS = float(os.environ.get("FAULT_SECONDS", 10.0))
_SHRINK_SECONDS = 20.0
_REGRESSIONS = sorted((Path(__file__).resolve().parents[1] / "regressions").glob("*.json"))
_ANEW = ("U18", "U21", "U30", "U35")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + 2 * _FRESH_SECONDS)]


def judged(result: Result) -> None:
    if result.complaints:
        pytest.fail(shrink(result, _SHRINK_SECONDS).told(), pytrace=False)


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_each_fault_alone(name: str) -> None:
    """It strikes, and costs nothing that isn't said."""
    result = play(Script.alone(name))
    judged(result)
    assert Counter(one.name for one in result.fired)[name] >= 1
    assert result.heard > 200
    assert result.most_open == 1


@pytest.mark.parametrize("seed", FIXED_SEEDS)
def test_fixed_seeds(seed: int) -> None:
    judged(play(Script.from_seed(seed)))


def test_fresh_seeds() -> None:
    """Other worlds each time; the first of them is printed, so that they can come again."""
    first = int(os.environ.get("FAULT_SEEDS", secrets.randbelow(1 << 40)))
    print(f"fresh seeds from {first}: FAULT_SEEDS={first} pytest tests/faults")
    until = time.monotonic() + _FRESH_SECONDS
    seed = first
    while time.monotonic() < until:
        judged(play(Script.from_seed(seed)))
        seed += 1
    assert seed > first


@pytest.mark.parametrize("path", _REGRESSIONS, ids=lambda path: path.stem)
def test_what_failed_once(path: Path) -> None:
    judged(play(Script.from_json(path.read_bytes())))


@pytest.mark.parametrize("seed", [2, 5, 8])
def test_a_world_happens_again(seed: int) -> None:
    """The same script gives the same trace; another one doesn't."""
    script = Script.from_seed(seed, seconds=300.0)
    first = play(script)
    assert first.heard > 50
    assert play(Script.from_json(script.json())).digest == first.digest
    assert play(msgspec.structs.replace(script, seed=seed + 1000)).digest != first.digest


@pytest.mark.parametrize("name", ["staller", "hostile"])
def test_no_consumer_changes_what_another_hears(name: str) -> None:
    """The same world with a bad consumer more, and without: the steady ones hear the same, then.

    Without the faults behind which all come anew: who comes first makes a difference there.
    """
    staying = sorted(kind.name for kind in FAULTS.values() if kind.row not in _ANEW)
    for seed in (3, 4):
        good = Script.from_seed(seed, staying)
        good.consumers = ["steady", "steady"]
        worse = msgspec.structs.replace(good, consumers=[*good.consumers, name])
        without, with_it = play(good), play(worse)
        assert without.heard > 50
        assert with_it.complaints == without.complaints == []
        for client in ("steady-0", "steady-1"):
            assert with_it.digests[client] == without.digests[client]


def test_every_step_and_fault_is_reached() -> None:
    """A fault that never strikes would test nothing; nor would a step that is never taken."""
    fired: Counter[str] = Counter()
    reached: Counter[str] = Counter()
    for seed in (1, 2):
        result = play(Script.from_seed(seed, seconds=2500.0))
        fired.update(one.name for one in result.fired)
        reached.update(result.reached)
    assert set(reached) == set(STEPS)
    assert len(fired) > 0.5 * len(FAULTS)
