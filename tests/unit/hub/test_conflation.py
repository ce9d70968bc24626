"""The algebra of conflation: what may be merged is, and nothing else is lost, moved or miscounted."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_proxy.hub.conflation import OVERHEAD_BYTES, Conflation, Message, Ready, Rules

QUOTES = "q"
SYMBOLS = ("A", "B", "C")


class Sum:
    """Stands in for an order book: messages are numbers, and add up; `x` can't be read."""

    def __init__(self, item: bytes) -> None:
        self._numbers = item

    @classmethod
    def of(cls, item: bytes) -> Sum | None:
        return None if item.startswith(b"x") else cls(item)

    @property
    def size_bytes(self) -> int:
        return len(self._numbers)

    def add(self, item: bytes) -> bool:
        if item.startswith(b"x"):
            return False
        self._numbers += b"+" + item
        return True

    def whole(self) -> bytes:
        return self._numbers


@dataclass
class History:
    """What went in and what came out, and what must hold of the two."""

    conflation: Conflation
    put: list[Message] = field(default_factory=list)
    out: list[Message | Ready] = field(default_factory=list)
    barriers: dict[bytes, int] = field(default_factory=dict)
    merged: int = 0
    left_out: int = 0
    now_ns: int = 0

    def offer(self, pairs: list[tuple[str, str]]) -> None:
        messages = []
        for kind, symbol in pairs:
            number = len(self.put) + 1
            messages.append(Message(kind, symbol, b"%d" % number, number))
            self.put.append(messages[-1])
        merged, left_out = self.conflation.put(messages, self.now_ns)
        self.merged += sum(merged.values())
        self.left_out += sum(left_out.values())

    def place(self) -> None:
        frame = b"frame %d" % len(self.barriers)
        self.barriers[frame] = len(self.put)
        self.conflation.place(Ready(frame, 0, {}, self.now_ns))

    def take(self, most_bytes: int) -> None:
        if not self.conflation:
            return
        taken = self.conflation.take(most_bytes, self.now_ns)
        self.out += [taken] if isinstance(taken, Ready) else taken.messages

    def finish(self) -> None:
        """Take everything, however long it has to wait for its interval."""
        due_ns = self.conflation.release(self.now_ns)
        while self.conflation or due_ns is not None:
            while self.conflation:
                self.take(1000)
            if due_ns is not None:
                self.now_ns = max(due_ns, self.now_ns)
                due_ns = self.conflation.release(self.now_ns)

    def check(self) -> None:
        sent = [message for message in self.out if isinstance(message, Message)]
        for kind in ("t", "b"):
            assert [m for m in sent if m.kind == kind] == [m for m in self.put if m.kind == kind]
        for symbol in SYMBOLS:
            mine = [m.sequence for m in sent if m.symbol == symbol]
            assert mine == sorted(set(mine)), "a symbol's messages keep their order, once each"
            quotes = [m for m in self.put if m.symbol == symbol and m.kind == "q"]
            if quotes:
                assert quotes[-1] in sent, "the last value always arrives"
            for index, message in enumerate(sent):
                if message.symbol == symbol and message.kind != "q":
                    before = [q for q in quotes if q.sequence < message.sequence][-1:]
                    assert all(q in sent[:index] for q in before), "nothing overtakes its quote"
        for frame, count in self.barriers.items():
            (place,) = [i for i, one in enumerate(self.out) if getattr(one, "frame", b"") == frame]
            for index, one in enumerate(self.out):
                if isinstance(one, Message):
                    assert (one.sequence <= count) == (index < place)
        assert len(self.put) == len(sent) + self.merged + self.left_out
        assert (self.conflation.bytes, self.conflation.messages) == (0, 0)


messages = st.lists(st.tuples(st.sampled_from("tqqqb"), st.sampled_from(SYMBOLS)), max_size=15)
steps = st.lists(
    st.one_of(
        messages,
        st.tuples(st.just("take"), st.integers(1, 5)),
        st.tuples(st.just("wait"), st.integers(1, 30)),
        st.just("place"),
    ),
    max_size=30,
)


def live(history: History, steps: list[object]) -> None:
    for step in steps:
        match step:
            case list():
                history.offer(step)
            case "take", int(count):
                history.take(count * (OVERHEAD_BYTES + 2))
            case "wait", int(duration):
                history.now_ns += duration
                history.conflation.release(history.now_ns)
            case "place":
                history.place()
        lowest = history.conflation.lowest_sequence or len(history.put) + 1
        told_by = [m for m in history.out if isinstance(m, Message)]
        for message in history.put[: lowest - 1]:
            assert any(
                m.sequence == message.sequence
                or (
                    message.kind == m.kind == "q"
                    and m.symbol == message.symbol
                    and m.sequence > message.sequence
                )
                for m in told_by
            ), "what is behind the position has been sent, or something newer that stands for it"


@given(steps, st.sampled_from([0, 10, 25]))
def test_nothing_is_lost_moved_or_miscounted(steps: list[object], interval_ns: int) -> None:
    history = History(Conflation(Rules(QUOTES, interval_ns=interval_ns)))
    live(history, steps)
    history.finish()
    history.check()


@given(steps)
def test_a_reader_that_keeps_up_misses_nothing(steps: list[object]) -> None:
    """Nothing is merged where everything is taken before the next comes."""
    history = History(Conflation(Rules(QUOTES)))
    for step in steps:
        if isinstance(step, list):
            for pair in step:
                history.offer([pair])
                history.finish()
    assert history.merged == 0
    assert history.out == history.put


@given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from(SYMBOLS)), max_size=60))
def test_one_quote_in_an_interval(arrivals: list[tuple[int, str]]) -> None:
    """Without trades between them, quotes of a symbol are never closer than that."""
    conflation = Conflation(Rules(QUOTES, interval_ns=50))
    history, sent_at = History(conflation), {symbol: [-50] for symbol in SYMBOLS}
    due: list[int] = []
    conflation.on_held = due.append

    def sent() -> None:
        taken = len(history.out)
        while conflation:
            history.take(1000)
        for message in history.out[taken:]:
            assert isinstance(message, Message)
            sent_at[message.symbol].append(history.now_ns)

    for wait, symbol in arrivals:
        until = history.now_ns + wait
        while due and due[0] <= until:
            history.now_ns = due.pop()
            if (later := conflation.release(history.now_ns)) is not None:
                due.append(later)
            sent()
        history.now_ns = until
        history.offer([("q", symbol)])
        sent()
        del due[:-1]
        next_ns = conflation.release(history.now_ns)
        assert next_ns is None or due[0] <= next_ns, "a quote is held beyond its interval"
    for times in sent_at.values():
        assert all(later - earlier >= 50 for earlier, later in pairwise(times))
    history.finish()
    history.check()


def test_the_newest_stands_at_the_place_of_the_oldest() -> None:
    """A symbol whose quotes never end isn't put off by that."""
    history = History(Conflation(Rules(QUOTES)))
    history.offer([("q", "A"), ("q", "B"), ("t", "B"), ("q", "A"), ("q", "B"), ("q", "A")])
    history.finish()
    assert [m.sequence for m in history.out if isinstance(m, Message)] == [6, 2, 3, 5]
    assert history.merged == 2


def test_changes_are_added_up_until_something_else_of_the_symbol_comes() -> None:
    history = History(Conflation(Rules(QUOTES, {"o": Sum.of})))
    history.offer([("o", "A"), ("o", "A"), ("q", "A"), ("o", "A"), ("t", "A"), ("o", "A")])
    history.finish()
    assert [m.item for m in history.out if isinstance(m, Message)] == [b"1+2+4", b"3", b"5", b"6"]
    assert (history.merged, history.conflation.bytes) == (2, 0)


@pytest.mark.parametrize("items", [[b"x", b"2"], [b"1", b"x"], [b"x", b"x"]])
def test_changes_that_cannot_be_read_are_passed_on(items: list[bytes]) -> None:
    conflation = Conflation(Rules(QUOTES, {"o": Sum.of}))
    merged, _ = conflation.put([Message("o", "A", item) for item in items], 0)
    taken = conflation.take(1000, 0)
    assert not isinstance(taken, Ready)
    assert [message.item for message in taken.messages] == items
    assert not merged


def test_what_is_left_out_is_counted() -> None:
    conflation = Conflation(Rules(QUOTES, left_out=frozenset("tq")))
    counts = conflation.put([Message(kind, "A", b"") for kind in "tqbqs"], 0)
    assert counts == ({}, {"t": 1, "q": 2})
    assert (conflation.messages, conflation.left_out) == (2, 3)


def test_ages() -> None:
    """The line is as old as the place at its head, whatever stands there now."""
    conflation = Conflation(Rules(QUOTES))
    conflation.put([Message("q", "A", b"1", 1)], 100)
    conflation.put([Message("q", "A", b"2", 2), Message("q", "B", b"3", 3)], 170)
    assert (conflation.since_ns, conflation.longest_ns) == (100, 0)
    conflation.take(OVERHEAD_BYTES, 180)
    assert (conflation.since_ns, conflation.longest_ns) == (170, 80)
    assert conflation.clear() == {"q": 1}
    assert conflation.since_ns is None


@given(messages)
def test_memory_is_bounded_by_symbols_where_only_quotes_come(pairs: list[tuple[str, str]]) -> None:
    history = History(Conflation(Rules(QUOTES)))
    for _ in range(20):
        history.offer([("q", symbol) for _, symbol in pairs])
    assert history.conflation.messages == len({symbol for _, symbol in pairs})
