"""A consumer's outbox: order, bounds, and what overflow leaves behind."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_proxy.hub.outbox import Outbox


class Socket:
    """Takes frames, and is full when the test says so."""

    def __init__(self, max_bytes: int = 1000, max_age_ns: int = 10) -> None:
        self.taken: list[bytes] = []
        self.overflows = 0
        self.full_after: int | None = None
        self.outbox = Outbox(self._write, max_bytes, max_age_ns, self._overflow)

    def _write(self, frame: bytes) -> None:
        self.taken.append(frame)
        if self.full_after is not None:
            self.full_after -= 1
            if self.full_after <= 0:
                self.outbox.pause()

    def _overflow(self) -> None:
        self.overflows += 1


def test_an_open_socket_gets_everything_at_once() -> None:
    """Nothing is kept while the socket takes it."""
    socket = Socket()
    socket.outbox.offer([b"a", b"b"], 5)
    statistics = socket.outbox.statistics()
    assert socket.taken == [b"a", b"b"]
    assert (statistics.messages, statistics.queued_bytes) == (5, 0)


def test_order_survives_a_socket_that_fills_in_the_middle() -> None:
    """What comes while frames wait goes behind them."""
    socket = Socket()
    socket.full_after = 1
    socket.outbox.offer([b"1", b"2"], 2)
    socket.outbox.offer([b"3"], 1)
    assert socket.taken == [b"1"]
    socket.full_after = None
    socket.outbox.resume()
    assert socket.taken == [b"1", b"2", b"3"]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("offer"), st.integers(1, 3)),
            st.tuples(st.just("tick"), st.integers(1, 5)),
            st.tuples(st.just("take"), st.integers(1, 6)),
        )
    )
)
def test_since_when_it_waits(history: list[tuple[str, int]]) -> None:
    """The time of the last tick before the oldest of what waits was queued, whatever left since."""
    socket = Socket(max_bytes=1 << 30, max_age_ns=1 << 62)
    outbox, now_ns = socket.outbox, 0
    outbox.pause()
    waiting: list[int] = []
    for action, number in history:
        if action == "offer":
            outbox.offer([b"x"] * number, number)
            waiting += [now_ns] * number
        elif action == "tick":
            now_ns += number
            outbox.tick(now_ns)
        else:
            socket.full_after = number
            outbox.resume(now_ns)
            outbox.pause()
            del waiting[:number]
        assert outbox.waiting_since_ns == (waiting[0] if waiting else None)
        assert outbox.statistics().queued_bytes == len(waiting)


def test_overflow_by_bytes_happens_once_and_counts() -> None:
    """The bound holds, what waited is dropped and counted, later frames too."""
    socket = Socket(max_bytes=10)
    socket.outbox.pause()
    socket.outbox.offer([b"x" * 6], 3)
    socket.outbox.offer([b"y" * 6], 2)
    socket.outbox.offer([b"z"], 1)
    statistics = socket.outbox.statistics()
    assert socket.overflows == 1
    assert statistics.dropped_messages == 6
    assert statistics.queued_bytes == 0
    assert statistics.peak_queued_bytes <= 10


def test_overflow_by_age() -> None:
    """A consumer that reads nothing is cut after its time, however little waits."""
    socket = Socket(max_age_ns=100)
    socket.outbox.tick(1000)
    socket.outbox.pause()
    socket.outbox.offer([b"x"], 1)
    socket.outbox.tick(1100)
    assert socket.overflows == 0
    socket.outbox.tick(1101)
    assert socket.overflows == 1


def test_an_idle_paused_socket_is_no_overflow() -> None:
    """Nothing waits, so nothing is too old."""
    socket = Socket(max_age_ns=100)
    socket.outbox.pause()
    socket.outbox.tick(10**12)
    assert socket.overflows == 0


steps = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.integers(1, 400)),
        st.tuples(st.just("pause"), st.just(0)),
        st.tuples(st.just("resume"), st.integers(0, 3)),
    ),
    max_size=60,
)


@given(steps)
def test_delivered_plus_dropped_is_all_and_in_order(history: list[tuple[str, int]]) -> None:
    """Whatever the socket does: a prefix in order is delivered, the rest counted, bounds kept."""
    socket = Socket(max_bytes=1000)
    offered = 0
    for action, amount in history:
        if action == "offer":
            socket.outbox.offer([offered.to_bytes(4, "big") + bytes(amount)], 1)
            offered += 1
        elif action == "pause":
            socket.outbox.pause()
        else:
            socket.full_after = amount or None
            socket.outbox.resume()
        assert socket.outbox.statistics().queued_bytes <= 1000
    statistics = socket.outbox.statistics()
    numbers = [int.from_bytes(frame[:4], "big") for frame in socket.taken]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) + statistics.queued_messages + statistics.dropped_messages == offered
