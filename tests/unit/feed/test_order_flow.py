"""What became of order updates adds up, whatever the sockets do."""

from __future__ import annotations

from stream_proxy.feed.order_flow import ORDER_CLASS, OrderFlow
from stream_proxy.hub.outbox import Outbox


class Consumer:
    """An outbox that is full when the test says so."""

    def __init__(self, flow: OrderFlow, protocol: str) -> None:
        self.written: list[bytes] = []
        self.outbox = Outbox(self.written.append, 100, 1 << 60, lambda: None)
        self.outbox.meter = flow.meter(protocol)


def fates(flow: OrderFlow, protocol: str) -> tuple[int, ...]:
    """Delivered, filtered, dropped and waiting, after a look at their sum."""
    found = flow.flows[protocol]
    parts = found.delivered(), found.filtered(), found.dropped, found.waiting()
    numbers = tuple(part.get(ORDER_CLASS, 0) for part in parts)
    assert found.offered[ORDER_CLASS] == sum(numbers)
    return numbers


def offer(flow: OrderFlow, protocol: str, consumer: Consumer, events: int, wanted: int) -> None:
    flow.offer(protocol, events, wanted)
    consumer.outbox.offer([b"frame"] * wanted, wanted)


def test_written_filtered_waiting_and_dropped() -> None:
    flow = OrderFlow()
    one = Consumer(flow, "grpc")
    offer(flow, "grpc", one, 5, 3)
    assert fates(flow, "grpc") == (3, 2, 0, 0)
    one.outbox.pause()
    offer(flow, "grpc", one, 4, 4)
    assert fates(flow, "grpc") == (3, 2, 0, 4)
    one.outbox.resume()
    assert fates(flow, "grpc") == (7, 2, 0, 0)
    one.outbox.pause()
    offer(flow, "grpc", one, 6, 6)
    one.outbox.close()
    offer(flow, "grpc", one, 1, 1)
    assert fates(flow, "grpc") == (7, 2, 7, 0)
    assert len(one.written) == 7


def test_protocols_are_counted_apart() -> None:
    flow = OrderFlow()
    one, other = Consumer(flow, "websocket"), Consumer(flow, "sse")
    offer(flow, "websocket", one, 2, 2)
    offer(flow, "sse", other, 2, 1)
    assert fates(flow, "websocket") == (2, 0, 0, 0)
    assert fates(flow, "sse") == (1, 1, 0, 0)


def test_what_waits_takes_longer_than_what_is_written_at_once() -> None:
    flow = OrderFlow()
    fast, slow = Consumer(flow, "websocket"), Consumer(flow, "websocket")
    slow.outbox.pause()
    flow.begin(1_000_000)
    for consumer in (fast, slow):
        offer(flow, "websocket", consumer, 2, 2)
    flow.end(4_000_000)
    assert (flow.latency.count, flow.latency.sum_ns) == (2, 6_000_000)
    slow.outbox.resume(9_000_000)
    assert flow.latency.count == 4
    assert flow.latency.sum_ns == 6_000_000 + 2 * 8_000_000


def test_nothing_new_takes_no_time() -> None:
    flow = OrderFlow()
    flow.begin(1)
    flow.end(2)
    assert flow.latency.count == 0
