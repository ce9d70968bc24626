"""Days know their edges, and what is due comes in order."""

from __future__ import annotations

import pytest

from stream_proxy.model.messages import Message
from stream_proxy.model.time import NS_PER_SECOND, parse_rfc3339, rfc3339
from stream_proxy.simulator.market.agenda import NEVER_NS, Agenda
from stream_proxy.simulator.market.days import CHICAGO, NEW_YORK, day_of
from stream_proxy.simulator.market.tickers import MAX_TICKERS, tape_of, ticker, tickers


@pytest.mark.parametrize(
    ("at", "start", "hours"),
    [
        ("2026-06-01T14:00:00Z", "2026-06-01T04:00:00Z", 24),
        ("2026-12-01T03:00:00Z", "2026-11-30T05:00:00Z", 24),
        ("2026-03-08T12:00:00Z", "2026-03-08T05:00:00Z", 23),
        ("2026-11-01T12:00:00Z", "2026-11-01T04:00:00Z", 25),
    ],
)
def test_a_new_york_day_ends_where_the_next_begins(at: str, start: str, hours: int) -> None:
    """Also when the clocks change."""
    day = day_of(parse_rfc3339(at), NEW_YORK)

    assert rfc3339(day.start_ns) == start
    assert day.end_ns - day.start_ns == hours * 3600 * NS_PER_SECOND
    assert day_of(day.end_ns).start_ns == day.end_ns
    assert day_of(day.end_ns - 1) == day


def test_regular_hours_are_from_bell_to_bell_on_weekdays() -> None:
    """Half past nine to four in New York."""
    day = day_of(parse_rfc3339("2026-06-01T12:00:00Z"))
    assert (rfc3339(day.open_ns), rfc3339(day.close_ns)) == (
        "2026-06-01T13:30:00Z",
        "2026-06-01T20:00:00Z",
    )
    assert day.is_regular(day.open_ns)
    assert not day.is_regular(day.close_ns)
    sunday = parse_rfc3339("2026-06-07T15:00:00Z")
    assert not day_of(sunday).is_regular(sunday)


def test_chicago_days_begin_an_hour_later() -> None:
    """Five o'clock in summer."""
    day = day_of(parse_rfc3339("2026-06-01T12:00:00Z"), CHICAGO)

    assert rfc3339(day.start_ns) == "2026-06-01T05:00:00Z"


def test_due_actions_run_in_order_of_time_then_entry() -> None:
    """Including those entered meanwhile, but nothing later."""
    agenda, ran = Agenda(), []

    def note(name: str) -> None:
        agenda.at(5, lambda ns, _: ran.append((name, ns)))

    note("first")
    note("second")
    agenda.at(3, lambda _ns, _out: note("third"))
    agenda.at(9, lambda ns, _: ran.append(("late", ns)))
    out: list[Message] = []
    assert agenda.due_ns == 3

    agenda.run(5, out)

    assert ran == [("first", 5), ("second", 5), ("third", 5)]
    assert agenda.due_ns == 9
    agenda.run(9, out)
    assert agenda.due_ns == NEVER_NS


def test_tickers_are_unique_and_stable() -> None:
    """A longer list begins with the shorter one; well-known names come first."""
    everyone = tickers(MAX_TICKERS)

    assert len(set(everyone)) == MAX_TICKERS
    assert tickers(100) == everyone[:100]
    assert tickers(3) == ("AAPL", "MSFT", "NVDA")
    assert all(name.replace(".", "").isupper() and 1 <= len(name) <= 5 for name in everyone)
    assert {ticker(name).tape for name in everyone[:500]} == {"A", "B", "C"}
    assert all(0.05 < ticker(name).price < 1000 for name in everyone[:500])
    assert ticker("ZZXQ") == ticker("ZZXQ")
    assert (tape_of("IBM"), tape_of("SPY"), tape_of("ZZXQ")) == ("A", "B", "C")


@pytest.mark.parametrize("count", [0, -1, MAX_TICKERS + 1])
def test_there_are_only_so_many_tickers(count: int) -> None:
    """More would not be real-looking any more."""
    with pytest.raises(ValueError, match="symbols"):
        tickers(count)
