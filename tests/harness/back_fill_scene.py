"""A feed whose gaps are filled, on virtual time, from a history that answers as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from simulation.virtual_time import START_NS, VirtualClock, VirtualLoop, run_virtually
from stream_proxy.feed.consumer import Consumer
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.hub.outbox import Outbox
from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.time import parse_rfc3339, rfc3339, to_timestamp
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.outlets.back_fill import form_for
from stream_proxy.outlets.continuity import PositionedShape
from stream_proxy.outlets.shapes import shape_for
from stream_proxy.sources.asking import BackFillLimits
from stream_proxy.sources.back_fill import BackFill
from stream_proxy.sources.market_data_refusals import MarketDataFailed
from stream_proxy.sources.market_data_rest import Page
from stream_proxy.state.gaps import Filling, Gap
from stream_proxy.wire.alpaca.codec import JSON, Codec
from stream_proxy.wire.websocket import payload_start

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
TRADES = SubscriptionSet({"trades": ["AAPL"]})
ALL = SubscriptionSet({"trades": ["AAPL"], "bars": ["AAPL"], "updatedBars": ["AAPL"]})


def trade(number: int, at_ns: int) -> dict[str, Any]:
    """As REST has it."""
    fields = {"t": rfc3339(at_ns), "x": "V", "p": 100.0 + number, "s": 1, "c": ["@"], "i": number}
    return fields | {"z": "C"}


def bar(at_ns: int) -> dict[str, Any]:
    return {"t": rfc3339(at_ns), "o": 1, "h": 2, "l": 1, "c": 2, "v": 5, "n": 1, "vw": 1.5}


@dataclass
class Script:
    """A history: items by channel and symbol, failures to come, and all that was asked."""

    items: dict[tuple[str, str], list[tuple[int, dict[str, Any]]]] = field(default_factory=dict)
    failures: list[MarketDataFailed | float] = field(default_factory=list)
    """Of the next questions: an error, or seconds to wait."""
    asked: list[tuple[str, tuple[str, ...], int, int]] = field(default_factory=list)
    on_question: Callable[[str, int], Awaitable[None]] | None = None
    """Awaited before an answer, with the channel and the end of what was asked for; may raise."""
    lag_ns: int = 0
    """What is younger isn't shown."""
    clock: VirtualClock | None = None
    shows_time: bool = True
    """Whether answers say what time it is, as soon as there was one."""

    def now_ns(self) -> int | None:
        assert self.clock is not None
        if not self.shows_time:
            return None
        return START_NS + self.clock.monotonic_ns() if self.asked else None

    def put(self, channel: str, at_ns: int, item: dict[str, Any], symbol: str = "AAPL") -> None:
        self.items.setdefault((channel, symbol), []).append((at_ns, item))

    async def _answer(
        self, channel: str, symbols: Sequence[str], from_ns: int, to_ns: int
    ) -> AsyncIterator[Page]:
        self.asked.append((channel, tuple(symbols), from_ns, to_ns))
        if self.on_question is not None:
            await self.on_question(channel, to_ns)
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, MarketDataFailed):
                raise failure
            await asyncio.sleep(failure)
        assert self.clock is not None
        until_ns = min(to_ns, self.clock.now_ns() - self.lag_ns)
        found = [
            (symbol, item)
            for symbol in symbols
            for at_ns, item in self.items.get((channel, symbol), [])
            if from_ns <= at_ns <= until_ns
        ]
        for number, one in enumerate(found, 1):
            yield Page([one], tuple(symbols), number == len(found))
        if not found:
            yield Page([], tuple(symbols), True)

    def trades(self, symbols: Sequence[str], from_ns: int, to_ns: int) -> AsyncIterator[Page]:
        return self._answer("trades", symbols, from_ns, to_ns)

    def quotes(self, symbols: Sequence[str], from_ns: int, to_ns: int) -> AsyncIterator[Page]:
        return self._answer("quotes", symbols, from_ns, to_ns)

    def bars(self, symbols: Sequence[str], from_ns: int, to_ns: int) -> AsyncIterator[Page]:
        return self._answer("bars", symbols, from_ns, to_ns)

    def news(self, symbols: Sequence[str], from_ns: int, to_ns: int) -> AsyncIterator[Page]:
        return self._answer("news", symbols, from_ns, to_ns)


class Scene:
    """A feed with two consumers, one of whom asked for continuity, and its back-fill."""

    def __init__(
        self,
        loop: VirtualLoop,
        *,
        feed: str = "sip",
        codec: Codec = JSON,
        topics: SubscriptionSet = ALL,
        ring_bytes: int = 1 << 24,
        **limits: Any,
    ) -> None:
        self.clock = VirtualClock(loop)
        self.handler = FeedHandler(
            FEEDS[feed], codec, self.clock, epoch="e", ring_bytes=ring_bytes, ring_seconds=60
        )
        self.topics = topics
        self.consumers: list[Consumer] = []
        self.script = Script(clock=self.clock)
        self.fill = BackFill(
            self.handler, self.script, self.clock, BackFillLimits(**({"seconds": 60} | limits))
        )
        self.told: list[tuple[int, bool, Filling]] = []
        self.handler.on_gap = self._gap_changed
        self.got: list[dict[str, Any]] = []
        self.plain: list[dict[str, Any]] = []
        self._join(PositionedShape(codec, JSON, "e"), self.got)
        self._join(shape_for(codec.name, "json"), self.plain)
        self.task = loop.create_task(self.fill.run())

    def _gap_changed(self, gap: Gap) -> None:
        self.told.append((gap.number, gap.to_ns is not None, gap.filling))
        self.fill.gap_changed(gap)

    def _join(self, shape: Any, got: list[dict[str, Any]]) -> None:
        def write(frame: bytes) -> None:
            got.extend(m for m in msgspec.json.decode(frame[payload_start(frame) :]))

        outbox = Outbox(write, 1 << 30, 1 << 62, lambda: None)
        consumer = Consumer("c", outbox, shape, lambda t, code: None, back_fill=form_for(shape))
        self.handler.join(consumer)
        self.consumers.append(consumer)
        self.handler.subscribe(consumer, self.topics, lambda refusal: None)

    def ready(self) -> None:
        """Upstream has confirmed all that is wanted."""
        self.handler.upstream_ready()
        self.agree()

    def agree(self) -> None:
        """Upstream confirms what it is asked for, and nothing that it isn't."""
        while self.handler.demand.next_step(self.clock.monotonic_ns()) is not None:
            self.handler.upstream_holds(self.handler.demand.wanted())
        self.handler.upstream_complete()

    def happen(self, number: int, *, seen: bool = True) -> None:
        """A trade, now, that the stream brings or not."""
        now_ns = self.clock.now_ns()
        item = trade(number, now_ns)
        self.script.put("trades", now_ns, item)
        if seen:
            self.handler.receive([msgspec.json.encode([{"T": "t", "S": "AAPL", **item}])])

    def come(self, kind: str, symbol: str, item: dict[str, Any]) -> None:
        """The stream brings an item of REST's."""
        codec, fields = self.handler.codec, {"T": kind, "S": symbol, **item}
        if codec.binary:
            fields["t"] = to_timestamp(parse_rfc3339(fields["t"]))
        self.handler.receive([codec.join([codec.encode(fields)])])

    def lose(self) -> None:
        self.handler.upstream.last_message_ns = self.clock.now_ns()
        self.handler.upstream_lost("test")

    @property
    def gap(self) -> Gap:
        return self.handler.gaps.recent()[-1]

    def ids(self, got: list[dict[str, Any]], kind: str = "t") -> list[Any]:
        return [m["i"] if kind == "t" else m["t"] for m in got if m["T"] == kind]


def play(main: Any, **limits: Any) -> Scene:
    """Run a scene on virtual time."""
    loop = VirtualLoop()

    async def go() -> Scene:
        scene = Scene(loop, **limits)
        scene.ready()
        try:
            await main(scene)
        finally:
            scene.task.cancel()
            await asyncio.gather(scene.task, return_exceptions=True)
        return scene

    return run_virtually(loop, go())


async def outage(scene: Scene, seconds: float = 10.0) -> None:
    """Trades 1 and 2 are seen, 3 to 5 missed, 6 and 7 seen."""
    for number in (1, 2):
        scene.happen(number)
        await asyncio.sleep(0.5)
    scene.lose()
    for number in (3, 4, 5):
        await asyncio.sleep(seconds / 4)
        scene.happen(number, seen=False)
    await asyncio.sleep(seconds / 4)
    scene.ready()
    for number in (6, 7):
        await asyncio.sleep(0.5)
        scene.happen(number)


def trades_asked(scene: Scene) -> list[tuple[int, int]]:
    """The intervals that were asked for, but for the first question, which is for the time."""
    asked = [one for one in scene.script.asked if one[0] == "trades"]
    return [(from_ns, to_ns) for _, _, from_ns, to_ns in asked[1:]]
