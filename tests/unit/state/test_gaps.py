"""The log of gaps."""

from __future__ import annotations

import pytest

from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.state.gaps import Filling, Gap, GapLog

TRADES = SubscriptionSet({"trades": ["AAPL"]})
QUOTES = SubscriptionSet({"quotes": ["AAPL"]})


def times(gap: Gap | None) -> tuple[int, int | None]:
    assert gap is not None
    return gap.from_ns, gap.to_ns


def test_an_open_gap_goes_on() -> None:
    """Two failures in a row are one gap, counted once, with its first reason and all topics."""
    log = GapLog()
    opened = log.begin(100, "lost", TRADES, 7)
    assert log.begin(150, "lost again", TRADES) is None
    assert log.begin(160, "more wanted", QUOTES) is opened is log.current
    ended = log.end(200, 9)
    assert ended is opened is not None
    assert (ended.number, ended.why, ended.topics) == (1, "lost", TRADES | QUOTES)
    assert (times(ended), ended.after_sequence, ended.until_sequence) == ((100, 200), 7, 9)
    assert (log.count, log.current, log.end(300)) == (1, None, None)


def test_a_gap_does_not_reach_back_into_the_last_one() -> None:
    """After a reconnect that brought no data, the last message is older than the last gap's end."""
    log = GapLog()
    log.begin(100, "lost", TRADES)
    log.end(200)
    log.begin(100, "lost", TRADES)
    assert times(log.end(300)) == (200, 300)
    assert [gap.from_ns for gap in log.recent()] == [100, 200]


def test_old_gaps_are_forgotten_but_counted() -> None:
    """Memory is bounded, their number and their length aren't; that they are forgotten is said."""
    log = GapLog()
    for start in range(0, 20_000, 10):
        log.begin(start, "lost", TRADES)
        log.end(start + 5)
    assert (log.count, log.closed_ns) == (2000, 2000 * 5)
    assert len(log.recent()) == 1000
    assert log.recent()[-1].to_ns == 19_995
    assert log.forgotten_until_ns == 9995


def test_losses_of_one_second_are_one_gap() -> None:
    """Each of them is news; one that was filled meanwhile isn't opened again."""
    log = GapLog()
    second = 1_000_000_000
    first = log.note(0, 0, "damaged", TRADES, 1)
    assert first is not None and log.note(second // 2, second // 2, "damaged", QUOTES, 2) is first
    assert (times(first), first.topics, first.until_sequence) == (
        (0, second // 2),
        TRADES | QUOTES,
        2,
    )
    first.filling = Filling.WHOLE
    assert log.note(second, second, "damaged", TRADES, 3) is not first
    assert log.note(9 * second, 9 * second, "damaged", TRADES, 3) is not first
    assert (log.count, log.closed_ns) == (3, second // 2)
    log.begin(20 * second, "lost", TRADES)
    assert log.note(21 * second, 21 * second, "damaged", TRADES, 4) is None


def test_what_is_missing_is_what_was_not_filled() -> None:
    log = GapLog()
    log.begin(1, "lost", TRADES | QUOTES)
    gap = log.end(2)
    assert gap is not None
    gap.filled = TRADES
    assert gap.missing == QUOTES


def test_a_clock_that_is_set_back_hides_no_gap() -> None:
    """The next gap isn't put behind an end that is in the future now, and none ends before it
    begins."""
    log = GapLog()
    log.begin(1000, "lost", TRADES, now_ns=1010)
    log.end(1100)
    log.begin(300, "lost", TRADES, now_ns=310)
    assert times(log.end(400)) == (300, 400)
    log.begin(450, "lost", TRADES, now_ns=460)
    assert times(log.end(50)) == (50, 450)


@pytest.mark.parametrize("jump", [0, 3600, 1, -1, -3600])
@pytest.mark.parametrize("at", [0, 30, 99])
def test_a_clock_that_is_set_leaves_nothing_out(jump: int, at: int) -> None:
    """Whatever the wall clock showed at any moment of the gap lies in it."""
    log, second = GapLog(), 1_000_000_000

    def wall(moment: int) -> int:
        return (10_000 + moment + (jump if moment > at else 0)) * second

    log.begin(wall(0), "lost", TRADES, now_ns=wall(100), began_ns=5 * second)
    gap = log.end(wall(100), ended_ns=105 * second)
    assert gap is not None and gap.to_ns is not None
    assert all(gap.from_ns <= wall(moment) <= gap.to_ns for moment in range(101))
    assert jump or times(gap) == (wall(0), wall(100))


def test_a_gap_behind_one_in_which_the_clock_was_set_keeps_its_beginning() -> None:
    """What is noticed later in it doesn't make it begin later."""
    log = GapLog()
    log.begin(500, "lost", TRADES, now_ns=510, began_ns=500)
    log.end(1600, ended_ns=600)
    # The last message is still the one before both.
    log.begin(500, "lost", TRADES, now_ns=1650, began_ns=500)
    assert log.begin(1700, "more wanted", TRADES, now_ns=1700, began_ns=700) is None
    assert times(log.end(1800, ended_ns=800)) == (1600, 1800)


def test_what_is_forgotten_stays_so_when_the_clock_is_set_back() -> None:
    log = GapLog()
    log.begin(10_000, "lost", TRADES, now_ns=10_000, began_ns=1)
    log.end(10_010, ended_ns=11)
    for number in range(1001):
        at_ns, began_ns = 6_000 + 2 * number, 20 + 2 * number
        log.begin(at_ns, "lost", TRADES, now_ns=at_ns, began_ns=began_ns)
        log.end(at_ns + 1, ended_ns=began_ns + 1)
    assert log.forgotten_until_ns == 10_010
