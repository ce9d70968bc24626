"""What was asked of upstream, and when."""

from __future__ import annotations

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
