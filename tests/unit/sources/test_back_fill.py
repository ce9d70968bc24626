"""Filling gaps, on virtual time and with a history that answers as the test says."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from harness.back_fill_scene import MINUTE, SECOND, Scene, bar, outage, play, trade
from simulation.virtual_time import START_NS, VirtualClock
from stream_proxy.model.time import rfc3339
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.sources.market_data_refusals import MarketDataFailed
from stream_proxy.state.gaps import Filling


def test_what_was_missed_comes_once_and_in_order() -> None:
    async def main(scene: Scene) -> None:
        await outage(scene)
        await asyncio.sleep(30)

    scene = play(main)
    assert scene.ids(scene.got) == [1, 2, 6, 7, 3, 4, 5]
    assert [m["i"] for m in scene.got if m.get("backfilled")] == [3, 4, 5]
    assert scene.ids(scene.plain) == [1, 2, 6, 7]
    assert scene.gap.filling is Filling.WHOLE and scene.gap.messages == 3 and not scene.gap.missing
    assert scene.told == [(1, False, Filling.NOT), (1, True, Filling.NOT), (1, True, Filling.WHOLE)]
    # Who was away gets them too, in their place.
    assert scene.handler.ring.after(scene.handler.sequence - 3, 9)[0].back_filled
    assert scene.handler.back_filled == scene.handler.gaps.back_filled == 3


@pytest.mark.parametrize("away_seconds", [30.0, 300.0])
def test_bars_are_whole_again(away_seconds: float) -> None:
    """Also after an outage longer than the ring; late bars come as updated bars, too."""

    async def main(scene: Scene) -> None:
        began_ns = START_NS - START_NS % MINUTE
        for minute in range(-5, 8):
            scene.script.put("bars", began_ns + minute * MINUTE, bar(began_ns + minute * MINUTE))
        await asyncio.sleep(60 - (START_NS % MINUTE) / SECOND + 1)
        first = bar(began_ns)
        scene.handler.receive([msgspec.json.encode([{"T": "b", "S": "AAPL", **first}])])
        scene.happen(1)
        await asyncio.sleep(10)
        scene.lose()
        await asyncio.sleep(away_seconds)
        scene.ready()
        scene.happen(2)
        await asyncio.sleep(30)

    scene = play(main)
    ended = int((11 + away_seconds) // 60)
    began_ns = START_NS - START_NS % MINUTE
    expected = [rfc3339(began_ns + minute * MINUTE) for minute in range(1 + ended)]
    assert scene.ids(scene.got, "b") == scene.ids(scene.plain, "b") == expected
    assert set(expected[1:]) <= set(scene.ids(scene.plain, "u"))
    assert scene.gap.filling is Filling.WHOLE


def test_rest_that_is_behind_is_asked_again() -> None:
    """An answer without what the stream has brought since says nothing about what it missed."""

    async def main(scene: Scene) -> None:
        scene.script.lag_ns = 8 * SECOND
        await outage(scene)
        await asyncio.sleep(60)

    scene = play(main)
    assert scene.ids(scene.got) == [1, 2, 6, 7, 3, 4, 5]
    assert scene.gap.filling is Filling.WHOLE
    assert len([one for one in scene.script.asked if one[0] == "trades"]) > 1


def test_rest_that_stays_behind_fills_nothing() -> None:
    """Nothing is claimed; what it has is given all the same, and it is asked again much later."""

    async def main(scene: Scene) -> None:
        scene.script.lag_ns = 100 * SECOND
        await outage(scene)
        await asyncio.sleep(45)
        assert scene.gap.missing.symbols("trades") == ("AAPL",)
        assert "behind the stream" in scene.gap.trouble
        await asyncio.sleep(400)

    scene = play(main)
    assert scene.gap.filling is Filling.WHOLE and not scene.gap.trouble
    assert scene.ids(scene.got) == [1, 2, 6, 7, 3, 4, 5]


def test_where_nothing_shows_how_far_rest_is_time_must_pass() -> None:
    """A thin symbol: nothing comes behind the gap, and REST knows of the gap only later."""

    async def main(scene: Scene) -> None:
        scene.script.lag_ns = 8 * SECOND
        scene.happen(1)
        await asyncio.sleep(0.5)
        scene.lose()
        await asyncio.sleep(5)
        scene.happen(2, seen=False)
        await asyncio.sleep(1)
        scene.ready()
        await asyncio.sleep(60)

    scene = play(main)
    assert scene.ids(scene.got) == [1, 2]
    assert scene.gap.filling is Filling.WHOLE and scene.gap.messages == 1


def test_what_the_stream_brings_later_than_rest_comes_once() -> None:
    """What happened right behind the gap, and was still on its way when REST was asked."""

    async def main(scene: Scene) -> None:
        await outage(scene)
        await asyncio.sleep(0.9)
        scene.happen(8, seen=False)
        await asyncio.sleep(1.5)
        last = scene.script.items["trades", "AAPL"][-1][1]
        scene.handler.receive([msgspec.json.encode([{"T": "t", "S": "AAPL", **last}])])
        await asyncio.sleep(30)

    scene = play(main)
    assert sorted(scene.ids(scene.got)) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [m["i"] for m in scene.got if m.get("backfilled")] == [3, 4, 5]
    assert scene.gap.filling is Filling.WHOLE


def test_what_fails_is_said_and_tried_again() -> None:
    async def main(scene: Scene) -> None:
        failure = MarketDataFailed("unreachable", "no answer, and so on", 503)
        scene.script.failures = [failure] * 4
        await outage(scene)
        await asyncio.sleep(10)
        assert scene.gap.filling is Filling.NOT and scene.gap.trouble == "no answer, and so on"
        await asyncio.sleep(60)

    scene = play(main)
    assert scene.gap.filling is Filling.WHOLE
    assert scene.ids(scene.got) == [1, 2, 6, 7, 3, 4, 5]


def test_what_cannot_be_is_not_tried_again() -> None:
    async def main(scene: Scene) -> None:
        scene.script.failures = [MarketDataFailed("keys", "the keys are refused", 401)] * 4
        await outage(scene)
        await asyncio.sleep(3600)

    scene = play(main)
    assert len(scene.script.asked) == 4  # one of them for the time
    assert scene.gap.filling is Filling.NOT and "the keys are refused" in scene.gap.trouble
    assert scene.ids(scene.got) == [1, 2, 6, 7]


def test_the_newest_gap_comes_first() -> None:
    """While an old one is tried again and again, a new one is filled."""

    async def main(scene: Scene) -> None:
        scene.script.failures = [50.0]
        await outage(scene)
        await outage(scene)
        await asyncio.sleep(300)

    scene = play(main)
    gaps = scene.handler.gaps.recent()
    assert [gap.filling for gap in gaps] == [Filling.WHOLE] * 2
    settled = [number for number, _, filling in scene.told if filling is Filling.WHOLE]
    assert settled == [1, 2]


def test_a_gap_is_bounded_in_time_and_messages() -> None:
    async def slow(scene: Scene) -> None:
        scene.script.failures = [0.0, 1000.0]
        await outage(scene)
        await asyncio.sleep(66)

    assert "longer than 60 s" in play(slow).gap.trouble

    async def much(scene: Scene) -> None:
        await outage(scene)
        await asyncio.sleep(20)

    scene = play(much, messages=2)
    assert "more than 2 trades" in scene.gap.trouble
    assert "STREAM_PROXY_BACK_FILL_MESSAGES" in scene.gap.trouble


@pytest.mark.parametrize("jump_ns", [-3600 * SECOND, 86_400 * SECOND])
@pytest.mark.parametrize("before", [True, False])
def test_our_clock_is_not_the_exchange_s(jump_ns: int, before: bool) -> None:
    """Wrong from the beginning, or set while upstream is away: asked is by the exchange's."""

    async def main(scene: Scene) -> None:
        right = VirtualClock(asyncio.get_running_loop())
        scene.script.clock = right

        def happen(number: int, seen: bool) -> None:
            item = trade(number, right.now_ns())
            scene.script.put("trades", right.now_ns(), item)
            if seen:
                # Of eight reads one is looked at.
                for _ in range(9):
                    scene.handler.receive([msgspec.json.encode([{"T": "t", "S": "AAPL", **item}])])

        if before:
            scene.clock.jump(jump_ns)
        happen(1, True)
        scene.lose()
        await asyncio.sleep(5)
        if not before:
            scene.clock.jump(jump_ns)
        happen(2, False)
        await asyncio.sleep(5)
        scene.ready()
        happen(3, True)
        await asyncio.sleep(30)

    scene = play(main)
    assert [m["i"] for m in scene.got if m.get("backfilled")] == [2]
    assert scene.gap.filling is Filling.WHOLE


def test_a_mistake_of_ours_ends_nothing() -> None:
    """It is logged, the gap stays, and the next one is filled."""

    async def main(scene: Scene) -> None:
        scene.script.failures = [ZeroDivisionError()]  # type: ignore[list-item]
        await outage(scene)
        await asyncio.sleep(10)
        assert "internal error" in scene.gap.trouble
        await outage(scene)
        await asyncio.sleep(30)

    scene = play(main)
    assert scene.gap.filling is Filling.WHOLE


def test_what_rest_knows_nothing_of_stays_missing() -> None:
    async def main(scene: Scene) -> None:
        scene.handler.demand.acquire(
            SubscriptionSet({"statuses": ["AAPL"], "quotes": ["AAPL"], "dailyBars": ["AAPL"]}),
            lambda error: None,
        )
        scene.ready()
        await outage(scene)
        await asyncio.sleep(30)

    scene = play(main)
    assert scene.gap.filling is Filling.PARTLY
    assert scene.gap.missing == SubscriptionSet({"statuses": ["AAPL"], "quotes": ["AAPL"]})
    assert "statuses can't be asked for afterwards" in scene.gap.trouble


@pytest.mark.parametrize("ahead_seconds", [86_400, -86_400])
def test_a_wrong_clock_asks_for_the_right_time(ahead_seconds: int) -> None:
    """Nothing has come yet that tells what time it is at the exchange: REST's answers do."""

    async def main(scene: Scene) -> None:
        started_ns = scene.clock.now_ns()
        scene.clock.jump(ahead_seconds * SECOND)
        await asyncio.sleep(1)
        scene.lose()
        await asyncio.sleep(1)
        scene.script.put("trades", started_ns + 2 * SECOND, trade(1, started_ns + 2 * SECOND))
        scene.script.put("trades", started_ns - 86_395 * SECOND, trade(9, started_ns))
        await asyncio.sleep(1)
        scene.ready()
        scene.script.clock = VirtualClock(asyncio.get_running_loop())
        await asyncio.sleep(60)

    scene = play(main)
    assert scene.ids(scene.got) == [1]
    assert scene.gap.filling is Filling.WHOLE


def test_who_cannot_tell_the_time_claims_nothing() -> None:
    """Neither a message nor an answer says what time it is; later a message does."""

    async def main(scene: Scene) -> None:
        started_ns = scene.clock.now_ns()
        scene.clock.jump(86_400 * SECOND)
        scene.script.shows_time = False
        scene.lose()
        await asyncio.sleep(1)
        scene.script.put("trades", started_ns + SECOND, trade(1, started_ns + SECOND))
        await asyncio.sleep(1)
        scene.ready()
        await asyncio.sleep(40)
        assert scene.gap.filling is Filling.NOT and "what time it is" in scene.gap.trouble
        scene.clock.jump(-86_400 * SECOND)
        scene.happen(2)
        scene.clock.jump(86_400 * SECOND)
        await asyncio.sleep(400)

    scene = play(main)
    assert scene.ids(scene.got) == [2, 1]
    assert scene.gap.filling is Filling.WHOLE


def test_a_line_that_never_spoke_is_a_gap_from_its_confirmation_on() -> None:
    async def main(scene: Scene) -> None:
        await asyncio.sleep(1)
        scene.happen(1, seen=False)
        await asyncio.sleep(59)
        scene.handler.upstream_lost("mute")
        scene.ready()
        await asyncio.sleep(60)

    scene = play(main)
    assert scene.gap.from_ns == START_NS
    assert scene.ids(scene.got) == [1]
