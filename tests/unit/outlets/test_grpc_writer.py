"""The way out of a gRPC call against a real HTTP/2 client: any windows, any pauses, every byte.

hyper-h2 is at both ends, joined in memory. The client's end counts the windows that it gave, and
fails on the first byte too many.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from grpclib.config import Configuration
from grpclib.protocol import AbstractHandler, Connection, EventsProcessor, Stream
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, TrailersReceived
from h2.exceptions import FlowControlError
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_proxy.hub.hub import Hub
from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.outlets.grpc.shapes import GrpcShape
from stream_proxy.outlets.grpc.writer import StreamWriter
from stream_proxy.wire.alpaca.codec import MSGPACK
from stream_proxy.wire.grpc.boundaries import count_messages
from stream_proxy.wire.grpc.data_frames import (
    SharedDataFrames,
    data_frames,
    whole_messages,
)
from stream_proxy.wire.grpc.framing import grpc_message

NEVER_NS = 1 << 62
REQUEST = [
    (":method", "POST"),
    (":path", "/test"),
    (":scheme", "http"),
    (":authority", "test"),
    ("te", "trailers"),
]


class Wire(asyncio.Transport):
    """What is written is heard at the other end at once."""

    def __init__(self) -> None:
        super().__init__()
        self.hear: Callable[[bytes], None] = lambda _: None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.hear(bytes(data))

    def is_closing(self) -> bool:
        return False


class Accepting(AbstractHandler):
    def __init__(self) -> None:
        self.streams: list[Stream] = []

    def accept(self, stream: Stream, headers: Any, release_stream: Callable[[], None]) -> None:
        self.streams.append(stream)

    def cancel(self, stream: Stream) -> None:
        raise AssertionError("nobody resets")

    def close(self) -> None:
        raise AssertionError("nobody closes")


class Client:
    """Reads frames into its calls; gives windows back when it is told to."""

    def __init__(self, window: int, most: int) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=True))
        self.h2.initiate_connection()
        self.set(INITIAL_WINDOW_SIZE=window, MAX_FRAME_SIZE=most)
        self.got: dict[int, bytearray] = {}
        self.ended: set[int] = set()
        self._unread: dict[int, int] = {}

    def set(self, **values: int) -> None:
        self.h2.update_settings({SettingCodes[name]: value for name, value in values.items()})

    def hear(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            if isinstance(event, DataReceived):
                assert event.data is not None
                self.got.setdefault(event.stream_id, bytearray()).extend(event.data)
                unread = self._unread.get(event.stream_id, 0)
                self._unread[event.stream_id] = unread + event.flow_controlled_length
            elif isinstance(event, TrailersReceived):
                self.ended.add(event.stream_id)

    def read(self, most: int = 1 << 30) -> bool:
        """Take so many bytes of each call; whether there was anything."""
        took = False
        for stream_id, unread in self._unread.items():
            size = min(most, unread)
            self._unread[stream_id] -= size
            if size:
                self.h2.acknowledge_received_data(size, stream_id)
                took = True
        return took


class Rig:
    """A server's connection with some calls, each written by a `StreamWriter`."""

    def __init__(self, calls: int = 1, *, window: int = 65_535, most: int = 16_384) -> None:
        self.wire = Wire()
        self.client = Client(window, most)
        self.server = H2Connection(H2Configuration(client_side=False, header_encoding="ascii"))
        self.server.initiate_connection()
        self.connection = Connection(
            self.server, self.wire, config=Configuration().__for_server__()
        )
        self.handler = Accepting()
        self.processor = EventsProcessor(self.handler, self.connection)
        self.wire.hear = self.client.hear
        for number in range(calls):
            self.client.h2.send_headers(1 + 2 * number, REQUEST)
        self.answer()
        shared = SharedDataFrames()
        self.overflows = 0
        self.drained = 0
        self.writers = [
            StreamWriter(s, shared, 1 << 30, NEVER_NS, self._overflow, self._drained)
            for s in self.handler.streams
        ]
        self.sent = {stream_id: bytearray() for stream_id in self.ids}
        self.runs: list[asyncio.Task[None]] = []

    def _overflow(self) -> None:
        self.overflows += 1

    def _drained(self) -> None:
        self.drained += 1

    @property
    def ids(self) -> list[int]:
        return [1 + 2 * number for number in range(len(self.writers))]

    def answer(self) -> None:
        """Let both ends hear what the other has to say."""
        while data := self.client.h2.data_to_send():
            for event in self.connection.feed(data):
                self.processor.process(event)
            self.connection.flush()

    async def begin(self) -> None:
        """Send the headers of all calls, and let their writers run."""
        for stream, writer in zip(self.handler.streams, self.writers, strict=True):
            await stream.send_headers([(":status", "200")])
            self.runs.append(asyncio.create_task(writer.run()))
        await self.settle()

    async def settle(self) -> None:
        """Return when every writer has done what it can."""
        for _ in range(12):
            await asyncio.sleep(0)
            self.answer()

    def offer(self, payload: bytes, calls: int = 1 << 30) -> None:
        """Hand the same payload to the first calls, as a flush does."""
        for stream_id, writer in list(zip(self.ids, self.writers, strict=True))[:calls]:
            writer.outbox.offer([payload], count_messages(payload))
            self.sent[stream_id] += payload

    async def finish(self) -> None:
        """Let the client read until nothing more comes."""
        self.connection.resume_writing()
        await self.settle()
        while self.client.read():
            await self.settle()

    async def close(self) -> None:
        for writer in self.writers:
            writer.end(None)
        await asyncio.gather(*self.runs)


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


def batch(*sizes: int) -> bytes:
    """Messages with bodies of these sizes; each begins with its place, so that order shows."""
    return b"".join(
        grpc_message((index.to_bytes(4, "big") * (size // 4 + 1))[:size])
        for index, size in enumerate(sizes)
    )


SMALL = st.lists(st.integers(0, 400), min_size=1, max_size=30)
LARGE = st.lists(st.integers(0, 60_000), min_size=1, max_size=4)


@dataclass(frozen=True)
class Act:
    """One thing that happens, with a number that says how much."""

    what: str
    much: int = 0
    sizes: list[int] = field(default_factory=list)


ACTS = st.lists(
    st.one_of(
        st.builds(lambda sizes: Act("offer", sizes=sizes), st.one_of(SMALL, SMALL, LARGE)),
        st.builds(lambda sizes: Act("offer first", sizes=sizes), SMALL),
        st.builds(lambda much: Act("read", much), st.integers(1, 40_000)),
        st.builds(lambda much: Act("window", much), st.integers(0, 90_000)),
        st.builds(lambda much: Act("frame", much), st.integers(16_384, 40_000)),
        st.sampled_from([Act("pause"), Act("resume"), Act("settle")]),
    ),
    max_size=25,
)


async def happens(rig: Rig, act: Act) -> None:
    match act.what:
        case "offer":
            rig.offer(batch(*act.sizes))
        case "offer first":
            rig.offer(batch(*act.sizes), calls=1)
        case "read":
            rig.client.read(act.much)
        case "window":
            rig.client.set(INITIAL_WINDOW_SIZE=act.much)
        case "frame":
            rig.client.set(MAX_FRAME_SIZE=act.much)
        case "pause":
            rig.connection.pause_writing()
        case "resume":
            rig.connection.resume_writing()
    if act.what != "offer":  # several may come before anybody else has a turn
        await rig.settle()


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 3), st.integers(0, 90_000), st.integers(16_384, 40_000), ACTS)
def test_every_byte_arrives_in_order_and_in_the_windows(
    calls: int, window: int, most: int, acts: list[Act]
) -> None:
    """The client's h2 raises at the first byte beyond a window or frame beyond its bound."""

    async def scene() -> None:
        rig = Rig(calls, window=window, most=most)
        await rig.begin()
        for act in acts:
            await happens(rig, act)
        rig.client.set(INITIAL_WINDOW_SIZE=65_535)
        await rig.finish()
        for stream_id in rig.ids:
            assert rig.client.got.get(stream_id, b"") == rig.sent[stream_id]
        for writer in rig.writers:
            assert not writer.outbox.paused
            assert not writer.unsent_bytes
            assert not writer.outbox.queued_bytes
        await rig.close()

    run(scene())


@settings(max_examples=100, deadline=None)
@given(st.integers(1_700, 6_000), st.lists(st.one_of(SMALL, st.integers(1, 3_000)), max_size=30))
def test_a_cut_call_ends_between_two_messages(
    window: int, happenings: list[list[int] | int]
) -> None:
    """At any moment what the client has is whole, as long as four messages fit the window."""

    async def scene() -> None:
        rig = Rig(window=window)
        await rig.begin()
        for happening in happenings:
            if isinstance(happening, int):
                rig.client.read(happening)
            else:
                rig.offer(batch(*happening))
            await rig.settle()
            got = bytes(rig.client.got.get(1, b""))
            assert whole_messages(got, len(got)) == len(got)
        await rig.close()

    run(scene())


async def test_a_message_larger_than_any_window_comes_in_parts() -> None:
    rig = Rig(window=1000)
    await rig.begin()
    rig.offer(batch(10, 200_000, 10))
    await rig.settle()
    assert len(rig.client.got[1]) == 1000
    await rig.finish()
    assert rig.client.got[1] == batch(10, 200_000, 10)
    await rig.close()


async def test_no_window_no_bytes_until_there_is_one() -> None:
    rig = Rig(window=0)
    await rig.begin()
    rig.offer(batch(20))
    await rig.settle()
    assert 1 not in rig.client.got
    assert rig.writers[0].outbox.paused
    rig.client.set(INITIAL_WINDOW_SIZE=100)
    await rig.settle()
    assert rig.client.got[1] == batch(20)
    assert not rig.writers[0].outbox.paused
    assert rig.drained
    await rig.close()


async def test_what_the_writer_keeps_counts_against_the_bound() -> None:
    """The outbox and the payload that left it hold no more than the bound together."""
    rig = Rig(window=0)
    writer = rig.writers[0]
    writer.outbox.max_bytes = 1000
    await rig.begin()
    rig.offer(batch(595))  # 600 with its prefix: kept by the writer
    rig.offer(batch(395))
    assert writer.outbox.queued_bytes == 1000
    assert not rig.overflows
    rig.offer(batch(0))
    assert rig.overflows == 1
    await rig.close()


async def test_an_error_ends_a_writer_however_it_waits() -> None:
    """For a window, for the socket, or for nothing at all."""
    for window, pause in ((0, False), (65_535, True), (65_535, False)):
        rig = Rig(window=window)
        await rig.begin()
        if pause:
            rig.connection.pause_writing()
        rig.offer(batch(20))
        await rig.settle()
        rig.writers[0].end(LookupError("why"))
        with pytest.raises(LookupError, match="why"):
            await asyncio.wait_for(rig.runs[0], 5)


async def test_nothing_goes_out_before_the_headers() -> None:
    rig = Rig()
    rig.offer(batch(20))
    await rig.settle()
    assert not rig.client.got
    await rig.begin()
    assert rig.client.got[1] == batch(20)
    await rig.close()


def test_a_payload_is_framed_once_for_all_who_share_it() -> None:
    shared = SharedDataFrames()
    payload = batch(300, 300)
    first = shared.of(payload, 1, 16_384)
    assert shared.of(payload, 1, 16_384) is first
    assert shared.of(payload, 3, 16_384) == data_frames(payload, 3, 16_384) != first
    other = bytes(bytearray(payload))
    assert shared.of(other, 1, 16_384) is not first


def test_a_client_would_notice_a_byte_too_many() -> None:
    """The judge of the tests above is awake."""
    client = Client(100, 16_384)
    client.h2.send_headers(1, REQUEST)
    server = H2Connection(H2Configuration(client_side=False))
    server.initiate_connection()
    server.receive_data(client.h2.data_to_send())
    server.send_headers(1, [(":status", "200")])
    client.hear(server.data_to_send())
    with pytest.raises(FlowControlError):
        client.hear(data_frames(bytes(101), 1, 16_384))


async def test_what_the_writer_keeps_is_not_delivered_yet() -> None:
    """Counts, age and bytes tell of a peer that gives no window, and are put right afterwards."""
    rig = Rig(window=0)
    writer = rig.writers[0]
    hub = Hub(FEEDS["sip"].types)
    shape = GrpcShape("StreamQuotes", MSGPACK, "epoch", "test")
    hub.set_topics(writer.outbox, shape, SubscriptionSet({"quotes": ["*"]}))
    await rig.begin()
    flow = hub.flows["grpc"]
    for messages in (3, 2):
        flow.route({"q": messages}, 1)
        rig.offer(batch(*[20] * messages))
    assert flow.delivered() == {"q": 0}
    assert flow.waiting() == {"q": 5}
    assert writer.outbox.statistics().messages == 0
    assert writer.outbox.queued_bytes == 125
    rig.client.set(INITIAL_WINDOW_SIZE=65_535)
    await rig.finish()
    assert flow.delivered() == {"q": 5}
    assert flow.waiting() == {"q": 0}
    assert writer.outbox.statistics().messages == 5
    await rig.close()


async def test_what_the_writer_keeps_is_dropped_with_its_call() -> None:
    """And cut for its age, like all that waits."""
    rig = Rig(window=0)
    writer = rig.writers[0]
    hub = Hub(FEEDS["sip"].types)
    shape = GrpcShape("StreamQuotes", MSGPACK, "epoch", "test")
    hub.set_topics(writer.outbox, shape, SubscriptionSet({"quotes": ["*"]}))
    await rig.begin()
    flow = hub.flows["grpc"]
    flow.route({"q": 3}, 1)
    rig.offer(batch(20, 20, 20))
    writer._held_since_ns -= 1 << 62
    writer.tick(asyncio.get_running_loop().time())
    assert rig.overflows == 1
    writer.close()
    assert flow.dropped == {"q": 3}
    assert flow.waiting() == {"q": 0}
    assert flow.delivered() == {"q": 0}
    await rig.close()
