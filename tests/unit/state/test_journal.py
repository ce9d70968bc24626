"""The journal: numbered once, in order, found again after a restart, and never damaged unnoticed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_proxy.feed.order_position import CannotResume, Start, locate
from stream_proxy.model.orders import END_STATUSES, OrderEvent, OrderRecord, Origin
from stream_proxy.state.journal import (
    PRUNED_AT_ONCE,
    Journal,
    JournalDamaged,
    JournalInUse,
    Pruned,
)
from stream_proxy.state.journal_schema import OPEN
from stream_proxy.wire.alpaca.trade_updates import read_event

SECOND = 1_000_000_000
DAY = 24 * 3600 * SECOND


def event(
    order: str = "o1",
    what: str = "new",
    *,
    event_id: str = "",
    execution_id: str = "",
    filled: str = "0",
    second: int = 0,
    status: str = "new",
    origin: Origin = Origin.STREAM,
) -> OrderEvent:
    at = f"2026-01-02T03:{second // 60:02}:{second % 60:02}Z"
    data = {
        "event": what,
        "timestamp": at,
        **({"event_id": event_id} if event_id else {}),
        **({"execution_id": execution_id} if execution_id else {}),
        "order": {"id": order, "status": status, "filled_qty": filled, "submitted_at": at},
    }
    return read_event(json.dumps(data).encode(), origin)


def opened(path: Path) -> Journal:
    journal = Journal(path / "orders.sqlite3", new_epoch=lambda: "epoch-1")
    journal.commit(lambda j: j.open_account("paper", 5))
    return journal


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = opened(tmp_path)
    yield made
    made.close()


def append(journal: Journal, *events: OrderEvent) -> list[OrderRecord]:
    records: list[OrderRecord] = journal.commit(lambda j: j.append("paper", events, 7))
    journal.note_high_water(records)
    return records


def test_sequences_grow_by_one_over_a_restart(tmp_path: Path) -> None:
    """The second life goes on where the first one ended, in the same epoch."""
    first = opened(tmp_path)
    append(first, event("a"), event("b"))
    first.close()
    second = opened(tmp_path)
    (record,) = append(second, event("c"))
    assert (record.sequence, record.epoch) == (3, "epoch-1")
    assert [r.event.order_id for r in second.read("paper", 0)] == ["a", "b", "c"]
    assert second.verify() == 3
    second.close()


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (event(event_id="E1"), event(event_id="E1", second=9), True),
        (event(event_id="E1"), event(event_id="E2"), False),
        (event(event_id="E1", execution_id="x"), event(event_id="E2", execution_id="x"), False),
        (event(execution_id="x"), event(execution_id="x", second=9), True),
        (event(event_id="E1", execution_id="x"), event(execution_id="x"), True),
        (event(), event(), True),
        (event(second=1), event(second=2), False),
        (event(event_id="E1", second=1), event(second=1), True),
        (
            event(what="fill", filled="10.0", origin=Origin.RECONSTRUCTED),
            event(what="fill", filled="10", event_id="E9", execution_id="y", second=3),
            True,
        ),
        (
            event(what="partial_fill", filled="4", event_id="E9"),
            event(what="fill", filled="4", origin=Origin.RECONSTRUCTED, second=8),
            True,
        ),
        (
            event(what="partial_fill", filled="4", event_id="E9"),
            event(what="fill", filled="10", origin=Origin.RECONSTRUCTED, second=8),
            False,
        ),
        (event(what="canceled", origin=Origin.RECONSTRUCTED), event(what="canceled"), True),
    ],
)
def test_what_is_the_same_event(
    journal: Journal, first: OrderEvent, second: OrderEvent, same: bool
) -> None:
    """By Alpaca's id, else by execution, else by order, event and time; a made one stands in."""
    assert len(append(journal, first)) == 1
    assert len(append(journal, second)) == (0 if same else 1)


def test_two_processes_can_t_number_one_account(tmp_path: Path) -> None:
    """The second is told who has it, and what to do."""
    journal = opened(tmp_path)
    with pytest.raises(JournalInUse, match="another proxy"):
        opened(tmp_path)
    journal.close()


def test_a_failed_job_leaves_nothing_behind(journal: Journal) -> None:
    """What was written before the failure is rolled back with it."""

    def work(j: Journal) -> None:
        j.append("paper", [event("a")], 7)
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        journal.commit(work)
    assert journal.read("paper", 0) == []
    assert append(journal, event("b"))[0].sequence == 1


def test_cursors_move_forward_only(journal: Journal) -> None:
    """An old acknowledgement that comes late doesn't undo a newer one."""
    assert journal.cursor("paper", "bot") is None
    assert journal.commit(lambda j: j.acknowledge("paper", "bot", 5, 1)) == 5
    assert journal.commit(lambda j: j.acknowledge("paper", "bot", 3, 2)) == 5
    assert journal.cursor("paper", "bot") == 5


def test_pruning_spares_what_a_living_cursor_needs(journal: Journal) -> None:
    """A cursor seen lately holds events back; one unseen for long is overtaken, and named."""
    append(journal, *(event(f"o{i}") for i in range(10)))
    journal.commit(lambda j: j.acknowledge("paper", "alive", 4, 10 * DAY))
    journal.commit(lambda j: j.acknowledge("paper", "dead", 2, 1 * DAY))

    def prune(since_ns: int, forgotten_ns: int = 0) -> tuple[int, list[str]]:
        pruned: Pruned = journal.commit(
            lambda j: j.prune(
                "paper",
                before_ns=0,
                keep=3,
                cursors_seen_since_ns=since_ns,
                cursors_before_ns=forgotten_ns,
            )
        )
        return pruned.forgotten, pruned.overtaken

    assert prune(0) == (2, [])
    assert prune(5 * DAY) == (2, ["dead"])
    assert prune(5 * DAY) == (0, []), "it is said once"
    assert journal.account("paper").first_sequence == 5
    lost = locate(journal, journal.account("paper"), Start(cursor="dead"), 1 << 60)
    assert isinstance(lost, CannotResume) and "events 3 to 4 are not kept" in lost.reason
    assert locate(journal, journal.account("paper"), Start(cursor="alive"), 1 << 60) == 4
    prune(5 * DAY, 2 * DAY)
    assert [c.cursor for c in journal.cursors("paper")] == ["alive"]


def test_pruning_goes_in_portions(journal: Journal) -> None:
    """However much there is to forget, nobody's event waits long for it."""
    append(journal, *(event(f"o{i}", status="filled", second=i) for i in range(450)))
    done = []
    while not done or done[-1].more:
        done.append(
            journal.commit(lambda j: j.prune("paper", before_ns=0, keep=7, cursors_seen_since_ns=0))
        )
    assert [pruned.forgotten for pruned in done] == [PRUNED_AT_ONCE, PRUNED_AT_ONCE, 43]
    assert journal.account("paper").first_sequence == 444
    kept = [journal.order("paper", f"o{i}") is not None for i in range(450)]
    assert kept == [False] * 443 + [True] * 7
    assert journal.verify() == 7


def test_open_orders_are_those_that_may_change() -> None:
    """The index and the code speak of the same statuses."""
    assert {word.strip("'") for word in OPEN[len("status NOT IN (") : -1].split(", ")} == set(
        END_STATUSES
    )


def test_pruning_spares_what_alpaca_will_be_asked_for_again(journal: Journal) -> None:
    """Forgotten, an event that reconciling asks for again would be taken for another one."""
    append(journal, *(event(f"o{i}", event_id=f"E{i}", second=60 * i) for i in range(8)))
    at_ns = {r.sequence: r.event.timestamp_ns for r in journal.read("paper", 0)}

    def prune() -> int:
        pruned: Pruned = journal.commit(
            lambda j: j.prune("paper", before_ns=DAY, keep=0, cursors_seen_since_ns=0)
        )
        return pruned.forgotten

    journal.commit(lambda j: j.note_reconciled("paper", at_ns[5]))
    assert prune() == 2
    assert journal.account("paper").since_ns == at_ns[2] + 1
    assert append(journal, event("o2", event_id="E2", second=120)) == []
    journal.commit(lambda j: j.note_reconciled("paper", at_ns[8] + DAY))
    assert prune() == 6


def test_a_beginning_is_corrected_once_and_not_after_pruning(journal: Journal) -> None:
    noted_ns = journal.account("paper").since_ns
    journal.commit(lambda j: j.correct_beginning("paper", noted_ns, noted_ns - 300))
    journal.commit(lambda j: j.correct_beginning("paper", noted_ns, noted_ns - 500))
    assert journal.account("paper").since_ns == noted_ns - 300


def test_an_account_that_was_never_compared_is_pruned_all_the_same(journal: Journal) -> None:
    """Where Alpaca's REST never answers, the record still doesn't grow for ever."""
    append(journal, *(event(f"o{i}", second=i) for i in range(5)))
    pruned: Pruned = journal.commit(
        lambda j: j.prune("paper", before_ns=0, keep=2, cursors_seen_since_ns=0)
    )
    assert pruned.forgotten == 3


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ("now", 4),
        ("oldest", 0),
        ("0", 0),
        ("3", 3),
        ("epoch-1:2", 2),
        ("2026-01-02T03:00:02Z", 2),
        ("2026-01-02T04:00:00Z", 4),
        ("01ARZ3NDEKTSV4RRFFQ69G5FA2", 3),
        ("5", "ahead of the record"),
        ("epoch-0:2", "epoch epoch-0 is over"),
        ("01ARZ3NDEKTSV4RRFFQ69G5FZZ", "isn't in the record"),
        ("1969-01-01T00:00:00Z", "the record begins at"),
        ("yesterday", "no sequence, event id, RFC 3339 time"),
        ("-1", "no sequence"),
    ],
)
def test_positions(journal: Journal, since: str, expected: int | str) -> None:
    """Every way to name a place, and a reason for each that can't be honoured."""
    append(
        journal,
        *(event(f"o{i}", event_id=f"01ARZ3NDEKTSV4RRFFQ69G5FA{i}", second=i) for i in range(4)),
    )
    found = locate(journal, journal.account("paper"), Start(since=since), 1 << 60)
    if isinstance(expected, int):
        assert found == expected
    else:
        assert isinstance(found, CannotResume) and expected in found.reason


def test_a_lost_end_is_noticed(tmp_path: Path) -> None:
    """The file as it was before the last commits is a good database, and a loss all the same."""
    journal = opened(tmp_path)
    append(journal, event("a"))
    journal.close()
    before = (tmp_path / "orders.sqlite3").read_bytes()
    journal = opened(tmp_path)
    append(journal, event("b"))
    journal.close()
    (tmp_path / "orders.sqlite3").write_bytes(before)
    with pytest.raises(JournalDamaged, match="event 2 of account paper was handed out"):
        opened(tmp_path)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_flipped_byte_is_noticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    """Wherever it is in the file: not opened, or not verified, and never read as truth."""
    folder = tmp_path_factory.mktemp("flip")
    journal = opened(folder)
    append(journal, *(event(f"o{i}") for i in range(50)))
    journal.close()
    path = folder / "orders.sqlite3"
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(JournalDamaged), contextlib.closing(opened(folder)) as made:
        made.verify()
