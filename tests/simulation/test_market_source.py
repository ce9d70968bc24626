"""What the source does about silence, on a scripted line, in virtual time.

The trading hours are those of a half day, which ends at 13:00.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from simulation.market_line import Market
from simulation.market_tape import listed
from simulation.virtual_time import VirtualLoop, run_virtually
from stream_proxy.feed.upstream_status import Cause
from stream_proxy.model.time import NS_PER_SECOND
from stream_proxy.sources.liveness import Condition
from stream_proxy.sources.market_hours import ExchangeMarketHours

pytestmark = pytest.mark.slow

SYMBOLS = [
    *(listed(f"BUSY{number}", 0.4, 2.0) for number in range(4)),
    listed("MEDIUM", 5.0, 20.0),
    listed("THIN", 120.0, 600.0),
]
Story = Callable[[Market], Awaitable[None]]


def ns(text: str) -> int:
    zone = ZoneInfo("America/New_York")
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()) * NS_PER_SECOND


@pytest.fixture(scope="module")
def hours() -> ExchangeMarketHours:
    made = ExchangeMarketHours()
    made.load(ns("2026-11-21T12:00"))
    return made


def tell(
    hours: ExchangeMarketHours, story: Story, at: str = "2026-11-27T10:00", rest: bool = True
) -> Market:
    """Tell a story that begins with a feed that has spoken for a quarter of an hour."""

    async def told() -> None:
        running = loop.create_task(market.source.run())
        trading = loop.create_task(market.trade())
        await asyncio.sleep(900)
        assert condition(market) is Condition.FLOWING
        await story(market)
        await market.source.stop()
        await running
        assert not trading.done()

    loop = VirtualLoop()
    market = Market(loop, hours, ns(at), SYMBOLS, rest=rest)
    run_virtually(loop, told())
    return market


def condition(market: Market) -> Condition:
    return market.source.liveness.condition(market.clock.monotonic_ns())


def causes(market: Market) -> dict[Cause, int]:
    return {cause: n for cause, n in market.handler.upstream.causes.items() if n}


def test_a_mute_symbol_is_subscribed_anew(hours: ExchangeMarketHours) -> None:
    """Nobody else loses anything; what was missed of it is a gap, which ends."""

    async def story(market: Market) -> None:
        line = market.line
        line.asked.clear()
        line.mute.add("BUSY1")
        await asyncio.sleep(60)
        assert ("unsubscribe", {"quotes": ["BUSY1"]}) in line.asked
        assert line.asked[-1][0] == "subscribe"
        await asyncio.sleep(60)
        assert not market.source.liveness.mute_topics(market.clock.monotonic_ns())

    market = tell(hours, story)
    assert causes(market) == {} and len(market.lines) == 1
    gaps = [gap for gap in market.handler.gaps.recent() if "mute" in gap.why]
    assert ("quotes", "BUSY1") in gaps[0].topics
    assert all(symbol == "BUSY1" for gap in gaps for _, symbol in gap.topics)
    assert all(gap.to_ns is not None and gap.to_ns - gap.from_ns < 60e9 for gap in gaps)


@pytest.mark.parametrize("rest", [True, False])
def test_a_mute_connection_is_made_again(hours: ExchangeMarketHours, rest: bool) -> None:
    """Pongs come, data doesn't."""

    async def story(market: Market) -> None:
        market.line.mute.add("*")
        await asyncio.sleep(15)
        assert len(market.lines) == 2
        await asyncio.sleep(15)
        assert condition(market) is Condition.FLOWING

    market = tell(hours, story, rest=rest)
    assert causes(market) == {Cause.MUTE: 1}
    gap, stopped = market.handler.gaps.recent()
    assert stopped.to_ns is None and "mute" in gap.why
    assert gap.to_ns is not None and gap.to_ns - gap.from_ns < 15e9


def test_a_half_open_connection_is_made_again(hours: ExchangeMarketHours) -> None:
    """Neither data nor pongs: that is told from muteness."""

    async def story(market: Market) -> None:
        market.line.half_open = True
        await asyncio.sleep(10)
        assert condition(market) is Condition.HALF_OPEN
        await asyncio.sleep(15)
        assert len(market.lines) == 2
        await asyncio.sleep(15)
        assert condition(market) is Condition.FLOWING

    assert causes(tell(hours, story)) == {Cause.HALF_OPEN: 1}


def test_data_that_is_held_up_is_waited_for(hours: ExchangeMarketHours) -> None:
    """A network that stands still for nine seconds loses nothing if nobody hangs up."""

    async def story(market: Market) -> None:
        for _ in range(5):
            market.line.held_up = True
            await asyncio.sleep(9)
            market.line.let_through()
            await asyncio.sleep(120)
            assert condition(market) is Condition.FLOWING

    market = tell(hours, story)
    assert causes(market) == {} and len(market.lines) == 1


def test_a_halted_symbol_is_left_alone(hours: ExchangeMarketHours) -> None:
    """A status says so; another one ends it."""

    async def story(market: Market) -> None:
        market.line.asked.clear()
        market.halt("BUSY2", "H")
        await asyncio.sleep(900)
        assert list(market.source.liveness.halted) == ["BUSY2"]
        market.halt("BUSY2", "T")
        await asyncio.sleep(60)
        assert not market.source.liveness.halted
        assert market.line.asked == []

    assert causes(tell(hours, story)) == {}


def test_the_close_of_a_half_day_is_no_fault(hours: ExchangeMarketHours) -> None:
    """Nobody has to trade in the evening, and nobody trades at night."""

    async def story(market: Market) -> None:
        await asyncio.sleep(900)
        market.line.mute.add("*")  # from 13:00 on nothing comes at all
        await asyncio.sleep(1800)
        assert condition(market) is Condition.QUIET
        market.clock.jump(4 * 3600 * NS_PER_SECOND)
        await asyncio.sleep(60)
        assert condition(market) is Condition.CLOSED

    market = tell(hours, story, at="2026-11-27T12:30")
    assert causes(market) == {} and len(market.lines) == 1
