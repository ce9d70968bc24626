"""Without a C compiler everything works too: the same tests on the same source, interpreted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHECK = """
import sys, stream_proxy.wire.alpaca.walk as walk
assert not walk.COMPILED and walk.__file__.startswith(sys.argv[1]), walk.__file__
"""


def test_the_same_tests_pass_interpreted(tmp_path: Path) -> None:
    """Codec, hub, feed and whole programs, from a copy without compiled files."""
    shutil.copytree(
        ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("*.so", "__pycache__")
    )
    # Ahead of the installed package, whose compiled files would win otherwise.
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "src"),
        "STREAM_PROXY_COMPILE": "0",
    }

    def python(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    python("-c", CHECK, str(tmp_path))
    outcome = python(
        *(
            "-m",
            "pytest",
            "tests/unit/wire/test_codec.py",
            "tests/unit/hub",
            "tests/unit/wire/grpc",
        ),
        "tests/integration/test_throughput.py",
    )
    assert "passed" in outcome and "skipped" not in outcome
