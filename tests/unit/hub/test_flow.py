"""Every message that was received is accounted for, by class, however sockets behave."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_proxy.feed.handler import FeedHandler
from stream_proxy.hub.flow import Flow
from stream_proxy.hub.outbox import Outbox
from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.outlets.shapes import shape_for
from stream_proxy.runtime.clock import SystemClock
from stream_proxy.wire.alpaca.codec import CODECS, MSGPACK
from stream_proxy.wire.websocket import payload_start

SYMBOLS = ("A", "B", "C")
TYPES = {"t": "trades", "q": "quotes", "b": "bars"}


@dataclass(eq=False)
class Reader:
    """One consumer, and how many of each type its socket took."""

    codec: str
    topics: SubscriptionSet
    got: Counter[str] = field(default_factory=Counter)
    most_frames: int = 1 << 30
    """Its socket is full again after so many."""

    def __post_init__(self) -> None:
        self.outbox = Outbox(self._take, 600, 1 << 62, lambda: None)

    def _take(self, frame: bytes) -> None:
        codec = CODECS[self.codec]
        self.got.update(codec.ticks.split(frame[payload_start(frame) :])[0])
        self.most_frames -= 1
        if self.most_frames <= 0:
            self.outbox.pause()


topics = st.dictionaries(
    st.sampled_from(sorted(TYPES.values())),
    st.sets(st.sampled_from([*SYMBOLS, "*"]), min_size=1),
    min_size=1,
).map(SubscriptionSet)
readers = st.lists(
    st.builds(Reader, st.sampled_from(["json", "msgpack"]), topics), min_size=1, max_size=6
)
batch = st.lists(
    st.tuples(st.sampled_from(sorted(TYPES)), st.sampled_from([*SYMBOLS, "D"])), max_size=12
)
steps = st.lists(
    st.one_of(
        batch,
        st.tuples(st.sampled_from(["pause", "resume", "close", "leave"]), st.integers(0, 5)),
        st.tuples(st.just("room"), st.integers(0, 5), st.integers(1, 3)),
    ),
    max_size=25,
)


def frame(messages: list[tuple[str, str]]) -> bytes:
    return MSGPACK.join([MSGPACK.encode({"T": kind, "S": symbol}) for kind, symbol in messages])


@given(readers=readers, steps=steps)
def test_nothing_is_unaccounted_for(readers: list[Reader], steps: list[object]) -> None:
    """Received x consumers = delivered + filtered + dropped + waiting, and all of it is true."""
    handler = FeedHandler(FEEDS["sip"], MSGPACK, SystemClock())
    hub, offered, wanted = handler.hub, Counter[str](), Counter[str]()
    present = list(readers)
    for reader in readers:
        hub.set_topics(reader.outbox, shape_for("msgpack", reader.codec), reader.topics)
    for step in steps:
        match step:
            case ("room", int(number), int(frames)) if number < len(present):
                present[number].most_frames = frames
            case (str(what), int(number)) if number < len(present):
                reader = present[number]
                if what == "leave":
                    hub.remove(reader.outbox)
                    reader.outbox.close()
                    present.remove(reader)
                else:
                    reader.most_frames = 1 << 30
                    getattr(reader.outbox, what)()
            case list() as messages:
                handler.receive([frame(messages)])
                for kind, symbol in messages:
                    offered[kind] += len(present)
                    wanted[kind] += sum(r.topics.covers(TYPES[kind], symbol) for r in present)
    got: Counter[str] = sum((reader.got for reader in readers), Counter())
    flow = hub.flows["websocket"]
    assert +Counter(flow.delivered()) == got
    assert +Counter(flow.routed) == +wanted
    assert +Counter(flow.offered) == +offered
    assert +Counter(flow.filtered()) == offered - wanted
    assert +Counter(flow.waiting()) == wanted - got - Counter(flow.dropped)
    assert sum(flow.waiting().values()) == sum(
        r.outbox.statistics().queued_messages for r in readers
    )
    assert sum(flow.dropped.values()) == sum(r.outbox.dropped_messages for r in readers)


def test_latency_is_told_for_all_that_was_written() -> None:
    """Those that waited took longer than those that did not."""
    handler = FeedHandler(FEEDS["sip"], MSGPACK, SystemClock())
    quick, slow = (Reader("msgpack", SubscriptionSet({"trades": ["*"]})) for _ in range(2))
    for reader in (quick, slow):
        handler.hub.set_topics(reader.outbox, shape_for("msgpack", "msgpack"), reader.topics)
    slow.outbox.pause()
    handler.receive([frame([("t", "A")] * 5)])
    assert handler.latency.count == 5
    slow.outbox.resume(SystemClock().monotonic_ns() + 10**9)
    assert handler.latency.count == 10
    [upper] = handler.latency.quantiles_seconds([0.99])
    assert upper > 0.9


@pytest.mark.parametrize("kind", ["t", "?"])
def test_counts_never_fall(kind: str) -> None:
    """What a scrape reads are counters."""
    flow = Flow({kind: 3})
    flow.change(2)
    flow.route({kind: 3}, 2)
    seen = [flow.delivered()[kind]]
    flow.lose({kind: 1})
    flow.route({kind: 1}, 1)
    seen.append(flow.delivered()[kind])
    assert seen == sorted(seen)
