"""A consumer that reads too slowly, in a world whose time jumps: what it gets by its policy.

Whatever happens: all but quotes and order books is complete and in order, the last value arrives,
everything is accounted for, and others get what they would get without it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation.virtual_time import VirtualClock, VirtualLoop
from stream_proxy.feed.consumer import Consumer
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.hub.outbox import Outbox
from stream_proxy.hub.routes import Shape
from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.slow_policy import read_slow_policy
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.outlets.continuity import PositionedShape
from stream_proxy.outlets.shapes import shape_for
from stream_proxy.outlets.slow import LagReport, SlowConsumer
from stream_proxy.wire.alpaca.codec import CODECS, MSGPACK
from stream_proxy.wire.websocket import payload_start

KINDS = {"t": "trades", "q": "quotes", "b": "bars", "s": "statuses"}
SYMBOLS = ("A", "B", "C")
HIGH_WATER, LOW_WATER = 600, 150
T = TypeVar("T")
BOUND, AGE_SECONDS = 1 << 20, 20


@dataclass
class Reader:
    """A consumer behind a socket that holds little and is emptied at some speed."""

    handler: FeedHandler
    loop: asyncio.AbstractEventLoop
    shape: Shape
    policy: str
    speed: float = 1e9
    """Bytes a second."""
    buffered: list[bytes] = field(default_factory=list)
    got: list[dict[str, Any]] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)
    told: list[LagReport] = field(default_factory=list)
    cut: bool = False
    most_waiting: int = 0

    def __post_init__(self) -> None:
        self.outbox = Outbox(self._write, BOUND, int(AGE_SECONDS * 1e9), self._overflow)
        self.consumer = Consumer("reader", self.outbox, self.shape, lambda topics, code: None)
        self.handler.join(self.consumer)
        self.slow = SlowConsumer(
            read_slow_policy(self.policy), self.handler, self.consumer, self.told.append
        )
        self._reading = False

    def subscribe(self, *channels: str) -> None:
        self.handler.subscribe(
            self.consumer, SubscriptionSet({c: ["*"] for c in channels}), lambda refusal: None
        )
        self.handler.accept_unconfirmed(self.consumer)

    def _overflow(self) -> None:
        self.cut = True

    def _write(self, frame: bytes) -> None:
        self.buffered.append(frame)
        if sum(map(len, self.buffered)) > HIGH_WATER:
            self.outbox.pause()
        self.read_on()

    def read_on(self) -> None:
        if not self._reading and self.buffered and self.speed:
            self._reading = True
            self.loop.call_later(len(self.buffered[0]) / self.speed, self._read)

    def _read(self) -> None:
        self._reading = False
        frame = self.buffered.pop(0)
        self.frames.append(frame)
        self.got += decoded(frame)
        self.most_waiting = max(self.most_waiting, self.outbox.queued_bytes)
        if self.outbox.paused and sum(map(len, self.buffered)) < LOW_WATER:
            self.outbox.resume(int(self.loop.time() * 1e9))
        self.read_on()

    def made_of(self, message: dict[str, Any]) -> list[bytes]:
        """Frames as this reader gets them while it keeps up."""
        shape, item = self.shape, MSGPACK.encode(message)
        if isinstance(shape, PositionedShape):
            [made] = shape.translated([item])
            return shape.frames_until([made], message["i"])
        made = item if shape.transcode is None else shape.transcode([item], [0], 0)[0]
        return shape.frames([made])

    def data(self, kinds: str = "tqbsou") -> list[dict[str, Any]]:
        return [message for message in self.got if message["T"] in kinds]


def decoded(frame: bytes) -> list[dict[str, Any]]:
    codec = CODECS["msgpack" if frame[0] & 15 == 2 else "json"]
    return list(codec.decode(frame[payload_start(frame) :]))


def virtually(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


class World:
    """A feed of numbered messages and its readers."""

    def __init__(self, feed: str = "sip", **settings: Any) -> None:
        self.loop = asyncio.get_running_loop()
        clock = VirtualClock(self.loop)
        self.handler = FeedHandler(FEEDS[feed], MSGPACK, clock, epoch="e", **settings)
        self.sent: list[dict[str, Any]] = []

    def reader(self, policy: str, codec: str = "msgpack", *, positions: bool = False) -> Reader:
        shape = PositionedShape(MSGPACK, CODECS[codec], "e") if positions else None
        return Reader(self.handler, self.loop, shape or shape_for("msgpack", codec), policy)

    def hand_out(self, *readers: Reader) -> None:
        """One message beside the hub, in finished frames, as what was missed comes."""
        self.sent.append({"T": "u", "S": "A", "i": len(self.sent) + 1})
        self.handler.sequence += 1
        for reader in readers:
            frames = reader.made_of(self.sent[-1])
            meter = reader.outbox.meter = self.handler.hub.meter(reader.shape)
            meter.flow.aside({"u": 1})
            reader.outbox.offer(frames, 1)

    def feed(self, pairs: list[tuple[str, str]], **more: Any) -> None:
        batch = []
        for kind, symbol in pairs:
            batch.append({"T": kind, "S": symbol, "i": len(self.sent) + 1, **more})
            self.sent.append(batch[-1])
        self.handler.receive([MSGPACK.encode(batch)])


def check(world: World, reader: Reader) -> None:
    """What must hold of a reader that conflates, once it has read everything."""
    got = reader.data()
    for kind in "tbsu":
        assert [m for m in got if m["T"] == kind] == [m for m in world.sent if m["T"] == kind]
    others = [m for m in got if m["T"] != "q"]
    assert others == sorted(others, key=lambda message: message["i"])
    for symbol in SYMBOLS:
        mine = [m["i"] for m in got if m["S"] == symbol]
        assert mine == sorted(set(mine))
        quotes = [m["i"] for m in world.sent if (m["T"], m["S"]) == ("q", symbol)]
        assert not quotes or quotes[-1] in mine
        for index, number in enumerate(mine):
            if number not in quotes:
                newest = [q for q in quotes if q < number][-1:]
                assert all(q in mine[:index] for q in newest)


def check_flow(world: World, *readers: Reader) -> None:
    """I13: nothing is unaccounted for."""
    flow = world.handler.hub.flows["websocket"]
    received = Counter(m["T"] for m in world.sent)
    offered = Counter({kind: number * len(readers) for kind, number in received.items()})
    parts = [flow.delivered(), flow.filtered(), flow.conflated, flow.dropped, flow.waiting()]
    total: Counter[str] = sum(map(Counter, parts), Counter())
    assert total == offered
    in_sockets = [message for r in readers for frame in r.buffered for message in decoded(frame)]
    assert flow.delivered() == Counter(
        message["T"] for message in (*in_sockets, *(m for r in readers for m in r.data()))
    )
    assert sum(flow.waiting().values()) == sum(
        r.outbox.statistics().queued_messages for r in readers
    )
    assert sum(flow.conflated.values()) == sum(r.outbox.merged_messages for r in readers)


batches = st.lists(
    st.tuples(st.sampled_from("tqqqqbs"), st.sampled_from(SYMBOLS)), min_size=1, max_size=40
)
scripts = st.lists(
    st.one_of(
        st.tuples(st.just("feed"), batches),
        st.tuples(st.just("speed"), st.sampled_from([0.0, 500.0, 5_000.0, 1e9])),
        st.tuples(st.just("rest"), st.sampled_from([0.01, 0.15, 1.5])),
        st.tuples(st.just("hand out"), st.none()),
    ),
    min_size=3,
    max_size=25,
)


async def act(
    world: World, reader: Reader | None, script: list[tuple[str, Any]], *others: Reader
) -> None:
    """Stop reading, until that makes a difference, and go on by the script."""
    if reader is not None:
        reader.speed = 0
    world.feed([("q", "A")] * 60)
    world.feed([("t", "A")])
    await asyncio.sleep(0.15)
    for action, how in script:
        if action == "feed":
            world.feed(how)
        elif action == "hand out":
            world.hand_out(*others, *([reader] if reader is not None else []))
        elif action == "speed" and reader is not None:
            reader.speed = how
            reader.read_on()
        elif action == "rest":
            await asyncio.sleep(how)
    if reader is not None:
        reader.speed = 1e9
        reader.read_on()
    await asyncio.sleep(70)


@settings(max_examples=60, deadline=None)
@given(scripts, st.sampled_from(["conflate", "sample=100"]), st.sampled_from(["msgpack", "json"]))
def test_whatever_happens(script: list[tuple[str, Any]], policy: str, codec: str) -> None:
    """All but quotes is complete and in order, the last value right, and everything accounted for."""

    async def main() -> None:
        world = World()
        reader, healthy = world.reader(policy, codec), world.reader("disconnect", codec)
        for one in (reader, healthy):
            one.subscribe(*KINDS.values())
        await act(world, reader, script, healthy)
        assert not reader.cut
        check(world, reader)
        check_flow(world, reader, healthy)
        assert healthy.data() == world.sent
        assert (reader.slow.state, reader.outbox.queued_bytes) == ("live", 0)
        if policy == "conflate":
            assert reader.consumer.shape is healthy.consumer.shape, "it is one of them again"

    virtually(main())


@settings(max_examples=30, deadline=None)
@given(scripts, st.sampled_from(["conflate", "sample=100", "bars", "disconnect"]))
def test_others_get_the_same_bytes_with_it_and_without(
    script: list[tuple[str, Any]], policy: str
) -> None:
    def frames(with_slow: bool) -> list[bytes]:
        async def main() -> list[bytes]:
            world = World()
            healthy = world.reader("disconnect")
            healthy.subscribe("trades", "quotes")
            slow = world.reader(policy) if with_slow else None
            if slow is not None:
                slow.subscribe("trades", "quotes")
            await act(world, slow, script, healthy)
            return healthy.frames

        return virtually(main())

    assert frames(True) == frames(False)


@settings(max_examples=40, deadline=None)
@given(scripts, st.sampled_from(["conflate", "sample=100"]), st.sampled_from(["msgpack", "json"]))
def test_a_position_is_never_ahead(script: list[tuple[str, Any]], policy: str, codec: str) -> None:
    """Whatever it has resumed behind: what is up to there was sent, or something newer for it."""

    async def main() -> None:
        world = World()
        reader = world.reader(policy, codec, positions=True)
        reader.subscribe(*KINDS.values())
        await act(world, reader, script)
        numbers = {(m["T"], m["S"], m["i"]) for m in reader.data()}
        sent: set[int] = set()
        newest: dict[str, int] = {}
        position = 0
        for message in reader.got:
            if message["T"] != "position":
                sent.add(message["i"])
                if message["T"] == "q":
                    newest[message["S"]] = message["i"]
                continue
            assert message["sequence"] >= position
            for one in world.sent[position : message["sequence"]]:
                stood_for = one["T"] == "q" and newest.get(one["S"], 0) > one["i"]
                assert one["i"] in sent or stood_for
            position = message["sequence"]
        assert len(numbers) == len(reader.data()), "nothing comes twice"
        if world.sent:
            assert position == len(world.sent)

    virtually(main())


def told(reader: Reader) -> list[str]:
    """The states it was told, without what is told again."""
    states = [report.state for report in reader.told]
    return [one for i, one in enumerate(states) if i == 0 or states[i - 1] != one]


def test_it_is_told_and_comes_back() -> None:
    async def main() -> None:
        world = World()
        reader = world.reader("conflate")
        reader.subscribe("trades", "quotes")
        reader.speed = 0
        for _ in range(50):
            world.feed([("q", "A"), ("q", "B")] * 10)
            await asyncio.sleep(0.02)
        assert told(reader) == ["conflating"]
        assert reader.slow.state == "conflating"
        assert reader.most_waiting == 0 < reader.outbox.queued_bytes < 20_000
        reader.speed = 1e6
        reader.read_on()
        await asyncio.sleep(0.5)
        assert reader.data()[-1]["i"] == len(world.sent)
        world.feed([("q", "A")])
        await asyncio.sleep(2)
        assert told(reader) == ["conflating", "live"]
        last = reader.told[-1]
        assert last.merged == reader.outbox.merged_messages > 500
        assert 500 < last.oldest_ms < 1100
        assert len(reader.data()) + last.merged == len(world.sent)

    virtually(main())


def test_bars_only() -> None:
    """While it is behind neither trades nor quotes, and it is told how many that were."""

    async def main() -> None:
        world = World()
        reader = world.reader("bars")
        reader.subscribe(*KINDS.values())
        reader.speed = 0
        for _ in range(30):
            world.feed([("q", "A"), ("t", "A"), ("b", "A"), ("s", "B")])
            await asyncio.sleep(0.05)
        assert reader.slow.state == "bars_only"
        reader.speed = 1e6
        reader.read_on()
        await asyncio.sleep(3)
        world.feed([("t", "A"), ("q", "A")])
        await asyncio.sleep(1)
        assert told(reader) == ["bars_only", "live"]
        assert [m for m in reader.data() if m["T"] in "bs"] == [
            m for m in world.sent if m["T"] in "bs"
        ]
        left_out = reader.told[-1].left_out
        assert left_out == len(world.sent) - len(reader.data()) > 30
        assert reader.data()[-2:] == world.sent[-2:]
        check_flow(world, reader)

    virtually(main())


def test_sampling_while_all_is_well() -> None:
    """One quote of a symbol in that time, the first at once, the last always; trades at once."""

    async def main() -> None:
        world = World()
        reader = world.reader("sample=100")
        reader.subscribe("trades", "quotes")
        arrived: list[tuple[float, int]] = []
        for step in range(1000):
            world.feed([("q", "A")])
            await asyncio.sleep(0.001)
            arrived += [(world.loop.time(), m["i"]) for m in reader.data()[len(arrived) :]]
            assert step > 0 or arrived, "the first is not held back"
        assert 10 <= len(arrived) <= 11
        await asyncio.sleep(0.2)
        assert reader.data()[-1]["i"] == len(world.sent)
        world.feed([("t", "A")])
        await asyncio.sleep(0.001)
        assert reader.data()[-1]["T"] == "t"
        assert reader.told == []
        check_flow(world, reader)

    virtually(main())


@pytest.mark.parametrize("policy", ["disconnect", "conflate", "bars"])
def test_warned_and_then_cut(policy: str) -> None:
    """One that reads nothing at all, by age; one that could read is cleared."""

    async def main() -> None:
        world = World()
        reader = world.reader(policy)
        reader.subscribe("trades", "quotes", "bars")
        reader.speed = 0
        for _ in range(AGE_SECONDS * 8 // 10):
            world.feed([("t", "A"), ("q", "A"), ("b", "B")] * 20)
            await asyncio.sleep(1)
        assert told(reader)[-1] == "warning" or "warning" in told(reader)
        assert not reader.cut
        reader.speed = 1e9
        reader.read_on()
        await asyncio.sleep(5)
        assert told(reader)[-1] == "live"
        reader.speed = 0
        for _ in range(AGE_SECONDS + 5):
            world.feed([("b", "A")] * 20)
            await asyncio.sleep(1)
        assert reader.cut
        check_flow(world, reader)

    virtually(main())


def test_order_books_add_up() -> None:
    """A reader's book is upstream's, though it got few of the messages."""

    async def main() -> None:
        world = World("crypto-us")
        reader = world.reader("conflate", "json")
        reader.subscribe("orderbooks", "trades")
        book: dict[float, float] = {}
        for number in range(200):
            reader.speed = 0 if number < 150 else 1e6
            reader.read_on()
            levels = [{"p": float(number % 7), "s": number % 5}]
            whole = {"r": True} if number == 0 else {}
            world.feed([("o", "A")], b=levels, a=[], t="2026-01-02T00:00:00Z", **whole)
            book[number % 7] = number % 5
            if number % 60 == 59:
                world.feed([("t", "A")])
            await asyncio.sleep(0.02)
        await asyncio.sleep(2)
        seen: dict[float, float] = {}
        for message in reader.data("o"):
            seen = {} if message.get("r") else seen
            seen |= {level["p"]: level["s"] for level in message["b"]}
        assert {p: s for p, s in seen.items() if s} == {p: s for p, s in book.items() if s}
        assert len(reader.data("o")) < 100
        assert [m["T"] for m in reader.data() if m["T"] == "t"] == ["t"] * 3
        check_flow(world, reader)

    virtually(main())


class Resumed:
    """Hears how a reader comes forward."""

    is_live = False

    def lost(self, after: int, until: int) -> None:
        raise AssertionError("the ring holds everything")

    def live(self) -> None:
        self.is_live = True


@pytest.mark.parametrize("policy", ["conflate", "sample=100"])
def test_who_resumes_is_not_behind(policy: str) -> None:
    """What it missed comes as fast as it takes it, and nothing of that is merged."""

    async def main() -> None:
        world = World(ring_bytes=1 << 20, ring_seconds=1000)
        stays = world.reader("disconnect")
        stays.subscribe("trades", "quotes")
        for _ in range(50):
            world.feed([("q", "A"), ("t", "B")] * 10)
        reader, resumed = world.reader(policy), Resumed()
        reader.speed = 5000.0

        def offer(items: Sequence[Any], sequences: Sequence[int], stretch: object) -> bool:
            frames = shape_for("msgpack", "msgpack").frames(items)
            meter = reader.outbox.meter = world.handler.hub.meter(reader.shape)
            meter.flow.aside(reader.shape.classify(frames))
            reader.outbox.offer(frames, len(items))
            return not reader.outbox.paused

        later = world.loop.call_soon
        assert world.handler.resume(reader.consumer, 0, offer, resumed, later)
        reader.subscribe("trades", "quotes")
        while not resumed.is_live:
            await asyncio.sleep(0.05)
            if reader.consumer.replay is not None and not reader.outbox.paused:
                reader.consumer.replay.drained()
        assert reader.told == []
        await asyncio.sleep(5)
        assert [m["i"] for m in reader.data()] == [m["i"] for m in world.sent]

    virtually(main())


def test_a_healthy_consumer_has_no_timer() -> None:
    async def main() -> None:
        world = World()
        reader = world.reader("conflate")
        reader.subscribe("quotes")
        for _ in range(100):
            world.feed([("q", "A")])
            await asyncio.sleep(0.01)
        assert reader.slow._look is None
        assert reader.consumer.shape is shape_for("msgpack", "msgpack")
        assert len(reader.frames) == 100

    virtually(main())
