"""The benchmarks' own sums: what they believe must arrive, and where they cut."""

from __future__ import annotations

import pytest
from bench.paced import Templates, stamp, stamp_of
from bench.traffic import EVERYTHING, Case, Crowd, Stream, Tally, Traffic, case_from, case_text

CASE = Case("two crowds", (Crowd(3, 5), Crowd(1, 0, "json")), symbols=50)


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return Traffic(CASE)


@pytest.mark.parametrize("messages", [0, 1, 3, 4, 9])
def test_a_tally_sums_what_a_consumer_wants_of_any_number_of_messages(messages: int) -> None:
    symbols, measures = ["A", "B", "A", "C"], [1, 10, 100, 1000]
    tally = Tally(symbols, measures)
    sent = [(symbols[n % 4], measures[n % 4]) for n in range(messages)]

    assert tally.of(["A"], messages) == sum(m for s, m in sent if s == "A")
    assert tally.of(["A", "C"], messages) == sum(m for s, m in sent if s in "AC")
    assert tally.of([EVERYTHING], messages) == sum(m for _, m in sent)
    assert tally.of(["never sent"], messages) == 0


@pytest.mark.parametrize("most", [1, 4, 5, 100])
def test_a_stream_is_cut_only_between_pieces(most: int) -> None:
    pieces = [b"aaaaa", b"bbb", b"cccccccccc"]
    stream = Stream(pieces, 2)
    left, position, written, messages = stream.length(8), 0, b"", 0
    boundaries = {5, 8, 18}
    while left:
        end = stream.end_of_chunk(position, min(most, left))
        assert end in boundaries
        written += bytes(stream.cycle[position:end])
        left -= end - position
        messages += stream.messages_between(position, end)
        position = end % len(stream.cycle)

    assert written == b"".join([*pieces, pieces[0]])
    assert messages == 8


def test_a_case_survives_the_command_line() -> None:
    assert case_from(case_text(CASE)) == CASE


def test_every_process_builds_the_same_traffic(traffic: Traffic) -> None:
    again = Traffic(case_from(case_text(CASE)))

    assert again.items == traffic.items
    assert again.wishes() == traffic.wishes()


def test_consumers_want_what_their_crowd_says(traffic: Traffic) -> None:
    wishes = traffic.wishes()

    assert [(len(wish.symbols), wish.codec) for wish in wishes] == [
        *[(5, "msgpack")] * 3,
        (1, "json"),
    ]
    assert wishes[-1].symbols == (EVERYTHING,)
    assert all(set(wish.symbols) <= set(traffic.names) for wish in wishes[:3])


def test_a_stamp_takes_the_place_of_a_quotes_time(traffic: Traffic) -> None:
    at_ns = 1_234_567_890_123_456_789
    item = Templates(traffic).before[7] + stamp(at_ns)

    assert len(item) == len(traffic.items["msgpack"][7])
    assert stamp_of(item) == at_ns
