"""What is usual for a topic, learned from its pauses."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_proxy.model.time import NS_PER_SECOND
from stream_proxy.sources.arrival import Arrivals, Pauses, slot_of
from stream_proxy.sources.market_phase import Period, Phase

OPENING, LATER = (Phase.REGULAR, 0), (Phase.REGULAR, 1)
NIGHT = (Phase.CLOSED, 0)
EARLY = (Phase.PRE_MARKET, 3)


class Topic:
    """Arrivals, and a clock of their own."""

    def __init__(self, slot: tuple[Phase, int] = OPENING) -> None:
        self.now = 0.0
        self.arrivals = Arrivals(slot, 0)

    def pause(self, *seconds: float) -> Topic:
        for pause in seconds:
            self.now += pause
            self.arrivals.heard(int(self.now * NS_PER_SECOND))
        return self

    def enter(self, *slots: tuple[Phase, int]) -> Topic:
        for slot in slots:
            self.arrivals.enter(slot, int(self.now * NS_PER_SECOND))
        return self

    def patience(self, lively: bool = True) -> float | None:
        expected = self.arrivals.expectation(lively)
        return None if expected is None else expected.patience_seconds


def test_too_little_is_nothing() -> None:
    """Neither a few pauses nor one burst says how long a pause may be."""
    assert Topic().pause(*[100.0] * 19).patience() is None
    assert Topic().pause(*[0.25] * 500).patience() is None
    assert Topic().pause(*[100.0] * 20).patience() == 300


def test_a_regular_topic_has_a_close_bound_and_a_thin_one_a_wide_one() -> None:
    """Minute bars, a busy tape, and trades that come when they come."""
    assert Topic().pause(*[60.0] * 30).patience() == pytest.approx(180)
    busy = Topic().pause(*[0.25, 0.25, 0.5] * 500).patience()
    assert busy is not None and busy < 6
    random = Random(1)
    thin = Topic().pause(*[random.expovariate(1 / 120) for _ in range(200)]).patience()
    assert thin is not None and 2 * 15 * 120 < thin < 2 * 30 * 120


def test_the_most_patient_of_what_is_known_counts() -> None:
    """The opening's rate says little about noon."""
    topic = Topic().pause(*[1.0] * 1000)
    quick = topic.patience()
    assert quick is not None
    assert topic.enter(LATER).patience() == pytest.approx(quick, rel=0.5), "half an hour ago counts"
    slow = topic.pause(*[30.0, 60.0] * 20).patience()
    assert slow is not None and slow > 60 * 3


def test_other_days_are_remembered() -> None:
    """At the opening, yesterday's opening is what is known."""
    topic = Topic().pause(*[1.0] * 1000).enter(LATER)
    topic.pause(*[10.0] * 100).enter(NIGHT, EARLY, OPENING)
    assert topic.patience() == pytest.approx(3, abs=1)


def test_out_of_hours_today_and_other_days_must_agree() -> None:
    """Yesterday's lively evening is no promise, nor is this evening's first half hour."""
    topic = Topic(EARLY).pause(*[2.0] * 500)
    assert topic.patience(lively=True) is not None
    assert topic.patience(lively=False) is None
    topic.enter((Phase.PRE_MARKET, 4), OPENING, NIGHT, EARLY)
    assert topic.patience(lively=False) is None
    topic.pause(*[2.0] * 500)
    known = topic.patience(lively=False)
    assert known is not None and known >= 8


def test_a_night_is_no_pause() -> None:
    """What lies between two phases is held against nobody."""
    topic = Topic().pause(*[2.0] * 500)
    topic.enter(NIGHT)
    topic.now += 60_000
    topic.enter(OPENING).pause(*[2.0] * 500)
    patience = topic.patience()
    assert patience is not None and patience < 10


@given(st.lists(st.floats(0.01, 10_000), min_size=20, max_size=200))
def test_nothing_seen_is_ever_impossible(pauses: list[float]) -> None:
    """However they are spread, the bound is far above every pause there was."""
    seen = Pauses()
    for pause in pauses:
        seen.add(pause)
    assert seen.patience(1.0) >= 3 * max(pauses)
    more = Pauses()
    more.absorb(seen)
    more.add(2 * max(pauses))
    assert more.patience(1.0) >= seen.patience(1.0) * 0.9


@given(st.floats(0.5, 600), st.integers(0, 2**32))
def test_a_poisson_process_stays_far_below_its_bound(mean: float, seed: int) -> None:
    """Exponential pauses of any rate: the bound is near twenty-one means, never near ten."""
    random = Random(seed)
    seen = Pauses()
    for _ in range(400):
        seen.add(random.expovariate(1 / mean))
    assert 12 * mean < seen.patience(1.0) < 90 * mean


def test_slots_are_half_hours_of_a_phase() -> None:
    """They follow the session, not the clock: daylight time and half days shift nothing."""
    period = Period(Phase.REGULAR, 1000 * NS_PER_SECOND, 9000 * NS_PER_SECOND)
    assert slot_of(period, 1000 * NS_PER_SECOND) == OPENING
    assert slot_of(period, (1000 + 1799) * NS_PER_SECOND) == OPENING
    assert slot_of(period, (1000 + 1800) * NS_PER_SECOND) == LATER
