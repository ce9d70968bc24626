"""Play one world again: ``python -m faults.replay '<JSON>'``, or the name of a file with it."""

from __future__ import annotations

import sys
from pathlib import Path

from faults.play import play
from faults.script import Script


def main() -> None:
    text = sys.argv[1]
    if not text.lstrip().startswith("{"):
        text = Path(text).read_text()
    result = play(Script.from_json(text))
    for complaint in result.complaints:
        print(complaint)
    print(f"{result.simulated_seconds:.0f} s, {len(result.fired)} faults, trace {result.digest}")
    sys.exit(bool(result.complaints))


if __name__ == "__main__":
    main()
