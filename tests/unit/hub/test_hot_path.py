"""What the hot path may cost, counted instead of timed: calls, allocations, forbidden words.

A timed test on a shared machine says little; a count says exactly when somebody adds a call, an
object, an await or a log line per message.
"""

from __future__ import annotations

import ast
import gc
import inspect
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import stream_proxy
from stream_proxy.feed.consumer import Consumer
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.hub.flow import Flow
from stream_proxy.hub.hub import Hub
from stream_proxy.hub.latency import Latency
from stream_proxy.hub.outbox import Outbox
from stream_proxy.hub.routes import Group, Routes
from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.messages import Quote
from stream_proxy.model.time import to_timestamp
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.outlets.grpc.shapes import GrpcShape
from stream_proxy.outlets.grpc.writer import StreamWriter
from stream_proxy.outlets.shapes import WebSocketShape, shape_for
from stream_proxy.runtime.clock import SystemClock
from stream_proxy.sources.alpaca import AlpacaSource
from stream_proxy.sources.connector import _Listener
from stream_proxy.state.last_values import LastValues
from stream_proxy.wire.alpaca.codec import MSGPACK, Codec, Splitter, WalkingSplitter
from stream_proxy.wire.alpaca.exchange_time import time_of_msgpack
from stream_proxy.wire.alpaca.merge import merge
from stream_proxy.wire.alpaca.walk import COMPILED
from stream_proxy.wire.grpc.data_frames import SharedDataFrames

HOT = (
    _Listener.on_ws_frame,
    _Listener._keep,
    _Listener._deliver,
    AlpacaSource.on_messages,
    FeedHandler.receive,
    FeedHandler._route,
    Splitter.split_all,
    Splitter.split,
    WalkingSplitter.split_all,
    Hub.publish,
    Hub._note_few,
    Hub._give_all,
    Hub._publish_transcoded,
    Hub._transcode,
    Hub._transcode_whole,
    Hub.flush,
    Hub.begin,
    Hub.end,
    Flow.route,
    Latency.observe,
    time_of_msgpack,
    Routes.count,
    Routes.everyone_of,
    Routes.targets,
    Group.take,
    Group.flush,
    WebSocketShape.whole,
    WebSocketShape.frames,
    GrpcShape.transcode,
    GrpcShape.transcode_whole,
    GrpcShape.frames,
    StreamWriter.write,
    SharedDataFrames.of,
    merge,
    LastValues.remember,
    Codec.join,
    Outbox.offer,
)


def handler(consumers: int, codec: str) -> FeedHandler:
    """A feed with so many consumers of one symbol each."""
    made = FeedHandler(FEEDS["sip"], MSGPACK, SystemClock())
    for number in range(consumers):
        outbox = Outbox(lambda frame: None, 1 << 30, 1 << 62, lambda: None)
        consumer = Consumer(str(number), outbox, shape_for("msgpack", codec), lambda t, code: None)
        made.join(consumer)
        made.subscribe(consumer, SubscriptionSet({"quotes": [f"S{number}"]}), lambda refusal: None)
        made.accept_unconfirmed(consumer)
    return made


def frame(messages: int, symbols: int) -> bytes:
    """A frame of quotes that goes round the symbols."""
    stamp = to_timestamp(1_680_782_066_838_232_225)
    return MSGPACK.join(
        [
            MSGPACK.encode(
                Quote(f"S{i % symbols}", "Q", 1.5, 100, "P", 1.6, 200, ["R"], "C", stamp)
            )
            for i in range(messages)
        ]
    )


def calls_of(made: FeedHandler, *payloads: bytes) -> Counter[str]:
    """How many Python and C functions the frames of one read call."""
    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        calls[event] += 1

    made.receive(payloads)  # the first frame fills the tables
    sys.setprofile(note)
    try:
        made.receive(payloads)
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("consumers", [1, 50])
def test_no_python_function_is_called_per_message(consumers: int) -> None:
    """Twice the messages, the same number of Python calls: all per-message work is in C."""
    made = handler(consumers, "msgpack")
    once, twice = calls_of(made, frame(500, consumers)), calls_of(made, frame(1000, consumers))
    assert once["call"] == twice["call"]


def test_c_calls_per_message() -> None:
    """Compiled, a batch is a fixed number of calls; interpreted, an append per delivery is left."""
    made = handler(10, "msgpack")
    once, twice = calls_of(made, frame(500, 10)), calls_of(made, frame(1000, 10))
    assert (twice["c_call"] - once["c_call"]) / 500 <= (0 if COMPILED else 3)


def test_objects_per_message() -> None:
    """When a batch is written, each message is one object: its item, shared by all who get it."""
    made = handler(10, "msgpack")
    alive: list[int] = []

    def write(data: bytes) -> None:
        alive.append(sys.getallocatedblocks())

    for consumer in made.consumers:
        consumer.outbox._write = write
    grown = []
    for messages in (1000, 2000):
        payload = frame(messages, 10)
        made.receive([payload])
        gc.collect()
        alive.clear()
        before = sys.getallocatedblocks()
        made.receive([payload])
        grown.append(alive[0] - before)
    # Interpreted, msgspec makes a head, a symbol and a raw item of each.
    assert (grown[1] - grown[0]) / 1000 <= (1.1 if COMPILED else 3.1)


def test_frames_of_one_read_cost_no_call_each() -> None:
    """Compiled, ten times the frames are no more calls."""
    made = handler(10, "msgpack")
    few, many = [frame(100, 10)] * 10, [frame(10, 10)] * 100
    calls = [calls_of(made, *frames)["call"] for frames in (few, many)]
    assert calls[1] - calls[0] <= (0 if COMPILED else 400)


class Counted(WebSocketShape):
    """A shape that counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__(MSGPACK, MSGPACK)
        self.asked: Counter[str] = Counter()

    def whole(self, payloads: Sequence[bytes]) -> list[bytes] | None:
        self.asked["whole"] += 1
        return super().whole(payloads)

    def frames(self, items: Sequence[Any]) -> list[bytes]:
        self.asked["frames"] += 1
        return super().frames(items)


@pytest.mark.parametrize(
    ("symbols", "expected"), [(["*"], {"whole": 1}), (["S1", "S2"], {"frames": 1})]
)
def test_a_frame_is_built_once_for_all_who_share_it(
    symbols: list[str], expected: dict[str, int]
) -> None:
    """A hundred like-minded consumers: one frame; for those of everything, of upstream's bytes."""
    made = FeedHandler(FEEDS["sip"], MSGPACK, SystemClock())
    shape, written = Counted(), []
    for _ in range(100):
        outbox = Outbox(written.append, 1 << 30, 1 << 62, lambda: None)
        made.hub.set_topics(outbox, shape, SubscriptionSet({"quotes": symbols}))
    made.receive([frame(50, 10), frame(50, 10)])
    assert shape.asked == expected
    assert len(written) == 100
    assert len(set(map(id, written))) == 1


def test_consumers_of_the_other_codec_keep_nobody_waiting() -> None:
    """A long batch is written to pass-through consumers before the first message is transcoded."""
    made = FeedHandler(FEEDS["sip"], MSGPACK, SystemClock())
    order: list[str] = []
    for codec in ("json", "msgpack"):
        outbox = Outbox(
            lambda data, codec=codec: order.append(codec), 1 << 30, 1 << 62, lambda: None
        )
        topics = SubscriptionSet({"quotes": ["S1"]})
        made.hub.set_topics(outbox, shape_for("msgpack", codec), topics)
    made.receive([frame(3000, 3)])
    assert order == ["msgpack", "json", "json", "json"]


def test_another_codec_costs_a_fixed_number_of_calls_per_message() -> None:
    """Transcoding is per message, whatever the number of consumers."""
    few, many = handler(1, "json"), handler(1, "json")
    for number in range(100):
        outbox = Outbox(lambda frame: None, 1 << 30, 1 << 62, lambda: None)
        consumer = Consumer(str(number), outbox, shape_for("msgpack", "json"), lambda t, c: None)
        many.join(consumer)
        many.subscribe(consumer, SubscriptionSet({"quotes": ["S0"]}), lambda refusal: None)
        many.accept_unconfirmed(consumer)
    batches = frame(500, 1), frame(1000, 1)
    grown = [
        (calls_of(made, batches[1])["call"] - calls_of(made, batches[0])["call"]) / 500
        for made in (few, many)
    ]
    # A garbage collection in between calls back whoever wants to hear of it.
    assert abs(grown[0] - grown[1]) < 0.05
    assert grown[1] <= 8.05


def test_nothing_is_left_behind_per_message() -> None:
    """A hundred more frames leave no more objects than one: no cache grows with traffic."""
    made, payload = handler(10, "msgpack"), frame(1000, 10)
    made.receive([payload])
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(100):
        made.receive([payload])
    gc.collect()
    assert sys.getallocatedblocks() - before < 500


def stalled(consumers: int, symbols: list[str]) -> tuple[FeedHandler, list[Outbox]]:
    """A feed with so many consumers whose sockets are full."""
    made = FeedHandler(FEEDS["sip"], MSGPACK, SystemClock())
    outboxes = []
    for number in range(consumers):
        outbox = Outbox(lambda frame: None, 1 << 30, 1 << 62, lambda: None)
        outbox.pause()
        topics = SubscriptionSet({"quotes": symbols or [f"S{number}"]})
        made.hub.set_topics(outbox, shape_for("msgpack", "msgpack"), topics)
        outboxes.append(outbox)
    return made, outboxes


@pytest.mark.parametrize("symbols", [["*"], []], ids=["alike", "each another"])
def test_what_waits_is_nothing_that_garbage_collection_walks_through(symbols: list[str]) -> None:
    """A thousand frames wait for each of fifty consumers; before, each was a tuple and a dict."""
    made, outboxes = stalled(50, symbols)
    payload = frame(50, 50)
    made.receive([payload])
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(1000):
        made.receive([payload])
    for _ in range(3):
        gc.collect()  # a tuple is let go once it is known what it holds
    assert all(outbox.statistics().queued_messages >= 1001 for outbox in outboxes)
    assert len(gc.get_objects()) - before < 200


def test_what_waits_for_all_alike_is_kept_once() -> None:
    grown = []
    for consumers in (1, 50):
        made, _ = stalled(consumers, ["*"])
        payload = frame(1, 1)
        made.receive([payload])
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(500):
            made.receive([payload])
        gc.collect()
        grown.append(sys.getallocatedblocks() - before)
    assert grown[1] - grown[0] < 49 * 500 / 10


def test_who_reads_is_served_before_anything_is_queued() -> None:
    """Whoever subscribed first: queueing for a hundred costs those who read no time."""
    made, outboxes = stalled(100, ["*"])
    waited: list[int] = []
    for symbol in ("S0", "*"):
        healthy = Outbox(
            lambda data: waited.append(sum(outbox.queued_bytes for outbox in outboxes)),
            1 << 30,
            1 << 62,
            lambda: None,
        )
        topics = SubscriptionSet({"quotes": [symbol]})
        made.hub.set_topics(healthy, shape_for("msgpack", "msgpack"), topics)
    made.receive([frame(1, 1)])
    assert waited == [0, 0]
    assert all(outbox.queued_bytes for outbox in outboxes)


CLOCK = {"now_ns", "monotonic_ns"}
READS = {FeedHandler.receive: 3}
"""How often a function looks at the clock: when a read begins, twice, and when all is written."""


def assert_plain(tree: ast.AST, reads: int = 0) -> None:
    """No await, no log line, no lock, no coroutine, and no look at a clock but those allowed."""
    looks = [node for node in ast.walk(tree) if getattr(node, "attr", "") in CLOCK]
    assert len(looks) == reads
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith | ast.Lambda)
        if isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            assert name not in {
                "_log",
                "log",
                "logging",
                "time",
                "lock",
                "create_task",
                "call_soon",
                "call_later",
            }, name


@pytest.mark.parametrize("function", HOT, ids=lambda f: f.__qualname__)
def test_forbidden_words(function: Any) -> None:
    """The functions of the hot path do nothing but their work."""
    assert not inspect.iscoroutinefunction(function)
    assert_plain(ast.parse(textwrap.dedent(inspect.getsource(function))), READS.get(function, 0))


@pytest.mark.parametrize(
    "module", ["hub/distribute.py", "wire/alpaca/walk.py", "wire/grpc/transcode.py"]
)
def test_forbidden_words_in_compiled_modules(module: str) -> None:
    """Whole files, since a compiled function has no source."""
    assert_plain(ast.parse(Path(stream_proxy.__path__[0], module).read_text()))
