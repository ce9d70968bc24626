"""A metric family: its name, its meaning, and how its values are read from the running proxy.

A family is declared once, in a table of the subject's file. What Prometheus gets and what
``docs/metrics.md`` says both come from there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from prometheus_client import Metric

from stream_proxy.control.metrics.measured import Measured
from stream_proxy.hub.latency import Latency

PREFIX = "alpaca_proxy_"

Labels = tuple[str, ...]

QUANTILES = (0.5, 0.9, 0.99)

BUCKETS_NS = tuple(step * 10**decade for decade in range(4, 11) for step in (1, 2, 5))[2:]
"""Upper edges of every histogram: 1, 2 and 5 of each decade, from 50 µs to 50 s."""


class Family(Protocol):
    """A name under which Prometheus finds one or more series."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def labels(self) -> Labels: ...

    @property
    def meaning(self) -> str: ...

    def metric(self, measured: Measured) -> Metric:
        """The values of this moment."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """Counters or gauges; values that ``read`` gives for the same labels are added up."""

    name: str
    kind: Literal["counter", "gauge"]
    labels: Labels
    meaning: str
    read: Callable[[Measured], Iterable[tuple[Labels, float]]]

    def metric(self, measured: Measured) -> Metric:
        totals: dict[Labels, float] = defaultdict(int)
        for labels, value in self.read(measured):
            totals[labels] += value
        # The format's own name of a counter goes without its ending.
        name = self.name.removesuffix("_total") if self.kind == "counter" else self.name
        metric = Metric(name, self.meaning, self.kind)
        for labels, value in totals.items():
            metric.add_sample(self.name, dict(zip(self.labels, labels, strict=True)), value)
        return metric


@dataclass(frozen=True, slots=True)
class Durations:
    """A histogram since the start, or quantiles of the last minutes, in seconds."""

    name: str
    kind: Literal["histogram", "summary"]
    labels: Labels
    meaning: str
    read: Callable[[Measured], Iterable[tuple[Labels, Latency]]]

    def metric(self, measured: Measured) -> Metric:
        parts: dict[Labels, list[Latency]] = defaultdict(list)
        for labels, latency in self.read(measured):
            parts[labels].append(latency)
        metric = Metric(self.name, self.meaning, self.kind)
        for labels, latencies in parts.items():
            named = dict(zip(self.labels, labels, strict=True))
            whole = latencies[0] if len(latencies) == 1 else Latency.together(latencies)
            if self.kind == "summary":
                _add_quantiles(metric, named, whole)
            else:
                _add_buckets(metric, named, whole)
            metric.add_sample(f"{self.name}_count", named, whole.count)
            metric.add_sample(f"{self.name}_sum", named, whole.sum_ns / 1e9)
        return metric


def _add_quantiles(metric: Metric, labels: dict[str, str], latency: Latency) -> None:
    for fraction, seconds in zip(QUANTILES, latency.quantiles_seconds(QUANTILES), strict=True):
        metric.add_sample(metric.name, labels | {"quantile": str(fraction)}, seconds)


def _add_buckets(metric: Metric, labels: dict[str, str], latency: Latency) -> None:
    for edge_ns, messages in zip(BUCKETS_NS, latency.up_to_ns(BUCKETS_NS), strict=True):
        metric.add_sample(f"{metric.name}_bucket", labels | {"le": str(edge_ns / 1e9)}, messages)
    metric.add_sample(f"{metric.name}_bucket", labels | {"le": "+Inf"}, latency.count)
