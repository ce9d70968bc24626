"""The recent messages of a feed."""

from __future__ import annotations

import gc

from hypothesis import given
from hypothesis import strategies as st

from stream_proxy.state.ring import Ring

SECOND = 1_000_000_000


def sequences(ring: Ring, after: int, messages: int = 1 << 60) -> list[int]:
    """The messages that are given behind one."""
    found = [
        number
        for stretch in ring.after(after, messages)
        for number in range(stretch.first, stretch.first + stretch.messages)
    ]
    return [number for number in found if number > after]


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 2000)), max_size=60),
    st.integers(0, 20_000),
    st.integers(1, 60),
)
def test_what_is_held_is_whole(
    batches: list[tuple[int, int]], max_bytes: int, max_seconds: int
) -> None:
    """Behind every message that it says it holds, it has all that came."""
    ring, last = Ring(max_bytes, max_seconds * SECOND), 0
    for turn, (messages, size) in enumerate(batches):
        ring.keep(last + 1, messages, turn * SECOND, turn * SECOND, (b"x" * size,), size)
        last += messages
        assert ring.bytes <= max_bytes
        assert ring.last == last
        for after in range(last + 2):
            assert ring.holds(after) == (ring.first - 1 <= after <= last)
            if ring.holds(after):
                assert sequences(ring, after) == list(range(after + 1, last + 1))


def test_what_is_old_goes_but_for_the_last_few() -> None:
    """After a long silence, what came before it is still known."""
    ring = Ring(1 << 20, 150 * SECOND)
    for number in range(300):
        ring.keep(number + 1, 1, 0, number * SECOND, (b"x",), 1)
    assert (ring.first, ring.since_ns) == (150, 149 * SECOND)
    ring.keep(301, 1, 0, 9999 * SECOND, (b"x",), 1)
    assert (ring.first, len(sequences(ring, ring.first - 1))) == (202, 100)
    assert Ring(1 << 20, SECOND).since_ns == 0


def test_what_may_be_gone_before_long() -> None:
    ring = Ring(10_000, 1000 * SECOND)
    for number in range(200):
        ring.keep(number + 1, 1, 0, number * SECOND, (b"x" * 100,), 100)
        assert not ring.may_forget(number + 1)
        assert ring.may_forget(ring.first - 1) == (ring.bytes > 5000)


def test_a_portion_is_about_as_long_as_asked() -> None:
    ring = Ring(1 << 20, 1000 * SECOND)
    for number in range(10):
        ring.keep(number * 5 + 1, 5, number, number, (b"12345",), 5)
    assert sequences(ring, 12, 4) == [13, 14, 15]
    assert sequences(ring, 12, 6) == [13, 14, 15, *range(16, 21)]
    assert sequences(ring, 50) == []
    assert (ring.before(8), ring.before(0), ring.before(99)) == (40, 0, 50)


def test_positions_have_times_longer_than_messages_are_kept() -> None:
    ring = Ring(0, SECOND)
    for number in range(100):
        ring.keep(number * 10 + 1, 10, number * SECOND, number * SECOND, (b"",), 0)
    assert (ring.first, ring.last, ring.bytes) == (1001, 1000, 0)
    assert ring.time_at_or_before(505) == 50 * SECOND
    assert ring.time_at_or_after(505) == 51 * SECOND
    assert ring.time_at_or_before(0) is None
    assert ring.time_at_or_after(1000) is None
    assert ring.holds(1000) and not ring.holds(999)


def test_the_garbage_collector_has_nothing_to_look_at() -> None:
    """Hundreds of thousands of tracked objects would be walked through again and again."""
    ring = Ring(1 << 30, 1000 * SECOND)
    gc.collect()
    before = len(gc.get_objects())
    for number in range(1, 20_001):
        ring.keep(number, 1, number, number, [b"12345"], 5)
    for _ in range(3):
        gc.collect()
    assert len(gc.get_objects()) - before < 100
