"""Play a script and say what came of it, as plain data that travels between processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import structlog

from faults.alpaca import SECRET
from faults.kinds import FAULT_MODULES
from faults.script import Script, smaller
from faults.verdict import judge
from faults.world import World, run_script

assert FAULT_MODULES


class Fired(msgspec.Struct):
    """A fault that took effect, and how long until all was well; None if the world ended first."""

    name: str
    recovered_seconds: float | None


class Result(msgspec.Struct):
    """What came of one world."""

    script: Script
    simulated_seconds: float
    complaints: list[str]
    fired: list[Fired]
    reached: dict[str, int]
    lost: int
    duplicated: int
    reordered: int
    flagged: int
    heard: int
    dials: int
    most_open: int
    digest: str
    digests: dict[str, str]
    """Of each steady consumer alone."""

    def told(self) -> str:
        """For whoever has to find out why."""
        return "\n".join(
            [
                f"{len(self.complaints)} complaints:",
                *(f"  {complaint}" for complaint in self.complaints[:12]),
                "Again, alone: python -m faults.replay '<the JSON below>'",
                self.script.json(),
            ]
        )


@contextmanager
def log_lines() -> Iterator[list[str]]:
    """What the log says that it must not: secrets, and mistakes of ours."""
    found: list[str] = []

    def look(logger: object, method: str, line: Any) -> Any:
        if SECRET in str(line):
            found.append(f"a secret in the log: {line.get('event')}")
        if "exc_info" in line or method == "exception":
            found.append(f"a mistake in the log: {line}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[structlog.processors.format_exc_info, look])
    try:
        yield found
    finally:
        structlog.configure(**before)


def play(script: Script) -> Result:
    """Run one world and judge it."""
    with log_lines() as lines:
        result = run_script(script, lambda world: _result(world, script))
    result.complaints += lines
    return result


def _result(world: World, script: Script) -> Result:
    verdict = judge(world)
    fired = [
        Fired(
            one.name,
            None if one.recovered is None else round(max(0.0, one.recovered - one.until), 3),
        )
        for one in world.strikes
    ]
    return Result(
        script=script,
        simulated_seconds=world.loop.time(),
        complaints=verdict.complaints,
        fired=fired,
        reached=dict(world.alpaca.reached),
        lost=verdict.lost,
        duplicated=verdict.duplicated,
        reordered=verdict.reordered,
        flagged=verdict.flagged,
        heard=verdict.heard,
        dials=len(world.alpaca.dials),
        most_open=world.alpaca.most_open,
        digest=world.digest,
        digests={client.name: world.digest_of(client.name) for client in world.clients},
    )


def shrink(result: Result, within_seconds: float) -> Result:
    """The smallest world that still fails, as far as it is found in this time."""
    until = time.monotonic() + within_seconds
    while time.monotonic() < until:
        for script in smaller(result.script):
            if time.monotonic() > until:
                break
            found = play(script)
            if found.complaints:
                result = found
                break
        else:
            break
    return result
