"""When a consumer counts as behind and when it has caught up, on a clock of the test's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_proxy.model.slow_policy import DISCONNECT, SlowPolicy, read_slow_policy
from stream_proxy.outlets.lag import BEHIND_NS, CALM_NS, Lag, Load, Turn

FULL, OPEN = Load(True, 0.1, 0.0), Load(False, 0.0, 0.0)


def test_a_moment_is_not_behind() -> None:
    """A socket that is full for less than the time, and then writes everything, is a quick one."""
    lag = Lag(yields=True)
    for now_ns in range(0, 10 * BEHIND_NS, BEHIND_NS):
        lag.filled_up(now_ns, already_waiting=False)
        assert lag.judge(now_ns + BEHIND_NS - 1, FULL) == []
    assert lag.judge(now_ns + BEHIND_NS - 1, OPEN) == []
    assert lag.settled


def test_one_that_never_writes_everything_is_behind() -> None:
    """Though the socket takes something now and then."""
    lag = Lag(yields=True)
    lag.filled_up(0, already_waiting=False)
    lag.filled_up(BEHIND_NS // 2, already_waiting=True)
    assert lag.judge(BEHIND_NS, FULL) == [Turn.BEHIND]


def test_much_at_once_is_behind_at_once() -> None:
    lag = Lag(yields=True)
    lag.filled_up(0, already_waiting=False)
    assert lag.judge(1, Load(True, 0.25, 0.0)) == [Turn.BEHIND]


def test_it_has_caught_up_after_a_calm_time() -> None:
    lag = Lag(yields=True)
    lag.filled_up(0, already_waiting=False)
    assert lag.judge(BEHIND_NS, FULL) == [Turn.BEHIND]
    start = 2 * BEHIND_NS
    assert lag.judge(start, OPEN) == []
    lag.filled_up(start + 1, already_waiting=False)
    start += CALM_NS
    assert lag.judge(start, OPEN) == [], "it was full between the two looks"
    assert lag.judge(start + CALM_NS - 1, OPEN) == []
    assert lag.judge(start + CALM_NS, OPEN) == [Turn.CAUGHT_UP]
    assert lag.settled


def test_who_goes_back_and_forth_has_to_be_calm_for_longer() -> None:
    lag = Lag(yields=True)
    now_ns, waits = 0, []
    for _ in range(4):
        assert lag.judge(now_ns, Load(True, 0.5, 0.0)) == [Turn.BEHIND]
        began_ns = now_ns
        while Turn.CAUGHT_UP not in lag.judge(now_ns, OPEN):
            now_ns += CALM_NS // 10
        waits.append((now_ns - began_ns) // CALM_NS)
        now_ns += 1
    assert waits == [1, 2, 4, 8]


@pytest.mark.parametrize("by", ["bytes", "age"])
@pytest.mark.parametrize("yields", [False, True])
def test_a_warning_before_the_cut(by: str, yields: bool) -> None:
    """At three quarters, taken back at a half; also for those who are cut without getting less."""

    def load(share: float) -> Load:
        return Load(True, share, 0.0) if by == "bytes" else Load(True, 0.0, share)

    lag, told = Lag(yields), []
    for share in (0.1, 0.74, 0.75, 0.9, 0.6, 0.5, 0.76, 0.49, 0.6):
        told += [turn for turn in lag.judge(0, load(share)) if turn is not Turn.BEHIND]
    assert told == [Turn.NEAR_CUT, Turn.CLEAR]
    assert lag.behind == (yields and by == "bytes")


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1), st.floats(0, 1), st.integers(0, 10**10))))
def test_turns_alternate(history: list[tuple[bool, float, float, int]]) -> None:
    """Nobody is told twice that it is behind, or that it has caught up, without the other."""
    lag, now_ns, turns = Lag(yields=True), 0, []
    for waits, share, age, later_ns in history:
        now_ns += later_ns
        turns += lag.judge(now_ns, Load(waits, share, age))
    for begin, end in ((Turn.BEHIND, Turn.CAUGHT_UP), (Turn.NEAR_CUT, Turn.CLEAR)):
        mine = [turn for turn in turns if turn in (begin, end)]
        assert mine == [begin, end] * (len(mine) // 2) + [begin] * (len(mine) % 2)


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("conflate", SlowPolicy("conflate")),
        (" Bars ", SlowPolicy("bars")),
        ("disconnect", DISCONNECT),
        ("sample=250", SlowPolicy("sample", 250)),
    ],
)
def test_policies(text: str, policy: SlowPolicy) -> None:
    assert read_slow_policy(text) == policy
    assert read_slow_policy(str(policy)) == policy


@pytest.mark.parametrize(
    "text", ["", "sample", "sample=", "sample=9", "sample=1e3", "sample=99999999999", "conflated"]
)
def test_other_words_are_refused_with_those_that_exist(text: str) -> None:
    with pytest.raises(ValueError, match=r"conflate, bars|10 to 60000"):
        read_slow_policy(text)
