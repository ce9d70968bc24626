"""Metrics of the program itself: what it is, and how its event loop and memory fare.

``process_…`` come beside these from the Prometheus client library.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator

from stream_proxy import __version__
from stream_proxy.control.metrics.family import PREFIX, Durations, Family, Labels, Numbers
from stream_proxy.control.metrics.measured import Measured
from stream_proxy.runtime.memory_limit import memory_limit_bytes
from stream_proxy.wire.alpaca.walk import COMPILED

_HOT_PATH = "compiled" if COMPILED else "interpreted"


def _build(measured: Measured) -> Iterable[tuple[Labels, float]]:
    return [((__version__, platform.python_version(), _HOT_PATH), 1)]


def _memory_limit(measured: Measured) -> Iterator[tuple[Labels, float]]:
    limit = memory_limit_bytes()
    if limit is not None:
        yield (), limit


def _worst_stall(measured: Measured) -> Iterable[tuple[Labels, float]]:
    return [((), measured.stalls.quantiles_seconds([1.0])[0])]


FAMILIES: tuple[Family, ...] = (
    Numbers(
        f"{PREFIX}build_info",
        "gauge",
        ("version", "python", "hot_path"),
        "Always 1; the labels say what runs, and whether its hot path is compiled.",
        _build,
    ),
    Durations(
        f"{PREFIX}event_loop_stall_seconds",
        "histogram",
        (),
        "How much later than asked the event loop woke a task, looked at ten times a second.",
        lambda measured: [((), measured.stalls)],
    ),
    Numbers(
        f"{PREFIX}event_loop_stall_max_seconds",
        "gauge",
        (),
        "The worst of the last one to two minutes, to 15 %.",
        _worst_stall,
    ),
    Numbers(
        f"{PREFIX}memory_limit_bytes",
        "gauge",
        (),
        "How much memory the process may use: its container's limit, or the machine's memory.",
        _memory_limit,
    ),
)
