"""Pings and what their pongs prove."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_proxy.model.time import NS_PER_SECOND
from stream_proxy.sources.pings import Pings


def at(seconds: float) -> int:
    return int(seconds * NS_PER_SECOND)


def test_a_pong_answers_the_oldest_ping() -> None:
    """A second ping behind an unanswered one doesn't move the deadline."""
    pings = Pings(10, 5)
    pings.opened(at(100))
    assert not pings.due(at(109)) and pings.due(at(110))
    pings.sent(at(110))
    pings.sent(at(114))
    assert not pings.slow(at(112)) and pings.slow(at(113))
    assert not pings.overdue(at(115)) and pings.overdue(at(116))
    pings.ponged()
    assert not pings.overdue(at(116))
    assert pings.answered_since(at(110)) and not pings.answered_since(at(111))
    assert not pings.due(at(123)) and pings.due(at(124))


@given(st.lists(st.tuples(st.booleans(), st.floats(0.01, 20)), max_size=40))
def test_nothing_is_answered_that_was_not_asked(steps: list[tuple[bool, float]]) -> None:
    """However pings and pongs alternate, a pong vouches for no instant after its ping."""
    pings = Pings(10, 5)
    now = 0.0
    pings.opened(0)
    sent: list[float] = []
    for ping, wait in steps:
        now += wait
        if ping:
            pings.sent(at(now))
            sent.append(now)
        else:
            pings.ponged()
            sent.clear()
        assert pings.awaited == bool(sent)
        if sent:
            assert pings.overdue(at(now)) == (at(now) - at(sent[0]) > at(5))
        assert not pings.answered_since(at(now) + 1)
