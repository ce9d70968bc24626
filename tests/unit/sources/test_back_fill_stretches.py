"""A gap with much in it: asked for in stretches, of a REST that is late, refuses and fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest

from harness.back_fill_scene import SECOND, Scene, outage, play, trade, trades_asked
from simulation.virtual_time import START_NS
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.sources.market_data_refusals import MarketDataFailed
from stream_proxy.sources.market_data_rest import Page
from stream_proxy.sources.received import ReceivedKeys
from stream_proxy.state.gaps import Filling

FAILURE = MarketDataFailed("unreachable", "no answer, and so on", 503)


def back_filled(scene: Scene) -> list[int]:
    return [message["i"] for message in scene.got if message.get("backfilled")]


def heard_twice(scene: Scene) -> int:
    ids = scene.ids(scene.got)
    return len(ids) - len(set(ids))


async def live_on(scene: Scene, seconds: int, a_second: int = 10) -> None:
    """The stream brings trades, and the ring, of a minute, forgets the old ones."""
    for number in range(seconds * a_second):
        await asyncio.sleep(1 / a_second)
        scene.happen(100_000 + number)


def test_much_is_asked_for_one_stretch_after_the_other() -> None:
    """The youngest first, which shows how far REST is; they touch, and none is asked for twice."""

    async def main(scene: Scene) -> None:
        await outage(scene, 200.0)
        await asyncio.sleep(30)

    scene = play(main, at_once=10)
    assert scene.ids(scene.got) == [1, 2, 6, 7, 3, 4, 5]
    assert scene.gap.filling is Filling.WHOLE and scene.gap.messages == 3
    youngest, *older = trades_asked(scene)
    asked = [*older, youngest]
    assert len(asked) > 5
    assert [begin_ns for begin_ns, _ in asked[1:]] == [end_ns + 1 for _, end_ns in asked[:-1]]
    gap = scene.gap
    assert gap.to_ns is not None
    assert asked[0][0] <= gap.from_ns and asked[-1][1] >= gap.to_ns


def test_the_ids_of_another_day_are_others() -> None:
    """An exchange counts its trades anew each day; a gap over its midnight has some twice."""

    async def main(scene: Scene) -> None:
        for number in (1, 2):
            scene.happen(number)
            await asyncio.sleep(0.5)
        scene.lose()
        await asyncio.sleep(10)
        scene.happen(3, seen=False)
        scene.happen(4, seen=False)
        await asyncio.sleep(20 * 3600)
        for number in (1, 2, 3):
            scene.happen(number, seen=False)
            await asyncio.sleep(0.5)
        await asyncio.sleep(10)
        scene.ready()
        scene.happen(4)
        await asyncio.sleep(30)
        assert scene.gap.filling is Filling.WHOLE

    scene = play(main)
    assert scene.ids(scene.got) == [1, 2, 4, 3, 4, 1, 2, 3]


async def outage_that_fills_slowly(scene: Scene) -> None:
    """Two hundred seconds, of which REST takes four to answer for a stretch; later it is quick."""
    old_ns = START_NS + 210 * SECOND

    async def slowly(channel: str, to_ns: int) -> None:
        await asyncio.sleep(4 if channel == "trades" and to_ns < old_ns else 0)

    scene.script.on_question = slowly
    await outage(scene, 200.0)


def test_a_newer_gap_comes_before_the_rest_of_an_older_one() -> None:
    """An attempt that takes long gives way, and goes on where it was."""
    waited = list[float]()

    async def main(scene: Scene) -> None:
        await outage_that_fills_slowly(scene)
        await asyncio.sleep(24)
        old = scene.gap
        assert old.filling is Filling.UNDER_WAY
        scene.lose()
        await asyncio.sleep(1)
        scene.happen(8, seen=False)
        await asyncio.sleep(1)
        scene.ready()
        ended = scene.clock.monotonic_ns()
        scene.happen(9)
        while scene.gap.filling is not Filling.WHOLE:
            await asyncio.sleep(0.1)
        waited.append((scene.clock.monotonic_ns() - ended) / SECOND)
        assert old.filling is Filling.UNDER_WAY and old is not scene.gap
        while old.filling is Filling.UNDER_WAY:
            await asyncio.sleep(0.1)
        waited.append((scene.clock.monotonic_ns() - ended) / SECOND)
        assert old.filling is Filling.WHOLE

    scene = play(main, at_once=10, seconds=300)
    assert sorted(scene.ids(scene.got)) == list(range(1, 10))
    newer, older = waited
    assert newer < 5 < older
    # What was being asked for when it gave way is asked for again, and the youngest at most.
    asked = [end_ns for _, end_ns in trades_asked(scene)]
    assert len(asked) - len(set(asked)) <= 2


def test_gaps_that_come_all_the_time_leave_an_older_one_its_turn() -> None:
    """It isn't disturbed for a while each time, so it comes forward."""

    async def main(scene: Scene) -> None:
        await outage_that_fills_slowly(scene)
        old = scene.gap
        for number in range(8, 28):
            await asyncio.sleep(8)
            scene.lose()
            await asyncio.sleep(1)
            scene.ready()
            scene.happen(number)
        assert old.filling is Filling.WHOLE

    scene = play(main, at_once=10, seconds=300)
    assert sorted(scene.ids(scene.got)) == list(range(1, 28))
    assert all(gap.filling is Filling.WHOLE for gap in scene.handler.gaps.recent()[:-2])


def test_a_failure_costs_one_stretch() -> None:
    """What was asked for before isn't asked for again."""

    async def main(scene: Scene) -> None:
        failure = MarketDataFailed("unreachable", "no answer, and so on", 503)
        scene.script.failures = [0.0, 0.0, 0.0, 0.0, failure]
        await outage(scene, 200.0)
        await asyncio.sleep(25)
        assert scene.gap.missing.symbols("trades") == ("AAPL",)
        assert scene.gap.trouble == "no answer, and so on"
        await asyncio.sleep(60)

    scene = play(main, at_once=10)
    assert scene.ids(scene.got) == [1, 2, 6, 7, 3, 4, 5]
    assert scene.gap.filling is Filling.WHOLE and not scene.gap.trouble
    asked = trades_asked(scene)
    begins = [begin_ns for begin_ns, _ in asked]
    assert begins[3] == begins[4] == asked[2][1] + 1
    # Of the youngest nothing is known to be handed out; all others came once.
    assert begins[-1] <= begins[0]
    assert len(set(begins[1:])) >= len(begins) - 3


def test_stretches_of_a_rest_that_was_behind_are_asked_for_again() -> None:
    """By more than is believed of it: nothing is claimed that it didn't know yet."""

    async def main(scene: Scene) -> None:
        scene.script.lag_ns = 120 * SECOND
        await outage(scene, 200.0)
        await asyncio.sleep(45)
        assert scene.gap.missing.symbols("trades") == ("AAPL",)
        await asyncio.sleep(400)

    scene = play(main, at_once=10)
    assert sorted(scene.ids(scene.got)) == [1, 2, 3, 4, 5, 6, 7]
    assert scene.gap.filling is Filling.WHOLE and not scene.gap.trouble


@pytest.mark.parametrize("at_once", [10, 50_000])
def test_what_rest_did_not_know_yet_is_not_called_filled(at_once: int) -> None:
    """It was late when most was asked for, failed then, and wasn't late any more afterwards."""

    async def main(scene: Scene) -> None:
        scene.script.lag_ns = 120 * SECOND
        asked = 0

        async def fails_once(channel: str, to_ns: int) -> None:
            nonlocal asked
            asked += channel == "trades" and to_ns > scene.clock.now_ns() - 15 * SECOND
            if asked == 2:
                asked += 1
                raise FAILURE

        scene.script.on_question = fails_once
        await outage(scene, 200.0)
        await asyncio.sleep(15)
        scene.script.lag_ns = 0
        await asyncio.sleep(400)

    scene = play(main, at_once=at_once)
    assert back_filled(scene) == [3, 4, 5]
    assert scene.gap.filling is Filling.WHOLE


@pytest.mark.parametrize("at_once", [10, 50_000])
def test_a_failure_proves_nothing(at_once: int) -> None:
    """REST was away for long behind a gap, and when it came back it was late."""

    async def main(scene: Scene) -> None:
        scene.script.lag_ns = 240 * SECOND
        failed = False

        async def fails_at_first(channel: str, to_ns: int) -> None:
            nonlocal failed
            # The first question is for the time.
            if channel == "trades" and len(scene.script.asked) > 1 and not failed:
                failed = True
                await asyncio.sleep(25)
                raise FAILURE

        scene.script.on_question = fails_at_first
        await outage(scene, 200.0)
        await asyncio.sleep(120)
        assert scene.gap.missing.symbols("trades") == ("AAPL",)
        scene.script.lag_ns = 0
        await asyncio.sleep(400)

    scene = play(main, at_once=at_once)
    assert sorted(back_filled(scene)) == [3, 4, 5]
    assert scene.gap.filling is Filling.WHOLE


@pytest.mark.parametrize("hang_seconds", [50.0, 70.0, 110.0])
def test_a_slow_rest_gives_nothing_twice(hang_seconds: float) -> None:
    """Before it answers, the ring has forgotten what came right behind the gap."""

    async def main(scene: Scene) -> None:
        scene.script.failures = [0.0, hang_seconds]
        await outage(scene)
        await live_on(scene, 150)

    scene = play(main, seconds=300)
    assert back_filled(scene) == [3, 4, 5]
    assert heard_twice(scene) == 0
    assert scene.gap.filling is Filling.WHOLE


def test_a_plan_that_gives_data_late_fills_when_the_ring_has_moved_on() -> None:
    async def main(scene: Scene) -> None:
        scene.script.failures = [MarketDataFailed("plan", "only after 15 minutes", 403)] * 100
        await outage(scene)
        await live_on(scene, 900, 1)
        assert scene.gap.filling is Filling.NOT
        scene.script.failures = []
        await live_on(scene, 600, 1)

    scene = play(main)
    assert back_filled(scene) == [3, 4, 5]
    assert scene.gap.filling is Filling.WHOLE and not scene.gap.trouble


def test_a_refused_symbol_costs_the_others_nothing() -> None:
    """However many stretches there are; it is told, and asked for once."""

    async def main(scene: Scene) -> None:
        topics = SubscriptionSet({"trades": ["AAPL", "NONE"]})
        scene.handler.subscribe(next(iter(scene.handler.consumers)), topics, lambda refusal: None)
        scene.ready()
        answer = scene.script._answer

        async def refuses(
            channel: str, symbols: Sequence[str], from_ns: int, to_ns: int
        ) -> AsyncIterator[Page]:
            known = [symbol for symbol in symbols if symbol != "NONE"]
            if known:
                async for page in answer(channel, known, from_ns, to_ns):
                    yield page
            if known != list(symbols):
                scene.script.asked.append(("refused", (), 0, 0))
                raise MarketDataFailed("symbol", "there is no NONE", 422)

        scene.script._answer = refuses  # type: ignore[method-assign]
        await outage(scene, 200.0)
        await asyncio.sleep(60)

    scene = play(main, at_once=10)
    assert back_filled(scene) == [3, 4, 5]
    assert len(trades_asked(scene)) > 5
    assert scene.gap.missing == SubscriptionSet({"trades": ["NONE"]})
    assert scene.gap.trouble == "there is no NONE"
    # Once for trades; for the time only AAPL is asked.
    assert [what for what, *_ in scene.script.asked].count("refused") == 1


def test_more_than_was_expected_is_asked_for_in_smaller_stretches() -> None:
    """What came around the gap told of a quiet market."""

    async def main(scene: Scene) -> None:
        scene.happen(1)
        await asyncio.sleep(20)
        scene.lose()
        for number in range(2, 1502):
            await asyncio.sleep(0.1)
            scene.happen(number, seen=False)
        await asyncio.sleep(5)
        scene.ready()
        await asyncio.sleep(60)

    scene = play(main, at_once=50)
    assert back_filled(scene) == list(range(2, 1502))
    assert scene.gap.filling is Filling.WHOLE
    assert len(trades_asked(scene)) > 8


def test_a_short_last_stretch_shows_all_the_same_how_far_rest_is() -> None:
    """Also when what is left after a failure is shorter than what shows it."""

    async def main(scene: Scene) -> None:
        scene.script.failures = [FAILURE] * 3
        for number in range(1, 60):
            scene.happen(number)
            await asyncio.sleep(0.05)
        scene.lose()
        for number in range(60, 160):
            await asyncio.sleep(0.05)
            scene.happen(number, seen=False)
        scene.ready()
        for number in range(160, 260):
            await asyncio.sleep(0.05)
            scene.happen(number)
        await asyncio.sleep(400)

    scene = play(main, at_once=20)
    assert back_filled(scene) == list(range(60, 160))
    assert scene.gap.filling is Filling.WHOLE


def test_bars_do_not_wait_for_trades_that_take_all_the_time() -> None:
    async def main(scene: Scene) -> None:
        async def hangs(channel: str, to_ns: int) -> None:
            if channel == "trades":
                await asyncio.sleep(1000)

        scene.script.on_question = hangs
        await outage(scene, 90)
        await asyncio.sleep(250)

    scene = play(main)
    assert scene.gap.missing == SubscriptionSet({"trades": ["AAPL"]})


def test_a_new_symbol_does_not_begin_a_wildcard_anew() -> None:
    """What an attempt asks for stays what the gap was opened with."""

    async def main(scene: Scene) -> None:
        consumer = next(iter(scene.handler.consumers))
        everything = SubscriptionSet({"trades": ["*"]})
        scene.handler.subscribe(consumer, everything, lambda refusal: None)
        scene.ready()
        scene.script.failures = [0.0] * 6 + [FAILURE]
        await outage(scene, 200.0)
        await asyncio.sleep(10)
        news = {"T": "t", "S": "NEWS", **trade(77, scene.clock.now_ns())}
        scene.handler.receive([msgspec.json.encode([news])])
        await asyncio.sleep(60)

    scene = play(main, at_once=10)
    begins = [begin_ns for begin_ns, _ in trades_asked(scene)]
    assert len(begins) > 10 and len(begins) - len(set(begins)) <= 2
    assert back_filled(scene) == [3, 4, 5]


def test_a_gap_older_than_the_ring_gives_nothing_twice() -> None:
    """A busy topic was subscribed anew together with one that had been mute for long."""

    async def main(scene: Scene) -> None:
        for number in range(1, 3001):
            scene.happen(number)
            await asyncio.sleep(0.1)
        await asyncio.sleep(35)
        topics = SubscriptionSet({"trades": ["AAPL", "THIN"]})
        scene.handler.open_gap(scene.clock.now_ns() - 300 * SECOND, "subscribed anew", topics)
        await asyncio.sleep(0.5)
        scene.handler.upstream_complete()
        scene.happen(5000)
        await asyncio.sleep(60)

    scene = play(main, seconds=300)
    assert heard_twice(scene) == 0
    assert "was forgotten already" in scene.gap.trouble


def test_without_a_ring_nothing_comes_twice() -> None:
    async def main(scene: Scene) -> None:
        for number in range(1, 5):
            scene.happen(number)
            await asyncio.sleep(0.3)
        scene.handler.receive([b'[{"T":"t","S":"AAPL","i":,}]'])
        for number in range(5, 12):
            scene.happen(number)
            await asyncio.sleep(0.3)
        await asyncio.sleep(100)

    scene = play(main, ring_bytes=0)
    assert scene.ids(scene.got) == list(range(1, 12))
    assert "STREAM_PROXY_RING_BYTES" in scene.gap.trouble


def test_what_is_known_of_a_filled_gap_is_let_go() -> None:
    async def main(scene: Scene) -> None:
        await outage(scene)
        await asyncio.sleep(60)
        due: Any = scene.fill._newest
        assert due.gap is scene.gap and scene.fill._due == []
        assert due.reading.done() and not due.asked
        assert not due.received.symbols("trades")
        assert due.received.between("trades", 0, 1 << 62) == []

    assert play(main).gap.filling is Filling.WHOLE


def test_what_was_handed_out_in_time_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt may end in the middle of handing out; the next one goes on behind that."""
    read = ReceivedKeys.read

    async def slowly(received: ReceivedKeys) -> None:
        await asyncio.sleep(10)
        await read(received)

    counts: list[int] = []

    async def main(scene: Scene) -> None:
        monkeypatch.setattr(ReceivedKeys, "read", slowly)
        scene.happen(1)
        scene.lose()
        for number in range(2, 1502):
            await asyncio.sleep(0.1)
            scene.happen(number, seen=False)
        scene.ready()
        await asyncio.sleep(75)
        counts.extend((scene.gap.messages, scene.handler.back_filled, len(back_filled(scene))))
        assert "longer than 60 s" in scene.gap.trouble
        monkeypatch.undo()
        await asyncio.sleep(100)

    scene = play(main)
    assert 0 < counts[0] < 1500 and len(set(counts)) == 1
    assert sorted(back_filled(scene)) == list(range(2, 1502))
    assert scene.gap.messages == 1500
