"""What a fault is: a name, the row of the catalogue it belongs to, and a function that commits it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from faults.alpaca import Alpaca, Line, Step

if TYPE_CHECKING:
    from faults.world import World

FAULTS: dict[str, FaultKind] = {}
"""By name, all that the market's world can be made to suffer."""


class Strike:
    """One fault while it is being committed: everything that it may turn against."""

    def __init__(self, name: str, world: World, random: Random) -> None:
        self.name = name
        self.world = world
        self.random = random

    @property
    def alpaca(self) -> Alpaca:
        return self.world.alpaca

    @property
    def now(self) -> float:
        return self.world.loop.time()

    def fired(self, lasts_seconds: float = 0.0) -> None:
        """It takes effect now, and so long."""
        self.world.struck(self.name, lasts_seconds)

    def line(self) -> Line | None:
        """The connection that is open, its slot to be held for a while if it ends uncleanly."""
        line = self.alpaca.line
        if line is not None and self.random.random() < 0.3:
            line.hold_seconds = self.random.uniform(5.0, 95.0)
        return line

    def make_it_reconnect(self) -> None:
        """Give a fault that waits at the beginning of a connection something to wait for."""
        line = self.alpaca.line
        if line is not None:
            line.finish(1001)

    def in_wait(self, step: Step, trap: Callable[[Line], None], times: int = 1) -> None:
        """Strike whenever the conversation comes to this step."""

        def sprung(line: Line) -> None:
            self.fired()
            trap(line)

        self.alpaca.trap(step, sprung, times)

    def at_next(self, step: Step, trap: Callable[[Line], None], times: int = 1) -> None:
        """The same on the next connections, which begin now."""
        self.in_wait(step, trap, times)
        self.make_it_reconnect()

    def at_dial(self, error: Callable[[], Exception], times: int = 1) -> None:
        """Let the next connects fail."""

        async def fail() -> None:
            self.fired()
            raise error()

        self.alpaca.dial_traps += [fail] * times
        self.make_it_reconnect()


@dataclass(frozen=True, slots=True)
class FaultKind:
    """How one fault is made.

    Attributes:
        row: of the catalogue, such as ``U9``.
        commit: does it, or lays a trap for it.
        weight: how often it is drawn, beside the others.
        steps_share: how often it strikes at a named step of the conversation instead of at once.
    """

    name: str
    row: str
    commit: Callable[[Strike], None]
    weight: float
    steps_share: float


def fault(
    row: str, name: str, weight: float = 1.0, steps_share: float = 0.0
) -> Callable[[Callable[[Strike], None]], Callable[[Strike], None]]:
    """Enter a function into `FAULTS`."""

    def enter(commit: Callable[[Strike], None]) -> Callable[[Strike], None]:
        assert name not in FAULTS
        FAULTS[name] = FaultKind(name, row, commit, weight, steps_share)
        return commit

    return enter
