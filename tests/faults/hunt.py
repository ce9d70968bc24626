"""Look for the first world that fails: ``python -m faults.hunt market 40``.

Exits with 1 when one was found, and says after how many.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from faults.order_bench import play_orders
from faults.play import play
from faults.script import Script
from faults.strike import FAULTS


def worlds(world: str) -> Iterator[Callable[[], list[str]]]:
    """Worlds without end; those of the market begin with each fault alone."""
    if world == "market":
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
    world, most = sys.argv[1], int(sys.argv[2])
    for number, run in enumerate(worlds(world), 1):
        complaints = run()
        if complaints:
            print(f"{number}: {complaints[0].splitlines()[0][:160]}")
            sys.exit(1)
        if number >= most:
            print(f"nothing in {most} worlds")
            sys.exit(0)


if __name__ == "__main__":
    main()
