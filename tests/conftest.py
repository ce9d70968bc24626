"""Fixtures for all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis  # noqa: F401 (its plugin imports it late, too deep for CPython's parser)
import pytest
import structlog

from harness.session_logs import SESSION

_SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


# Folders whose tests start processes or wait on sockets: too slow for `make check`.
_SLOW_FOLDERS = ("integration", "compat", "unit/cli")


def pytest_configure() -> None:
    """What logs without a proxy around it prints tracebacks as the product does: without values."""
    console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], console])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.parent.relative_to(Path(__file__).parent).as_posix()
        if folder.startswith(_SLOW_FOLDERS):
            item.add_marker(pytest.mark.slow)
    # It looks at what all the others have written.
    items.sort(key=lambda item: item.path.name == "test_nothing_leaks.py")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what proxies in this process have printed."""
    SESSION.keep_captured(report.nodeid, [text for _, text in report.sections])


@pytest.fixture(scope="session", autouse=True)
def nothing_leaked() -> Iterator[None]:
    """Every process that runs tests looks through its own logs at the end."""
    yield
    assert SESSION.leaks() == []


@pytest.fixture
def recorded_data() -> Path:
    """The folder of recorded market data, which is not part of the repository."""
    if not _SHARED_DATA.is_dir():
        print("\n*** ../shared/data is missing: no recorded day is tried ***", file=sys.__stdout__)
        assert not os.environ.get("CI"), "CI must have the recorded market data"
        pytest.skip(f"recorded market data is not present at ../shared/data: {_SHARED_DATA.name}")
    return _SHARED_DATA
