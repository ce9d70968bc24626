"""From when to when the record is complete, where the journal was written by a wrong clock."""

from __future__ import annotations

from stream_proxy.sources.trading.extent import Extent, RecordExtent
from stream_proxy.state.journal import AccountState

NOW = 10_000


def state(since: int, until: int = 0, last: int = 0) -> AccountState:
    return AccountState("paper", "e", 1, 5, since, until, "", last)


def extent(found: AccountState, offset: int = 0) -> Extent:
    return RecordExtent(found).at(found, NOW, offset)


def test_what_may_be_true_is_believed() -> None:
    assert extent(state(5_000, 9_000, 8_000)) == (5_000, 9_000)
    assert extent(state(9_990)) == (9_990, 9_990)
    # Our clock is ahead now; that says nothing about the time when the record began.
    assert extent(state(5_000, 9_000, 8_000), -4_000) == (5_000, 9_000)


def test_a_record_that_was_just_begun_with_a_wrong_clock() -> None:
    assert extent(state(13_590), -3_600) == (9_990, 9_990)
    assert extent(state(10_010), -30) == (9_980, 9_980)
    assert extent(state(6_390), 3_600) == (6_390, 6_390), "behind: it asks for a little more"


def test_compared_until_an_instant_that_has_not_come() -> None:
    """It was noted by a clock that was ahead; what is sure is the last event."""
    assert extent(state(5_000, 13_600, 9_100)) == (5_000, 9_100)
    assert extent(state(5_000, 13_600)) == (5_000, 5_000)
    assert extent(state(5_000, 13_600, 13_700)) == (5_000, NOW)


def test_compared_before_it_began() -> None:
    """Begun by a clock that was ahead, and compared by Alpaca's."""
    assert extent(state(9_900, 9_700, 9_600), -300) == (9_600, 9_700)
    assert extent(state(9_900, 9_700, 9_600)) == (9_700, 9_700), "the clock was mended since"
    assert extent(state(13_000, 9_700, 9_600), -3_600) == (9_400, 9_700)


def test_what_this_process_knows_is_worth_more_than_the_journal() -> None:
    found = state(13_590)
    known = RecordExtent(found)
    assert known.at(found, NOW, -3_600) == (9_990, 9_990)
    known.complete_until(10_020)
    # The clock was mended, and the journal still has what was written before.
    assert known.at(state(13_590, 13_600, 10_010), 10_050, 0) == (9_990, 10_020)
    # A comparison by a wrong clock before Alpaca's time was known.
    known.complete_until(13_600)
    assert known.at(state(13_590, 13_600, 10_010), 10_060, 0) == (9_990, 10_060)


def test_what_is_forgotten_moves_the_beginning() -> None:
    known = RecordExtent(state(5_000, 9_000, 8_000))
    known.at(state(5_000, 9_000, 8_000), NOW, 0)
    assert known.at(state(7_000, 9_500, 9_400), NOW, 0) == (7_000, 9_000)


def test_a_beginning_that_is_in_doubt_is_the_earliest_and_is_written_down() -> None:
    found = state(13_590)
    known = RecordExtent(found)
    assert known.correction is None
    assert known.at(found, NOW, -3_600, 20) == (9_970, 9_970)
    assert known.correction == (13_590, 9_970)
    # Written down, and found by a process that measures something else.
    corrected = state(9_970, 9_990, 9_980)
    assert known.at(corrected, NOW, -3_600, 20).since_ns == 9_970
    assert RecordExtent(corrected).at(corrected, 10_020, -3_611, 90).since_ns == 9_970


def test_a_beginning_that_may_be_true_is_left_alone() -> None:
    known = RecordExtent(state(5_000, 9_000, 8_000))
    known.at(state(5_000, 9_000, 8_000), NOW, -4_000, 20)
    assert known.correction is None


def test_what_the_doubt_explains_is_not_wrong() -> None:
    """Forgotten up to a moment ago, and Alpaca's clock is known to a second only."""
    found = state(10_400, 99_000, 10_600)
    assert RecordExtent(found).at(found, NOW, 0, 1_000) == (10_400, 10_400)
    tracker = RecordExtent(found)
    tracker.at(found, NOW, 0, 1_000)
    assert tracker.correction is None
    # Beyond it, it is: a clock that was ahead noted it.
    found = state(13_000, 9_700, 9_600)
    assert RecordExtent(found).at(found, NOW, -3_600, 1_000) == (8_400, 9_700)
