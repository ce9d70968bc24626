"""Bugs that were planted are found: all of them by `make planted-bugs`, a few of them here."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from faults.planted import PATCHES, hunt

_ROOT = Path(__file__).resolve().parents[2]
_QUICKLY_FOUND = ("no-gap", "told-before-durable")
_MOST_WORLDS = 60


def test_there_are_about_twenty() -> None:
    assert len(PATCHES) >= 20
    assert {path.stem for path in PATCHES} >= set(_QUICKLY_FOUND)


@pytest.mark.parametrize("path", PATCHES, ids=lambda path: path.stem)
def test_the_patch_applies(path: Path) -> None:
    """The program changes below it: then the patch has to be made anew, not left out."""
    text = path.read_text()
    assert re.search(r"^World: (market|orders)$", text, re.MULTILINE)
    tried = subprocess.run(
        ["patch", "-p1", "--dry-run", "--force", "-i", str(path)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 0, f"{path.name} does not apply any more:\n{tried.stdout}"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", _QUICKLY_FOUND)
def test_a_planted_bug_is_found(name: str) -> None:
    [path] = [path for path in PATCHES if path.stem == name]
    found = hunt(path, _MOST_WORLDS)
    assert found.caught, found.said
