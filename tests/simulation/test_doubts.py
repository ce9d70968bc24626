"""What the order side does when something is wrong that isn't a lost connection: in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from simulation.virtual_time import VirtualLoop, run_virtually
from simulation.weather import Weather
from simulation.world import World
from stream_proxy.feed.orders import OrderFeed
from stream_proxy.feed.upstream_status import Cause, UpstreamState
from stream_proxy.model.time import parse_rfc3339
from stream_proxy.sources.connector import ConnectFailed

Lines = list[Any]


def in_a_world(folder: Path, story: Callable[[World, OrderFeed, Lines], Awaitable[None]]) -> None:
    """Tell a story that begins with a proxy that is ready."""

    async def told() -> None:
        world.start()
        await asyncio.sleep(90)
        assert world.feed is not None and world.feed.ready
        with capture_logs() as lines:
            await story(world, world.feed, lines)

    loop = VirtualLoop()
    world = World(loop, 1, Weather(), folder)
    run_virtually(loop, told())


def unreadable(frame: bytes) -> Callable[[World, OrderFeed, Lines], Awaitable[None]]:
    async def story(world: World, feed: OrderFeed, lines: Lines) -> None:
        world.rest.fails_until = world.loop.time() + 60
        assert world.source is not None
        world.source.on_messages([frame])
        assert not feed.ready, "at once"
        await asyncio.sleep(55)
        assert not feed.ready and feed.counts.unreadable == 1
        await asyncio.sleep(40)
        assert feed.ready and feed.upstream.connections == 1

    return story


def test_a_frame_that_cannot_be_read_may_have_been_a_fill(tmp_path: Path) -> None:
    """Nobody is told that all is known before a comparison has shown it."""
    for number, frame in enumerate(
        (
            b'{"stream":"trade_updates","data":{"event":"fill","order":{"id":1}}}',
            b'{"stream":"trade_updates","data":',
        )
    ):
        in_a_world(tmp_path / str(number), unreadable(frame))


def test_an_unreadable_frame_during_a_comparison(tmp_path: Path) -> None:
    """What was asked before may not have had it yet."""

    async def story(world: World, feed: OrderFeed, lines: Lines) -> None:
        told = []
        feed.on_change = lambda: told.append(feed.ready)
        assert world.source is not None
        world.source.on_messages([b"{"])
        calls = world.rest.calls
        while world.rest.calls < calls + 2:
            await asyncio.sleep(0.001)
        world.source.on_messages([b"{"])
        calls = world.rest.calls
        while not feed.ready:
            await asyncio.sleep(0.01)
        assert told == [False, True]
        assert world.rest.calls >= calls + 2, "it was asked again from the beginning"

    in_a_world(tmp_path, story)


def test_an_unreadable_event_of_the_record(tmp_path: Path) -> None:
    async def story(world: World, feed: OrderFeed, lines: Lines) -> None:
        events = world.rest.events

        async def damaged(since_ns: int, until_ns: int) -> list[bytes] | None:
            found = await events(since_ns, until_ns)
            return [*(found or ()), b'{"event":"fill","order":{"id":1}}']

        world.rest.events = damaged  # type: ignore[method-assign]
        await asyncio.sleep(110)
        assert feed.upstream.state is UpstreamState.CONNECTED and not feed.ready
        world.rest.events = events  # type: ignore[method-assign]
        await asyncio.sleep(40)
        assert feed.ready

    in_a_world(tmp_path, story)


def test_a_mistake_of_ours_does_not_end_the_account(tmp_path: Path) -> None:
    async def story(world: World, feed: OrderFeed, lines: Lines) -> None:
        world.alpaca.refusals.append(UnicodeError("label too long"))
        assert world.alpaca.line is not None
        world.alpaca.line.reset()
        await asyncio.sleep(30)
        assert feed.ready and feed.upstream.state is UpstreamState.CONNECTED
        assert feed.upstream.causes[Cause.INTERNAL] == 1
        (mistake,) = (line for line in lines if line["event"] == "trading.internal_error")
        assert mistake["exc_info"]

    in_a_world(tmp_path, story)


def test_refused_keys_are_tried_ever_more_rarely(tmp_path: Path) -> None:
    """Now and then they are, since it may be an incident; the log says what is new."""

    async def story(world: World, feed: OrderFeed, lines: Lines) -> None:
        world.alpaca.refuses_keys = True
        assert world.alpaca.line is not None
        world.alpaca.line.reset()
        await asyncio.sleep(100)
        before = feed.upstream.connections
        await asyncio.sleep(3500)
        assert 5 <= feed.upstream.connections - before <= 6
        refused = [line for line in lines if line["event"] == "trading.refused"]
        assert [line["next_attempt_seconds"] == 600 for line in refused] == [False, True]
        assert all("check key and secret" in line["why"] for line in refused)
        status = feed.upstream
        assert status.state is UpstreamState.REFUSED and not feed.ready
        await asyncio.sleep(300)
        next_ns = parse_rfc3339(status.why.rpartition(" ")[2])
        world.alpaca.refuses_keys = False
        await asyncio.sleep((next_ns - world.clock.now_ns()) / 1e9 - 1)
        assert status.state is UpstreamState.REFUSED
        await asyncio.sleep(5)
        assert feed.ready and status.why == "listening"
        world.alpaca.refuses_keys = True
        world.alpaca.line.reset()
        await asyncio.sleep(20)
        assert len([line for line in lines if line["event"] == "trading.refused"]) > 2

    in_a_world(tmp_path, story)


def test_refusals_that_pass_soon_cost_no_long_pause(tmp_path: Path) -> None:
    async def story(world: World, feed: OrderFeed, lines: Lines) -> None:
        world.alpaca.refuses_keys = True
        assert world.alpaca.line is not None
        world.alpaca.line.reset()
        before = feed.upstream.connections
        while feed.upstream.connections < before + 4:
            await asyncio.sleep(0.1)
        world.alpaca.refuses_keys = False
        await asyncio.sleep(20)
        assert feed.ready

    in_a_world(tmp_path, story)


def test_a_server_that_says_when_to_come_again(tmp_path: Path) -> None:
    async def story(world: World, feed: OrderFeed, lines: Lines) -> None:
        for wish, least, most in ((40.0, 40, 45), (0.0, 1, 3), (86_400.0, 600, 605)):
            world.alpaca.refusals.append(ConnectFailed("HTTP 429", 429, wish))
            assert world.alpaca.line is not None
            world.alpaca.line.reset()
            began = world.loop.time()
            await asyncio.sleep(0.5)
            while feed.upstream.state is not UpstreamState.CONNECTED:
                await asyncio.sleep(0.1)
            assert least <= world.loop.time() - began <= most + 1
            await asyncio.sleep(20)

    in_a_world(tmp_path, story)
