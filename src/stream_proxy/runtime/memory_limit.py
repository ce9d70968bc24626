"""How much memory the process may use: its container's share, or all that the machine has."""

from __future__ import annotations

import os
from pathlib import Path

_CONTAINER = (
    Path("/sys/fs/cgroup/memory.max"),  # control groups, version 2
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),  # version 1
)


def memory_limit_bytes(files: tuple[Path, ...] = _CONTAINER) -> int | None:
    """The least of the limits that are known; None where none is (Windows)."""
    limits = [*_of_container(files), *_of_machine()]
    return min(limits, default=None)


def _of_container(files: tuple[Path, ...]) -> list[int]:
    found = []
    for file in files:
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        if text.isdigit():  # else "max": unlimited
            found.append(int(text))
    return found


def _of_machine() -> list[int]:
    try:
        return [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, ValueError, OSError):
        return []
