"""What was asked of upstream, and when."""

from __future__ import annotations

from stream_proxy.model.time import NS_PER_SECOND
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.state.coverage import Coverage

AAPL = SubscriptionSet({"trades": ["AAPL"]})
BOTH = SubscriptionSet({"trades": ["AAPL", "MSFT"]})
ALL = SubscriptionSet({"trades": ["*"]})
NOTHING = SubscriptionSet()


def test_from_confirmed_until_given_up() -> None:
    coverage = Coverage()
    coverage.hold(AAPL, AAPL, 10, 10)
    coverage.hold(BOTH, BOTH, 20, 20)
    coverage.hold(AAPL, AAPL, 30, 30)
    assert coverage.uncovered("trades", "AAPL", 0, 100) == [(0, 10)]
    assert coverage.uncovered("trades", "MSFT", 0, 100) == [(0, 20), (30, 100)]
    assert coverage.uncovered("trades", "MSFT", 21, 29) == []
    assert coverage.uncovered("quotes", "AAPL", 0, 100) == [(0, 100)]


def test_an_interruption_is_not_an_end() -> None:
    """Everything is asked for again, bit by bit; the gap says what was missed."""
    coverage = Coverage()
    coverage.hold(BOTH, BOTH, 10, 10)
    coverage.hold(AAPL, BOTH, 50, 50)
    coverage.hold(BOTH, BOTH, 51, 51)
    assert coverage.uncovered("trades", "MSFT", 10, 100) == []


def test_all_symbols_include_each() -> None:
    """Also where widening takes over from names, and where a name is wanted again."""
    coverage = Coverage()
    coverage.hold(AAPL, AAPL, 10, 10)
    coverage.hold(ALL, ALL, 20, 20)
    coverage.hold(NOTHING, NOTHING, 30, 30)
    coverage.hold(AAPL, AAPL, 40, 40)
    assert coverage.uncovered("trades", "AAPL", 10, 100) == [(30, 40)]
    assert coverage.uncovered("trades", "MSFT", 10, 100) == [(10, 20), (30, 100)]


def test_what_was_asked_for_lately_is_told_by_a_clock_that_nobody_sets() -> None:
    coverage = Coverage()
    coverage.hold(BOTH, BOTH, 1_000, 10)
    coverage.hold(AAPL, AAPL, 500, 20)  # the wall clock was set back in between
    assert coverage.asked_since(15) == BOTH
    assert coverage.asked_since(25) == AAPL


def test_a_clock_that_is_set_back_hides_no_hole() -> None:
    """It shows an hour twice, and in the second one the topic wasn't asked for."""
    coverage, hour = Coverage(), 3600 * NS_PER_SECOND
    coverage.hold(AAPL, AAPL, 10 * hour, 0)
    coverage.hold(NOTHING, NOTHING, 11 * hour, hour)
    coverage.hold(AAPL, AAPL, 11 * hour, 2 * hour)
    assert coverage.uncovered("trades", "AAPL", 0, 12 * hour) == [
        (10 * hour, 12 * hour),
        (0, 10 * hour),
    ]
    assert not coverage.uncovered("trades", "AAPL", 13 * hour, 14 * hour)


def test_a_clock_that_is_corrected_by_little_makes_no_hole() -> None:
    coverage = Coverage()
    for second in range(10):
        coverage.hold(AAPL, AAPL, 999 * second * NS_PER_SECOND // 1000, second * NS_PER_SECOND)
    assert not coverage.uncovered("trades", "AAPL", 0, 10 * NS_PER_SECOND)
