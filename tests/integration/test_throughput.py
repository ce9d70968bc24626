"""The hot path against a yardstick in the same run: plain decoding of the same bytes by msgspec.

Ratios of CPU time with a margin of a half: for what no count shows, such as a copy of every byte,
a look-up that grows with the number of consumers, or the compiled loops lost. Calls, objects and
frames are counted in `tests/unit/hub/test_hot_path.py`. Figures proper come from `make bench`.
"""

from __future__ import annotations

import statistics
import time

import msgspec
import pytest
from bench.traffic import Case, Crowd, Traffic

from stream_proxy.feed.handler import FeedHandler
from stream_proxy.hub.outbox import Outbox
from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.outlets.shapes import shape_for
from stream_proxy.runtime.clock import SystemClock
from stream_proxy.runtime.memory import keep_freed_memory
from stream_proxy.wire.alpaca.codec import MSGPACK
from stream_proxy.wire.alpaca.walk import COMPILED

PER_FRAME = 20
FRAMES_PER_READ = 200


def batches(traffic: Traffic) -> list[list[bytes]]:
    """A cycle of traffic as socket reads of many small frames."""
    items = traffic.items["msgpack"]
    frames = [
        MSGPACK.join(items[start : start + PER_FRAME]) for start in range(0, len(items), PER_FRAME)
    ]
    return [
        frames[start : start + FRAMES_PER_READ] for start in range(0, len(frames), FRAMES_PER_READ)
    ]


@pytest.mark.parametrize(
    ("crowd", "compiled_bound", "interpreted_bound"),
    [
        pytest.param(Crowd(1, 0), 0.8, 1.6, id="1 x everything"),
        pytest.param(Crowd(100, 20), 1.1, 2.3, id="100 x 20 of 500"),
        pytest.param(Crowd(100, 0), 0.8, 1.6, id="100 x everything"),
    ],
)
def test_routing_costs_less_than_decoding(
    crowd: Crowd, compiled_bound: float, interpreted_bound: float
) -> None:
    """CPU time of the feed's whole middle, as a share of what decoding alone would take."""
    keep_freed_memory()
    traffic = Traffic(Case("yardstick", (crowd,)))
    handler = FeedHandler(FEEDS["sip"], MSGPACK, SystemClock())
    for wish in traffic.wishes():
        outbox = Outbox(len, 1 << 40, 1 << 62, lambda: None)
        topics = SubscriptionSet({"quotes": list(wish.symbols)})
        handler.hub.set_topics(outbox, shape_for("msgpack", "msgpack"), topics)
    reads = batches(traffic)
    decode = msgspec.msgpack.Decoder().decode

    def route() -> float:
        started = time.process_time()
        for read in reads:
            handler.receive(read)
        return time.process_time() - started

    def yardstick() -> float:
        started = time.process_time()
        for read in reads:
            for frame in read:
                decode(frame)
        return time.process_time() - started

    route()
    ratio = statistics.median(route() / yardstick() for _ in range(15))
    assert handler.hub.messages == 16 * len(traffic)
    assert ratio < (compiled_bound if COMPILED else interpreted_bound)
