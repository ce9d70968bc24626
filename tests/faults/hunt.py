"""Look for the first world that fails: ``python -m faults.hunt market 40 'half open'``.

The name of a fault, if given, says what to begin with: worlds in which it strikes alone.

Exits with 1 when one was found, and says after how many.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from faults.order_bench import play_orders
from faults.play import play
from faults.script import Script
from faults.strike import FAULTS

_FIRST_WORLDS = 5


def worlds(world: str, first: str) -> Iterator[Callable[[], list[str]]]:
    """Worlds without end; those of the market begin with each fault alone."""
    if world == "market":
        for seed in range(_FIRST_WORLDS if first else 0):
            yield lambda seed=seed: play(Script.alone(first, seed)).complaints  # type: ignore[misc]
        for name in sorted(FAULTS):
            yield lambda name=name: play(Script.alone(name)).complaints  # type: ignore[misc]
    seed = 0
    while True:
        if world == "market":
            yield lambda seed=seed: play(Script.from_seed(seed)).complaints  # type: ignore[misc]
        else:
            yield lambda seed=seed: play_orders(seed).complaints  # type: ignore[misc]
        seed += 1


def main() -> None:
    world, most, first = sys.argv[1], int(sys.argv[2]), "".join(sys.argv[3:])
    for number, run in enumerate(worlds(world, first), 1):
        try:
            complaints = run()
        except AssertionError as broken:
            # What a simulated world takes for granted of its proxy.
            complaints = [f"the world broke: {broken!r}"]
        if complaints:
            print(f"{number}: {complaints[0].splitlines()[0][:160]}")
            sys.exit(1)
        if number >= most:
            print(f"nothing in {most} worlds")
            sys.exit(0)


if __name__ == "__main__":
    main()
