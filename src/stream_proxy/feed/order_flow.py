"""What became of one account's order updates, per protocol, and how long they took.

As with market data: offered = delivered + filtered + dropped + waiting. An update is offered to a
consumer when its turn has come: as soon as it is on the disk, or once it was read from the journal.
Nothing is conflated.
"""

from __future__ import annotations

from collections.abc import Sequence

from stream_proxy.hub.flow import Batch, Counts, Flow, Meter
from stream_proxy.hub.latency import Latency

ORDER_CLASS = "trade_updates"
"""Order updates are one class, as trades and quotes are."""


class OrderFlow:
    """Plain numbers, read by whoever asks.

    Attributes:
        flows: by protocol.
        latency: from upstream's socket to the consumer's, of what comes live.
    """

    def __init__(self) -> None:
        self.flows: dict[str, Flow] = {}
        self.latency = Latency()
        self._offered: dict[str, Counts] = {}
        self._batch = Batch()
        self._written = 0

    def meter(self, protocol: str) -> Meter:
        """What a consumer's outbox is to count with."""
        if protocol not in self.flows:
            offered = self._offered[protocol] = {ORDER_CLASS: 0}
            flow = self.flows[protocol] = Flow(offered)
            flow.change(1)
        return Meter(self.flows[protocol], self._batch, _classify, self.latency)

    def offer(self, protocol: str, events: int, wanted: int) -> None:
        """So many are some consumer's turn; it wants so many of them, and gets them now."""
        self._offered[protocol][ORDER_CLASS] += events
        self.flows[protocol].route({ORDER_CLASS: wanted}, 1)
        self._written += wanted

    def begin(self, received_ns: int) -> None:
        """What is offered next was received then, monotonic."""
        self._batch.begun_ns = received_ns
        self._batch.behind = self._written = 0

    def end(self, now_ns: int) -> None:
        """It has been offered to all: what didn't have to wait is written."""
        written = self._written - self._batch.behind
        if written > 0:
            self.latency.observe(now_ns - self._batch.begun_ns, written)


def _classify(frames: Sequence[bytes]) -> Counts:
    return {ORDER_CLASS: len(frames)}
