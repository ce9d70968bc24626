"""The certificate: complete, or what is missing and why."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stream_proxy.control.continuity import Certificate, Continuity
from stream_proxy.control.refusals import Refused
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.time import rfc3339
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.state.gaps import Filling
from stream_proxy.wire.alpaca.codec import JSON

SECOND = 1_000_000_000
BEGAN_NS = 1_772_000_000 * SECOND
BOTH = SubscriptionSet({"trades": ["AAPL", "MSFT"]})


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0
        self.set_by = 0.0

    def now_ns(self) -> int:
        return BEGAN_NS + round((self.seconds + self.set_by) * SECOND)

    def monotonic_ns(self) -> int:
        return round(self.seconds * SECOND)


class Scene:
    """A feed that gets a trade of AAPL a second, from a second after its start."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.handler = FeedHandler(
            FEEDS["sip"], JSON, self.clock, epoch="e1", ring_bytes=1 << 20, ring_seconds=3600
        )
        self.handlers = {"sip": self.handler}
        self.handler.demand.acquire(BOTH, lambda error: None)
        self.clock.seconds = 1
        self.handler.coverage.hold(BOTH, BOTH, self.clock.now_ns(), self.clock.monotonic_ns())

    def trade(self, seconds: float) -> None:
        self.clock.seconds = seconds
        self.handler.receive([msgspec.json.encode([{"T": "t", "S": "AAPL", "i": seconds}])])

    def gap(self, since: float, until: float, topics: SubscriptionSet = BOTH) -> Any:
        gaps = self.handler.gaps
        gaps.begin(BEGAN_NS + round(since * SECOND), "lost", topics, 0)
        return gaps.end(BEGAN_NS + round(until * SECOND), 0)

    def ask(self, **question: str) -> Certificate:
        names = ("since", "until", "symbols", "channels", "feed")
        return Continuity(self).certificate(**{name: question.get(name, "") for name in names})


@pytest.fixture
def scene() -> Scene:
    made = Scene()
    for second in range(2, 21):
        made.trade(second)
    return made


def at(seconds: float) -> str:
    return rfc3339(BEGAN_NS + round(seconds * SECOND))


def test_complete(scene: Scene) -> None:
    for question in (
        {"since": at(1), "until": at(20)},
        {"since": "e1:1", "until": "e1:19"},
        {"since": "e1:3", "symbols": "AAPL"},
    ):
        answer = scene.ask(**question)
        assert answer.complete and not answer.missing and not answer.back_filled
    assert scene.ask(since=at(1)).topics == 2
    assert scene.ask(since=at(1)).epoch == "e1"


def test_positions_are_rounded_to_the_side_of_doubt(scene: Scene) -> None:
    """A gap right behind the position belongs to the question."""
    answer = scene.ask(since="e1:5", until="e1:8")
    assert answer.since <= at(6) and answer.until >= at(9)


def test_what_nobody_asked_for_was_not_recorded(scene: Scene) -> None:
    answer = scene.ask(symbols="AAPL,TSLA", channels="trades")
    assert not answer.complete
    rows = [(row.symbols, row.since, row.until) for row in answer.missing]
    assert rows == [(["AAPL"], at(0), at(1)), (["TSLA"], at(0), at(20))]
    assert scene.ask(symbols="TSLA", since=at(2)).missing[0].channels == [
        "trades",
        "quotes",
        "bars",
    ]


def test_before_the_start_nothing_is_known(scene: Scene) -> None:
    answer = scene.ask(since=at(-60), until=at(-30))
    assert [row.why for row in answer.missing] == ["the feed wasn't started here yet"]
    assert [row.until for row in answer.missing] == [at(-30)]


def test_gaps_are_missing_until_they_are_filled(scene: Scene) -> None:
    gap = scene.gap(5, 7)
    (row,) = scene.ask(since=at(1)).missing
    assert (row.since, row.until, row.gap, row.symbols) == (at(5), at(7), 1, ["AAPL", "MSFT"])
    assert scene.ask(since=at(8)).complete and scene.ask(since=at(1), until=at(4)).complete
    gap.filling, gap.filled = Filling.PARTLY, SubscriptionSet({"trades": ["AAPL"]})
    gap.messages, gap.trouble = 3, "the keys are refused"
    answer = scene.ask(since=at(1))
    (row,), (filled,) = answer.missing, answer.back_filled
    assert row.symbols == ["MSFT"] and "the keys are refused" in row.why
    assert (filled.symbols, filled.messages) == (["AAPL"], 3)
    assert filled.unknown == ["corrections", "cancelErrors"]
    answer = scene.ask(since=at(1), symbols="AAPL")
    assert answer.complete and len(answer.back_filled) == 1


def test_a_clock_that_is_set_back_hides_no_gap(scene: Scene) -> None:
    """Positions know better than times, and who names nothing asks about everything."""
    last = scene.handler.sequence
    gap = scene.handler.gaps.begin(scene.clock.now_ns(), "lost", BOTH, last)
    scene.clock.seconds += 2
    scene.handler.gaps.end(scene.clock.now_ns(), last)
    assert gap is not None
    scene.clock.set_by = -10.0
    assert [row.gap for row in scene.ask().missing if row.gap] == [gap.number]
    scene.trade(23)
    scene.trade(24)
    for since, until in ((f"e1:{last}", f"e1:{last + 2}"), ("e1:0", ""), (f"e1:{last}", "")):
        answer = scene.ask(since=since, until=until)
        assert [row.gap for row in answer.missing if row.gap] == [gap.number], since
    assert scene.ask(since=f"e1:{last + 1}", until=f"e1:{last + 2}").complete
    with pytest.raises(Refused, match="to is before from"):
        scene.ask(since="e1:5", until="e1:4")


def test_an_open_gap_has_no_end(scene: Scene) -> None:
    scene.handler.gaps.begin(BEGAN_NS + 19 * SECOND, "lost", BOTH, 0)
    (row,) = scene.ask(since=at(1)).missing
    assert row.until is None


@pytest.mark.parametrize(
    ("question", "status", "text"),
    [
        ({"feed": "opra"}, 404, "there are: sip"),
        ({"since": "yesterday"}, 422, "neither a position"),
        ({"since": "e0:1"}, 404, "of epoch e0"),
        ({"since": "e1:99"}, 422, "in the future"),
        ({"since": at(5), "until": at(4)}, 422, "before from"),
        ({"channels": "trade"}, 422, "no channel 'trade'"),
        ({"symbols": ",".join(f"S{n}" for n in range(5001))}, 422, "5000 symbols"),
    ],
)
def test_what_cannot_be_answered(
    scene: Scene, question: dict[str, str], status: int, text: str
) -> None:
    with pytest.raises(Refused) as refused:
        scene.ask(**question)
    assert refused.value.status == status and text in refused.value.message


def test_an_open_gap_is_told_though_the_clock_was_set_back(scene: Scene) -> None:
    scene.handler.gaps.begin(BEGAN_NS + 900 * SECOND, "lost", BOTH, 0)
    (row,) = scene.ask(since=at(1)).missing
    assert row.until is None
