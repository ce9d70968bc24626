"""What is called filled is there, and what isn't is said: the cases that are easily got wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from harness.back_fill_scene import MINUTE, SECOND, Scene, bar, outage, play, trade
from simulation.virtual_time import START_NS
from stream_proxy.model.time import rfc3339
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.sources.market_data_refusals import MarketDataFailed
from stream_proxy.sources.market_data_rest import Page
from stream_proxy.state.gaps import Filling
from stream_proxy.wire.alpaca.codec import JSON, MSGPACK

UNREACHABLE = MarketDataFailed("unreachable", "no answer, and so on", 503)
OPTION = "AAPL260320C00200000"
EVERY_ARTICLE = SubscriptionSet({"news": ["*"]})
AAPL, BOTH = (SubscriptionSet({"trades": names}) for names in (["AAPL"], ["AAPL", "MSFT"]))


def back_filled(scene: Scene, key: str = "i") -> list[Any]:
    return [message[key] for message in scene.got if message.get("backfilled")]


# News


def article(number: int, created_ns: int, updated_ns: int) -> dict[str, Any]:
    texts = dict.fromkeys(("headline", "summary", "author", "url", "content", "source"), "text")
    times = {"created_at": rfc3339(created_ns), "updated_at": rfc3339(updated_ns)}
    return {"id": number, "symbols": ["AAPL"], **texts, **times}


def test_all_news_are_asked_for_though_nothing_tells_the_time() -> None:
    """And an update is found though its article is old."""

    async def main(scene: Scene) -> None:
        old_ns = scene.clock.now_ns()
        scene.handler.receive([JSON.join([JSON.encode({"T": "n", **article(1, old_ns, old_ns)})])])
        await asyncio.sleep(100)
        scene.lose()
        await asyncio.sleep(5)
        now_ns = scene.clock.now_ns()
        scene.script.put("news", now_ns, article(1, old_ns, now_ns), "*")
        scene.script.put("news", now_ns, article(2, now_ns, now_ns), "*")
        await asyncio.sleep(5)
        scene.ready()
        await asyncio.sleep(60)

    scene = play(main, feed="news", topics=EVERY_ARTICLE)
    assert scene.gap.filling is Filling.WHOLE
    assert back_filled(scene, "id") == [1, 2]


# A stream that is late


def test_a_late_stream_loses_what_happened_before() -> None:
    """A message of it that can't be read is looked for where it happened."""

    async def main(scene: Scene) -> None:
        for number in range(1, 60):
            at_ns = scene.clock.now_ns() - 8 * SECOND
            item = trade(number, at_ns)
            scene.script.put("trades", at_ns, item)
            if number != 20:
                scene.come("t", "AAPL", item)
            else:
                scene.handler.receive([b'[{"T":"t","S":"AAPL","i":\xff}]'])
            await asyncio.sleep(0.5)
        await asyncio.sleep(60)

    scene = play(main)
    assert back_filled(scene) == [20]
    assert scene.gap.filling is Filling.WHOLE


def test_what_a_stalling_stream_brings_behind_a_gap_comes_once() -> None:
    """REST has it at once, and the stream five seconds later."""

    async def main(scene: Scene) -> None:
        await outage(scene)
        await asyncio.sleep(0.5)
        scene.happen(8, seen=False)
        await asyncio.sleep(5)
        scene.come("t", "AAPL", scene.script.items["trades", "AAPL"][-1][1])
        await asyncio.sleep(60)

    scene = play(main)
    assert scene.ids(scene.got) == [1, 2, 6, 7, 8, 3, 4, 5]


def test_what_a_stream_never_brings_behind_a_gap_comes_all_the_same() -> None:
    async def main(scene: Scene) -> None:
        await outage(scene)
        await asyncio.sleep(0.5)
        scene.happen(8, seen=False)
        await asyncio.sleep(60)

    assert back_filled(play(main)) == [3, 4, 5, 8]


# What REST has


def test_prints_that_are_alike_are_counted() -> None:
    """Trades of options have no ids; one of four was received."""

    async def main(scene: Scene) -> None:
        def happen(*, seen: bool) -> None:
            at_ns = scene.clock.now_ns()
            item = {"t": rfc3339(at_ns), "x": "N", "p": 1.5, "s": 1, "c": "a"}
            scene.script.put("trades", at_ns, item, OPTION)
            if seen:
                scene.come("t", OPTION, item)

        happen(seen=True)
        await asyncio.sleep(1)
        happen(seen=True)
        scene.lose()
        for _ in range(3):
            happen(seen=False)
        await asyncio.sleep(5)
        happen(seen=False)
        happen(seen=False)
        await asyncio.sleep(5)
        scene.ready()
        await asyncio.sleep(0.5)
        happen(seen=True)
        await asyncio.sleep(60)

    topics = SubscriptionSet({"trades": [OPTION]})
    scene = play(main, feed="opra", codec=MSGPACK, topics=topics)
    assert len(back_filled(scene, "t")) == scene.gap.messages == 5
    assert scene.gap.filling is Filling.WHOLE


@pytest.mark.parametrize("broken", [{"t": "2026-02-25 soon"}, {"x": ["V"]}])
def test_what_cannot_be_used_is_missing(broken: dict[str, Any]) -> None:
    async def main(scene: Scene) -> None:
        scene.happen(1)
        await asyncio.sleep(1)
        scene.lose()
        await asyncio.sleep(3)
        scene.happen(2, seen=False)
        scene.script.items["trades", "AAPL"][-1][1].update(broken)
        await asyncio.sleep(3)
        scene.ready()
        scene.happen(3)
        await asyncio.sleep(60)

    scene = play(main)
    assert not back_filled(scene)
    assert scene.gap.filling is Filling.PARTLY and ("trades", "AAPL") in scene.gap.missing
    assert "REST has some that can't be used" in scene.gap.trouble


def test_a_bar_of_one_symbol_proves_nothing_of_another() -> None:
    """REST has a minute's bars one after the other."""

    async def main(scene: Scene) -> None:
        minute_ns = (scene.clock.now_ns() // MINUTE + 1) * MINUTE
        await asyncio.sleep((minute_ns - scene.clock.now_ns()) / SECOND - 10)
        for symbol in ("AAPL", "MSFT"):
            scene.come("t", symbol, trade(1, scene.clock.now_ns()))
        scene.lose()
        item = bar(minute_ns - MINUTE)
        scene.script.put("bars", minute_ns - MINUTE, item)
        await asyncio.sleep(11)
        scene.ready()
        await asyncio.sleep(6)
        scene.script.put("bars", minute_ns - MINUTE, item, "MSFT")
        await asyncio.sleep(60)

    scene = play(main, topics=SubscriptionSet({"bars": ["AAPL", "MSFT"]}))
    assert sorted(m["S"] for m in scene.plain if m["T"] == "b") == ["AAPL", "MSFT"]
    assert scene.gap.filling is Filling.WHOLE


# Attempts


@pytest.mark.parametrize("why", ["a newer gap", "a failure"])
def test_what_comes_in_several_attempts_is_in_order(why: str) -> None:
    questions = list[int]()

    async def main(scene: Scene) -> None:
        async def answer(channel: str, to_ns: int) -> None:
            if channel != "trades" or to_ns > START_NS + 213 * SECOND:
                return
            questions.append(to_ns)
            if why == "a newer gap":
                await asyncio.sleep(4)
            elif len(questions) == 4:
                raise UNREACHABLE

        scene.script.on_question = answer
        scene.happen(1)
        scene.happen(2)
        scene.lose()
        for number in range(3, 53):
            await asyncio.sleep(4)
            scene.happen(number, seen=False)
        scene.ready()
        for number in (53, 54):
            await asyncio.sleep(0.5)
            scene.happen(number)
        await asyncio.sleep(24)
        if why == "a newer gap":
            scene.lose()
            await asyncio.sleep(2)
            scene.ready()
            scene.happen(55)
        await asyncio.sleep(200)

    scene = play(main, at_once=3, seconds=300)
    assert back_filled(scene) == list(range(3, 53))
    assert len(questions) > len(set(questions))
    assert all(gap.filling is Filling.WHOLE for gap in scene.handler.gaps.recent())


def test_what_was_asked_for_twice_is_told_once() -> None:
    """Without ids: REST is behind, is asked again, and fails behind the last page."""
    answers = list[int]()

    async def main(scene: Scene) -> None:
        whole = scene.script.trades

        async def failing(symbols: Sequence[str], from_ns: int, to_ns: int) -> AsyncIterator[Page]:
            answers.append(to_ns)
            async for page in whole(symbols, from_ns, to_ns):
                yield page
            if len(answers) == 3:  # the first was for the time
                raise UNREACHABLE

        scene.script.trades = failing  # type: ignore[method-assign, assignment]
        scene.script.lag_ns = 4 * SECOND
        scene.lose()
        for number in range(1, 9):
            await asyncio.sleep(1)
            at_ns = scene.clock.now_ns()
            item = {"t": rfc3339(at_ns), "x": "N", "p": 1.5, "s": number, "c": "a"}
            scene.script.put("trades", at_ns, item, OPTION)
            if number == 8:
                scene.ready()
                scene.come("t", OPTION, item)
        await asyncio.sleep(2000)

    topics = SubscriptionSet({"trades": [OPTION]})
    scene = play(main, feed="opra", codec=MSGPACK, topics=topics)
    assert back_filled(scene, "s") == list(range(1, 8))
    assert scene.gap.filling is Filling.WHOLE and len(answers) > 2


def test_a_quiet_symbol_delays_no_other() -> None:
    """It has no bar; whether there is one to come only time tells."""
    bars_at = list[float]()

    async def main(scene: Scene) -> None:
        minute_ns = (scene.clock.now_ns() // MINUTE + 1) * MINUTE
        await asyncio.sleep((minute_ns - scene.clock.now_ns()) / SECOND - 5)
        scene.happen(1)
        scene.lose()
        scene.script.put("bars", minute_ns - MINUTE, bar(minute_ns - MINUTE))
        await asyncio.sleep(6)
        scene.happen(2, seen=False)
        await asyncio.sleep(1)
        scene.ready()
        scene.happen(3)
        ended = scene.clock.monotonic_ns()
        while scene.gap.filling is not Filling.WHOLE:
            await asyncio.sleep(0.5)
            if not bars_at and any(m["T"] == "b" for m in scene.plain):
                bars_at.append((scene.clock.monotonic_ns() - ended) / SECOND)
                assert 2 in scene.ids(scene.got)
        assert (scene.clock.monotonic_ns() - ended) / SECOND > 15

    topics = SubscriptionSet({"bars": ["AAPL", "MSFT"], "trades": ["AAPL"]})
    scene = play(main, topics=topics)
    assert bars_at[0] < 5 and scene.gap.messages == 2
    # What is asked again is the quiet one alone.
    assert [one[1] for one in scene.script.asked if one[0] == "bars"][-1] == ("MSFT",)


def test_what_is_handed_out_when_time_is_up_is_not_lost() -> None:
    """The last attempt ends while it waits for what may be on its way."""

    async def main(scene: Scene) -> None:
        async def answer(channel: str, to_ns: int) -> None:
            if len(scene.script.asked) < 5:
                raise UNREACHABLE
            await asyncio.sleep(1.5)

        scene.script.on_question = answer
        scene.happen(1)
        await asyncio.sleep(1)
        scene.lose()
        await asyncio.sleep(3)
        scene.happen(2, seen=False)
        await asyncio.sleep(3)
        scene.ready()
        scene.happen(3)
        await asyncio.sleep(1.5)
        scene.happen(4, seen=False)
        await asyncio.sleep(2000)

    scene = play(main, topics=AAPL, seconds=2.0)
    assert 2 in back_filled(scene)


def test_a_refusal_is_said_to_the_end() -> None:
    """Also where another channel is tried again."""
    bars = list[int]()

    async def main(scene: Scene) -> None:
        async def answer(channel: str, to_ns: int) -> None:
            if channel == "trades":
                raise MarketDataFailed("symbol", "no history of that symbol", 422)
            bars.append(to_ns)
            if len(bars) <= 2:
                raise UNREACHABLE

        scene.script.on_question = answer
        await outage(scene)
        await asyncio.sleep(140)

    scene = play(main)
    assert scene.gap.filling is Filling.PARTLY and [*scene.gap.missing] == [*AAPL]
    assert scene.gap.trouble == "no history of that symbol"


def test_gaps_that_wait_do_not_take_all_memory() -> None:
    """The oldest is given up, with a word."""

    async def main(scene: Scene) -> None:
        async def answer(channel: str, to_ns: int) -> None:
            raise UNREACHABLE

        scene.script.on_question = answer
        for number in range(600):
            scene.happen(number)
            await asyncio.sleep(0.1)
            if number % 100 == 99:
                scene.lose()
                await asyncio.sleep(1)
                scene.ready()

    with capture_logs() as lines:
        play(main, messages=250)
    given_up = [line["gap"] for line in lines if line["event"] == "back_fill.given_up"]
    assert given_up and given_up == sorted(given_up)


# What nobody asked for


def test_what_was_given_up_during_a_gap_is_not_covered() -> None:
    """Upstream is asked for nothing when it is back, so it acknowledges nothing."""

    async def main(scene: Scene) -> None:
        handler = scene.handler
        scene.happen(1)
        await asyncio.sleep(1)
        scene.lose()
        for consumer in scene.consumers:
            handler.unsubscribe(consumer, consumer.topics)
        await asyncio.sleep(30)
        scene.ready()
        returned_ns = scene.clock.now_ns()
        await asyncio.sleep(600)
        assert handler.coverage.uncovered("trades", "AAPL", returned_ns, scene.clock.now_ns())
        asked_ns = scene.clock.now_ns()
        handler.subscribe(scene.consumers[0], AAPL, lambda refusal: None)
        scene.agree()
        await asyncio.sleep(5)
        now_ns = scene.clock.now_ns()
        holes = handler.coverage.uncovered("trades", "AAPL", returned_ns, now_ns)
        assert holes == [(returned_ns, asked_ns)]

    play(main, topics=AAPL)


def test_what_was_not_asked_for_is_told_at_the_edge_of_the_ring() -> None:
    """The message that is named is forgotten, and everything behind it is there."""

    async def main(scene: Scene) -> None:
        handler = scene.handler
        await asyncio.sleep(1)
        scene.happen(1)
        for consumer in scene.consumers:
            handler.unsubscribe(consumer, AAPL)
        await asyncio.sleep(20)
        scene.agree()
        gone_ns = scene.clock.now_ns()
        await asyncio.sleep(10)
        handler.subscribe(scene.consumers[0], AAPL, lambda refusal: None)
        scene.agree()
        back_ns = scene.clock.now_ns()
        number = 1
        while handler.ring.first == 1:
            await asyncio.sleep(1)
            number += 1
            scene.come("t", "MSFT", trade(number, scene.clock.now_ns()))
        assert handler.ring.holds(1)
        assert handler.unrecorded(AAPL, 1) == [(gone_ns, back_ns, AAPL)]

    play(main, topics=BOTH, ring_bytes=1800)
