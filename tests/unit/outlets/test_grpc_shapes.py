"""What gRPC consumers get of a batch, by whichever way the hub takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from stream_proxy.feed.consumer import Consumer
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.hub.outbox import Outbox
from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.outlets.grpc.shapes import GrpcShape
from stream_proxy.outlets.shapes import shape_for
from stream_proxy.runtime.clock import SystemClock
from stream_proxy.wire.alpaca.codec import JSON, MSGPACK, Codec
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb
from stream_proxy.wire.grpc.boundaries import PREFIX_BYTES, whole_bytes
from stream_proxy.wire.grpc.data_frames import message_bytes

SYMBOLS = ["A", "B", "C", "D"]


class Scene:
    """A feed of quotes and trades, with consumers that keep what they get."""

    def __init__(self, codec: Codec = MSGPACK) -> None:
        self.codec = codec
        self.handler = FeedHandler(FEEDS["sip"], codec, SystemClock(), epoch="e")
        self.shape = GrpcShape("StreamQuotes", codec, "e", "alpaca")
        self.got: list[list[bytes]] = []

    def join(self, *symbols: str, shape: Any = None) -> Outbox:
        got: list[bytes] = []
        self.got.append(got)
        outbox = Outbox(got.append, 1 << 30, 1 << 62, lambda: None)
        consumer = Consumer(
            str(len(self.got)), outbox, shape or self.shape, lambda topics, code: None
        )
        self.handler.join(consumer)
        topics = SubscriptionSet({"quotes": list(symbols)})
        self.handler.subscribe(consumer, topics, lambda refusal: None)
        self.handler.accept_unconfirmed(consumer)
        return outbox

    def receive(self, messages: list[dict[str, Any]]) -> None:
        self.handler.receive([self.codec.encode(messages)])

    def responses(self, consumer: int) -> Iterator[pb.StreamQuotesResponse]:
        data = b"".join(self.got[consumer])
        assert whole_bytes(data) == len(data)
        at = 0
        while at < len(data):
            end = at + message_bytes(data, at)
            yield pb.StreamQuotesResponse.FromString(data[at + PREFIX_BYTES : end])
            at = end

    def seen(self, consumer: int) -> list[tuple[int, str, int]]:
        """Sequence, symbol and size of each."""
        return [(r.sequence, r.quote.symbol, r.quote.bid_size) for r in self.responses(consumer)]


def mixed(many: int) -> list[dict[str, Any]]:
    """Quotes with a trade after every third, and now and then one that the contract can't say."""
    made: list[dict[str, Any]] = []
    for number in range(many):
        symbol = SYMBOLS[number % 4]
        if number % 4 == 3:
            made.append({"T": "t", "S": symbol, "p": 1.5, "s": number})
        else:
            size: Any = "no number" if number % 50 == 12 else number
            made.append({"T": "q", "S": symbol, "bs": size})
    return made


def expected(messages: list[dict[str, Any]], *symbols: str) -> list[tuple[int, str, int]]:
    return [
        (number, message["S"], message["bs"])
        for number, message in enumerate(messages, 1)
        if message["T"] == "q"
        and isinstance(message["bs"], int)
        and (not symbols or message["S"] in symbols)
    ]


@pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=lambda codec: codec.name)
@pytest.mark.parametrize("many", [1, 40, 2500])
@pytest.mark.parametrize("named", [False, True], ids=["all get all", "some want a part"])
def test_each_gets_what_it_asked_for_in_order(named: bool, many: int, codec: Codec) -> None:
    """In one piece where all want all, one by one otherwise: the same messages."""
    scene = Scene(codec)
    scene.join("*")
    scene.join("*")
    if named:
        scene.join("A", "C")
    messages = mixed(many)
    scene.receive(messages)
    assert scene.seen(0) == scene.seen(1) == expected(messages)
    if named:
        assert scene.seen(2) == expected(messages, "A", "C")


@pytest.mark.parametrize("named", [False, True], ids=["all get all", "some want a part"])
def test_what_cant_be_said_is_counted_for_each(named: bool) -> None:
    scene = Scene()
    outboxes = [scene.join("*"), scene.join("*")]
    if named:
        outboxes.append(scene.join("A"))
    messages = mixed(400)
    quotes = [message for message in messages if message["T"] == "q"]
    lost = [message for message in quotes if not isinstance(message["bs"], int)]
    scene.receive(messages)
    members = 2 * len(lost) + named * len([one for one in lost if one["S"] == "A"])
    assert lost
    assert scene.handler.hub.not_transcodable == len(lost)
    assert scene.handler.hub.dropped()["grpc", "q"] == members
    delivered = sum(len(scene.seen(number)) for number in range(len(outboxes)))
    assert scene.handler.hub.delivered()["grpc", "q"] == delivered
    assert sum(outbox.messages for outbox in outboxes) == delivered


def test_what_waits_for_a_slow_consumer_is_counted_by_messages() -> None:
    scene = Scene()
    outbox = scene.join("*")
    outbox.pause()
    messages = mixed(60)
    scene.receive(messages)
    assert scene.handler.hub.waiting()["grpc", "q"] == len(expected(messages))
    assert scene.shape.classify(scene.shape.frames([])) == {"q": 0}
    outbox.resume()
    assert scene.handler.hub.waiting()["grpc", "q"] == 0
    assert scene.seen(0) == expected(messages)


def test_quick_shapes_come_before_slow_ones() -> None:
    """Nobody who is served from bytes waits for JSON to be made."""
    scene = Scene()
    scene.shape.at_once = 10_000  # as it is where protobuf is made of bytes
    order: list[str] = []
    for shape in (shape_for("msgpack", "json"), scene.shape, shape_for("msgpack", "msgpack")):
        outbox = scene.join("*", shape=shape)
        outbox._write = lambda data, name=type(shape).__name__ + str(shape.transcode is None): (
            order.append(name)
        )
    scene.receive([one for one in mixed(2500) if one.get("bs") != "no number"])
    assert order == ["WebSocketShapeTrue", "GrpcShapeFalse", *["WebSocketShapeFalse"] * 3]
