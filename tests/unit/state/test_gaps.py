"""The log of gaps."""

from __future__ import annotations

from stream_proxy.state.gaps import Gap, GapLog


def test_an_open_gap_goes_on() -> None:
    """Two failures in a row are one gap, counted once, with its first reason."""
    log = GapLog()
    log.begin(100, "lost", 3)
    log.begin(150, "lost again", 5)
    assert log.current == Gap(100, None, "lost", 3)
    assert log.end(200) == Gap(100, 200, "lost", 3)
    assert (log.count, log.current, log.end(300)) == (1, None, None)


def test_a_gap_does_not_reach_back_into_the_last_one() -> None:
    """After a reconnect that brought no data, the last message is older than the last gap's end."""
    log = GapLog()
    log.begin(100, "lost", 1)
    log.end(200)
    log.begin(100, "lost", 1)
    assert log.end(300) == Gap(200, 300, "lost", 1)
    assert [gap.from_ns for gap in log.recent()] == [100, 200]


def test_old_gaps_are_forgotten_but_counted() -> None:
    """Memory is bounded, their number and their length aren't."""
    log = GapLog()
    for start in range(0, 20_000, 10):
        log.begin(start, "lost", 1)
        log.end(start + 5)
    assert (log.count, log.closed_ns) == (2000, 2000 * 5)
    assert len(log.recent()) == 1000
    assert log.recent()[-1].to_ns == 19_995
