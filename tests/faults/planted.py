"""Plant a bug in a copy of the program and let the bench look for it.

Each file of ``planted/`` is a patch against the repository, behind lines that say what the bug is,
in which world it can be found, and which fault to begin with, to save time. A bug that is not found makes every zero of the bench
doubtful; a patch that does not apply any more is an error, not a success.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
PATCHES = sorted((Path(__file__).parent / "planted").glob("*.patch"))
_MOST_WORLDS = 100
_LONGEST_SECONDS = 1800.0
_FOUND = 1


@dataclass(frozen=True, slots=True)
class Hunt:
    """What came of looking for one planted bug."""

    name: str
    caught: bool
    said: str
    seconds: float


class DoesNotApply(Exception):
    """The program has changed below a patch: make the patch anew."""


def hunt(patch: Path, most_worlds: int = _MOST_WORLDS) -> Hunt:
    """Look for one bug.

    Raises:
        DoesNotApply: the patch is out of date.
    """
    text = patch.read_text()
    world = re.search(r"^World: (market|orders)$", text, re.MULTILINE)
    assert world is not None, f"{patch.name} does not say where its bug can be found"
    first = re.search(r"^Fault: (.+)$", text, re.MULTILINE)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(
            _ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.js")
        )
        applied = subprocess.run(
            ["patch", "-p1", "--no-backup-if-mismatch", "-i", str(patch)],
            cwd=copy,
            capture_output=True,
            text=True,
            check=False,
        )
        if applied.returncode:
            raise DoesNotApply(f"{patch.name}: {applied.stdout}{applied.stderr}")
        _interpret_what_was_patched(copy, text)
        found = subprocess.run(
            [
                *(sys.executable, "-m", "faults.hunt", world.group(1), str(most_worlds)),
                *([first.group(1)] if first else []),
            ],
            env={**os.environ, "PYTHONPATH": f"{copy / 'src'}:{_ROOT / 'tests'}:{_ROOT}"},
            capture_output=True,
            text=True,
            timeout=_LONGEST_SECONDS,
            check=False,
        )
    said = (found.stdout.strip().splitlines() or found.stderr.strip().splitlines()[-1:] or [""])[-1]
    # A program that can't even start has not been caught by the bench.
    caught = found.returncode == _FOUND and said[:1].isdigit()
    return Hunt(patch.stem, caught, said, time.monotonic() - began)


def _interpret_what_was_patched(copy: Path, text: str) -> None:
    """A compiled module goes before its source, which is what was changed."""
    for name in re.findall(r"^\+\+\+ b/(\S+)\.py", text, re.MULTILINE):
        for compiled in (copy / name).parent.glob(f"{Path(name).name}.*.so"):
            compiled.unlink()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("names", nargs="*", help="of patches; all if none is given")
    options.add_argument("--processes", type=int, default=2)
    chosen = options.parse_args()
    patches = [p for p in PATCHES if not chosen.names or p.stem in chosen.names]
    caught = 0
    with ThreadPoolExecutor(chosen.processes) as pool:
        for found in pool.map(hunt, patches):
            caught += found.caught
            mark = "caught" if found.caught else "NOT CAUGHT"
            print(f"{mark:10}  {found.name}: {found.said} ({found.seconds:.0f} s)", flush=True)
    print(f"planted bugs caught: {caught} of {len(patches)}")
    sys.exit(caught < len(patches))


if __name__ == "__main__":
    main()
