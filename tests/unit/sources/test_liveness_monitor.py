"""What the monitor reads out of a feed, and how it asks REST."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from stream_proxy.feed.handler import FeedHandler
from stream_proxy.feed.upstream_status import UpstreamState
from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.messages import Luld, Quote, Status
from stream_proxy.model.time import NS_PER_SECOND, to_timestamp
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.sources.latest_check import RestLatestCheck
from stream_proxy.sources.liveness_advice import Reconnect
from stream_proxy.sources.liveness_monitor import LivenessMonitor
from stream_proxy.sources.market_data_refusals import MarketDataFailed
from stream_proxy.wire.alpaca.codec import CODECS, Codec

HELD = SubscriptionSet({"quotes": ["A", "B", "C"], "statuses": ["*"], "lulds": ["*"]})


class Clock:
    seconds = 1_000_000.0

    def now_ns(self) -> int:
        return int(self.seconds * NS_PER_SECOND)

    monotonic_ns = now_ns


class Open:
    def expects_data(self, feed: object, now_ns: int) -> bool:
        return True


class Latest:
    """REST that answers, is late, or breaks."""

    def __init__(self, answer: Mapping[str, int] | Exception | None) -> None:
        self.answer = answer
        self.asked: list[tuple[str, tuple[str, ...]]] = []

    async def latest_ns(self, channel: str, symbols: Sequence[str]) -> Mapping[str, int] | None:
        self.asked.append((channel, tuple(symbols)))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def now_ns(self) -> int | None:
        return None


class Scene:
    """A feed's middle, and its monitor, second by second."""

    def __init__(self, codec: str = "msgpack", latest: Latest | None = None) -> None:
        self.clock = Clock()
        self.codec: Codec = CODECS[codec]
        self.handler = FeedHandler(FEEDS["sip"], self.codec, self.clock)
        self.latest = latest or Latest(None)
        self.monitor = LivenessMonitor(
            self.handler, self.clock, Open(), self.latest, shortest_seconds=5, longest_seconds=300
        )
        self.monitor.hold(HELD)

    def read(self, *frames: list[Any]) -> None:
        payloads = [self.codec.encode(messages) for messages in frames]
        self.handler.receive(payloads)
        self.monitor.read_statuses(payloads)

    def stamp(self) -> Any:
        ns = self.clock.now_ns()
        return to_timestamp(ns)

    def quote(self, symbol: str) -> Quote:
        return Quote(symbol, "Q", 1.5, 100, "P", 1.6, 200, ["R"], "C", self.stamp())

    def halt(self, symbol: str, code: str) -> Status:
        return Status(symbol, code, "status", "T1", "News Pending", self.stamp(), "C")

    async def second(self, *symbols: str) -> Reconnect | None:
        self.clock.seconds += 1
        if symbols:
            self.read([self.quote(symbol) for symbol in symbols])
        advice = self.monitor.look(self.clock.monotonic_ns())
        for _ in range(3):
            await asyncio.sleep(0)  # lets REST answer
        assert advice is None or isinstance(advice, Reconnect)
        return advice

    async def learn(self) -> None:
        for _ in range(400):
            await self.second("A", "B", "C")

    async def silence(self, seconds: int) -> Reconnect | None:
        for _ in range(seconds):
            if (advice := await self.second()) is not None:
                return advice
        return None


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_halts_are_read_out_of_the_frames(codec: str) -> None:
    """Among other messages, in either codec; by statuses and by price bands."""
    scene = Scene(codec)
    assert scene.monitor.hears_halts
    scene.read([scene.quote("A")], [scene.quote("B"), scene.halt("A", "H"), scene.quote("A")])
    assert list(scene.monitor.liveness.halted) == ["A"]
    scene.read([Luld("B", 2.0, 1.0, "D", scene.stamp(), "C")])
    assert list(scene.monitor.liveness.halted) == ["A", "B"]
    scene.read([scene.halt("A", "T")], [scene.quote("A")])
    assert list(scene.monitor.liveness.halted) == ["B"]
    scene.monitor.hold(SubscriptionSet({"quotes": ["A"]}))
    assert not scene.monitor.hears_halts


def test_damage_beside_a_status_ends_nothing() -> None:
    """What can't be read is counted where it is routed."""
    scene = Scene()
    good = scene.codec.encode([scene.halt("A", "H")])
    damaged = scene.codec.encode([scene.halt("B", "H")])[:-3]
    scene.handler.receive([damaged, good])
    scene.monitor.read_statuses([damaged, good])
    assert list(scene.monitor.liveness.halted) == ["A"]


@pytest.mark.parametrize("answer", [None, RuntimeError("a bug of ours"), {}])
async def test_without_an_answer_the_silence_decides(answer: Any) -> None:
    """REST is down, or broken, or knows neither symbol."""
    scene = Scene(latest=Latest(answer))
    await scene.learn()
    assert await scene.silence(10) is not None
    assert scene.latest.asked == [("quotes", ("A", "B", "C"))]


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_rest_that_has_nothing_newer_is_believed(codec: str) -> None:
    """What we got last is as new as what it has."""
    scene = Scene(codec)
    await scene.learn()
    scene.latest.answer = {symbol: scene.clock.now_ns() for symbol in "ABC"}
    assert await scene.silence(100) is None
    assert len(scene.latest.asked) > 1
    scene.latest.answer = {"A": scene.clock.now_ns()}
    assert await scene.silence(70) is not None


async def test_a_question_dies_with_its_connection() -> None:
    """What REST says of the connection before says nothing of the next one."""
    scene = Scene()
    held = asyncio.Event()

    class Late(Latest):
        async def latest_ns(self, channel: str, symbols: Sequence[str]) -> Mapping[str, int] | None:
            await held.wait()
            return {"A": 1 << 62}

    scene = Scene(latest=Late(None))
    await scene.learn()
    assert await scene.silence(10) is None
    scene.monitor.lost()
    scene.monitor.hold(HELD)
    held.set()
    assert await scene.silence(4) is None


async def test_the_check_by_rest_reads_the_items_times() -> None:
    """Items without a time say nothing, and refusals are no answer."""

    class Rest:
        failed = False

        def now_ns(self) -> int | None:
            return 5

        async def latest(self, channel: str, symbols: Sequence[str]) -> dict[str, dict[str, Any]]:
            if self.failed:
                raise MarketDataFailed("plan", "not with this plan", 403)
            return {"A": {"t": "2026-11-27T15:00:00.000000001Z"}, "B": {"t": "soon"}, "C": {}}

    rest = Rest()
    check = RestLatestCheck(rest)
    assert await check.latest_ns("trades", ["A", "B", "C"]) == {"A": 1_795_791_600_000_000_001}
    rest.failed = True
    assert await check.latest_ns("trades", ["A"]) is None


async def test_the_word_and_the_phase_are_told() -> None:
    scene = Scene()
    status = scene.handler.upstream
    await scene.second("A")
    scene.monitor.tell(status, scene.clock.monotonic_ns())
    assert (status.data, status.market_phase) == ("flowing", "always open")
    await scene.silence(4)
    scene.monitor.tell(status, scene.clock.monotonic_ns())
    assert status.data == "quiet"
    status.enter(UpstreamState.RECONNECTING, "gone", scene.clock.now_ns())
    assert status.data == "idle"
