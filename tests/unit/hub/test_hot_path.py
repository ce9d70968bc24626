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
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import stream_proxy
from stream_proxy.feed.consumer import Consumer
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.hub.hub import Group, Hub
from stream_proxy.hub.outbox import Outbox
from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.messages import Quote
from stream_proxy.model.time import to_timestamp
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.outlets.shapes import WebSocketShape, shape_for
from stream_proxy.runtime.clock import SystemClock
from stream_proxy.sources.alpaca import AlpacaSource
from stream_proxy.state.last_values import LastValues
from stream_proxy.wire.alpaca.codec import MSGPACK, Codec, Splitter

HOT = (
    AlpacaSource.on_messages,
    FeedHandler.receive,
    FeedHandler._route,
    Hub.publish,
    Hub.flush,
    Group.flush,
    Group.take,
    Outbox.offer,
    WebSocketShape.frames,
    LastValues.remember,
    Codec.join,
    Splitter.split,
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


def calls_of(made: FeedHandler, payload: bytes) -> Counter[str]:
    """How many Python and C functions one frame calls."""
    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        calls[event] += 1

    made.receive([payload])  # the first frame fills the tables
    sys.setprofile(note)
    try:
        made.receive([payload])
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
    """Two look-ups, one append, one note of what was touched: four calls per message, no more."""
    made = handler(10, "msgpack")
    once, twice = calls_of(made, frame(500, 10)), calls_of(made, frame(1000, 10))
    assert (twice["c_call"] - once["c_call"]) / 500 <= 6


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
    assert grown[0] == grown[1] <= 8


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


def assert_plain(tree: ast.AST) -> None:
    """No await, no log line, no clock, no lock, no coroutine."""
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith | ast.Lambda)
        if isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            assert name not in {
                "_log",
                "log",
                "logging",
                "time",
                "now_ns",
                "monotonic_ns",
                "lock",
                "create_task",
                "call_soon",
                "call_later",
            }, name


@pytest.mark.parametrize("function", HOT, ids=lambda f: f.__qualname__)
def test_forbidden_words(function: Any) -> None:
    """The functions of the hot path do nothing but their work."""
    assert not inspect.iscoroutinefunction(function)
    assert_plain(ast.parse(textwrap.dedent(inspect.getsource(function))))


@pytest.mark.parametrize("module", ["hub/distribute.py", "wire/alpaca/walk.py"])
def test_forbidden_words_in_compiled_modules(module: str) -> None:
    """Whole files, since a compiled function has no source."""
    assert_plain(ast.parse(Path(stream_proxy.__path__[0], module).read_text()))
