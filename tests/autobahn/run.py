"""
Judge a WebSocket server by the Autobahn Testsuite's fuzzing client.

    run.py ws://127.0.0.1:9001 [--environment FOLDER] [--cases "1.*" …]

The server must echo every message, take messages of 16 MB and send no pings.
Prints one line of counts, and one for each failed case; exits 1 on any failure
and 3 if this machine has no Python 2.7 to run the testsuite with.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent

# Echo, fragmentation, UTF-8, close handling, big messages cut small. Without 9
# (throughput) and 12, 13 (compression, ten minutes).
CASES = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*")

# The testsuite's words for a case that is not a fault. NON-STRICT means that
# the answer came, but not at the first chance.
ACCEPTABLE = ("OK", "NON-STRICT", "INFORMATIONAL")

NO_PYTHON_27 = 3

AGENT = "server under test"


class NoPython27(Exception):
    """The testsuite is Python 2.7 code, and this machine has no such Python."""


@dataclass(frozen=True)
class Verdict:
    """What the testsuite made of each case, by its number."""

    behaviors: dict[str, str]
    """How the server behaved in the case itself, and then in closing."""

    @property
    def failures(self) -> dict[str, str]:
        return {
            case: behavior
            for case, behavior in self.behaviors.items()
            if behavior not in ACCEPTABLE
        }

    def __str__(self) -> str:
        counts = Counter(
            behavior if behavior in ACCEPTABLE else "FAILED" for behavior in self.behaviors.values()
        )
        parts = ", ".join(f"{counts[name]} {name}" for name in (*ACCEPTABLE, "FAILED"))
        return f"autobahn: {len(self.behaviors)} cases: {parts}"


def run_cases(url: str, cases: Sequence[str], environment_folder: Path) -> Verdict:
    """
    Run cases against the server at `url`, building the environment if need be.

    Raises:
        NoPython27: The environment cannot be built here.
        RuntimeError: The testsuite ran, but wrote no report, or judged nothing.

    """
    prepared = subprocess.run([HERE / "prepare.sh", environment_folder], check=False)
    if prepared.returncode == NO_PYTHON_27:
        raise NoPython27
    prepared.check_returncode()

    with tempfile.TemporaryDirectory() as folder:
        specification = Path(folder, "spec.json")
        reports = Path(folder, "reports")
        specification.write_text(
            json.dumps(
                {
                    "outdir": str(reports),
                    "servers": [{"agent": AGENT, "url": url}],
                    "cases": list(cases),
                    "exclude-cases": [],
                    "exclude-agent-cases": {},
                }
            )
        )
        wstest = subprocess.run(
            [
                environment_folder / "py27/bin/wstest",
                "--mode=fuzzingclient",
                f"--spec={specification}",
            ],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        index = reports / "index.json"
        if not index.exists():
            raise RuntimeError(f"wstest wrote no report:\n{wstest.stdout[-2000:]}")
        results = json.loads(index.read_text()).get(AGENT, {})
    if not results:
        raise RuntimeError(f"wstest judged no case; is there a server at {url}?")
    return Verdict(
        {case: _behavior(result) for case, result in sorted(results.items(), key=_order)}
    )


def _behavior(result: dict[str, str]) -> str:
    """The worse of a case's two verdicts."""
    if result["behavior"] in ACCEPTABLE and result["behaviorClose"] not in ACCEPTABLE:
        return f"{result['behaviorClose']} in closing"
    return result["behavior"]


def _order(item: tuple[str, object]) -> list[int]:
    return [int(part) for part in item[0].split(".")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--environment", type=Path, default=HERE / ".environment")
    parser.add_argument("--cases", nargs="+", default=CASES)
    options = parser.parse_args()
    try:
        verdict = run_cases(options.url, options.cases, options.environment)
    except NoPython27:
        return NO_PYTHON_27
    sys.stdout.write(f"{verdict}\n")
    for case, behavior in verdict.failures.items():
        sys.stdout.write(f"  {case}: {behavior}\n")
    return 1 if verdict.failures else 0


if __name__ == "__main__":
    sys.exit(main())
