"""All families together, as Prometheus's client library wants to collect them."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric, ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from stream_proxy.control.metrics import consumers, messages, orders, program, upstream
from stream_proxy.control.metrics.family import Family
from stream_proxy.control.metrics.measured import Measured
from stream_proxy.hub.latency import Latency

SUBJECTS: tuple[tuple[str, tuple[Family, ...]], ...] = (
    ("Messages", messages.FAMILIES),
    ("Upstream", upstream.FAMILIES),
    ("Consumers", consumers.FAMILIES),
    ("Order updates", orders.FAMILIES),
    ("The program", program.FAMILIES),
)

FAMILIES = tuple(family for _, families in SUBJECTS for family in families)


class ProxyCollector(Collector):
    """Reads everything when it is asked, and nothing before."""

    def __init__(self, measured: Measured) -> None:
        self._measured = measured

    def collect(self) -> Iterator[Metric]:
        for family in FAMILIES:
            yield family.metric(self._measured)

    def describe(self) -> list[Metric]:
        """Nothing: at registration there is no proxy to read yet."""
        return []


def registry_of(measured: Measured) -> CollectorRegistry:
    """The proxy's own families, and those of its process."""
    registry = CollectorRegistry()
    registry.register(ProxyCollector(measured))
    ProcessCollector(registry=registry)
    return registry


def latencies_of(measured: Measured) -> Iterator[Latency]:
    """All durations that are counted in windows, which somebody has to turn."""
    yield measured.stalls
    for handler in measured.market.handlers.values():
        yield handler.latency
        yield handler.lag
    for feed in measured.orders.feeds.values():
        yield feed.flow.latency
        yield feed.lag
        yield feed.journal_latency
