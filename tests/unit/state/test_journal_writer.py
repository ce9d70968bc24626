"""The journal's thread: order, groups, mistakes, and ends."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from harness.forgetful_disk import JOURNAL, Disk, Operation, failing
from harness.journal_rig import LONGEST_SECONDS, Rig, event
from stream_proxy.model.orders import OrderEvent
from stream_proxy.state.journal import READ_LIMIT, Journal, JournalDamaged, JournalInUse


class Gate:
    """A job that keeps the thread busy until it is opened."""

    def __init__(self, rig: Rig) -> None:
        self._entered, self._opened = threading.Event(), threading.Event()
        rig.writer.submit(self._work, lambda nothing: None)
        assert self._entered.wait(LONGEST_SECONDS)

    def _work(self, journal: Journal) -> None:
        self._entered.set()
        assert self._opened.wait(LONGEST_SECONDS)

    def open(self) -> None:
        self._opened.set()


def test_a_burst_shares_commits_and_keeps_its_order() -> None:
    """1,000 events that come while the disk is busy take two more commits, in their order."""
    rig = Rig().start()
    gate = Gate(rig)
    before = rig.writer.commits
    for number in range(1000):
        rig.append(number)
    assert rig.writer.waiting == 1001
    gate.open()
    rig.wait(lambda: len(rig.delivered) == 1000)
    rig.writer.stop()
    assert rig.sequences == list(range(1, 1001))
    assert [r.event.order_id for r in rig.delivered] == [f"order-{n}" for n in range(1000)]
    assert rig.writer.commits - before <= 3
    assert rig.writer.waiting == 0


def test_a_read_between_two_appends_sees_exactly_the_first() -> None:
    """What makes a consumer's seam: jobs see the journal as of their place in the queue."""
    rig = Rig().start()
    gate, seen = Gate(rig), []
    rig.append(1)
    rig.writer.submit(lambda j: j.read("paper", 0), seen.extend)
    rig.append(2)
    gate.open()
    rig.wait(lambda: len(rig.delivered) == 2)
    assert [record.sequence for record in seen] == [1]
    rig.writer.stop()


@pytest.mark.parametrize(
    "mistake",
    [
        lambda j: 1 // 0,
        lambda j: j._db.execute("SELECT * FROM nowhere"),
        lambda j: j._db.execute("INSERT INTO cursors VALUES (NULL, NULL, NULL, NULL)"),
        lambda j: j.append("paper", [OrderEvent("new", "o", 1 << 70, b"{}")], 7),
        lambda j: j.append("nobody", [event(1)], 7),
    ],
    ids=["Python", "SQL", "constraint", "number too large", "no such account"],
)
def test_a_mistaken_job_harms_nobody_else(mistake: Callable[[Journal], Any]) -> None:
    """It is dropped after a second try alone, its sender hears of it, the disk isn't blamed."""
    rig = Rig().start()
    gate, runs, failures, done = Gate(rig), [], [], []

    def work(journal: Journal) -> Any:
        runs.append(1)
        return mistake(journal)

    rig.append(1)
    rig.writer.submit(work, done.append, failures.append)
    rig.append(2)
    gate.open()
    rig.wait(lambda: len(rig.delivered) == 2)
    rig.append(3)
    rig.wait(lambda: len(rig.delivered) == 3)
    rig.writer.stop()
    assert rig.sequences == [1, 2, 3]
    assert (len(runs), len(failures), done, rig.troubles) == (2, 1, [], [])


def test_a_mistake_and_a_bad_disk_at_once() -> None:
    """The group is run one by one because of the mistake; a fault in the middle repeats nothing."""
    rig = Rig().start()
    gate, calls = Gate(rig), []
    for number in (1, 2):
        rig.writer.submit(lambda j, n=number: j.acknowledge("paper", "bot", n, n), calls.append)
    rig.writer.submit(lambda j: 1 // 0, calls.append)
    rig.append(3)
    writes = failing(["sync"], "-wal", lambda: apsw.IOError("EIO"))
    syncs = [0]

    def second_sync(operation: Operation, number: int) -> None:
        syncs[0] += operation.kind == "sync"
        if syncs[0] >= 2:
            writes(operation, number)

    rig.disk.fault = second_sync
    gate.open()
    rig.wait(lambda: rig.delivered)
    rig.writer.stop()
    assert calls == [1, 2]
    assert rig.sequences == [1]
    assert len(rig.sentences()) == 1


def test_stopping_finishes_what_was_handed_over() -> None:
    """With a good disk nothing waits behind the end."""
    rig = Rig().start()
    gate = Gate(rig)
    for number in range(50):
        rig.append(number)
    gate.open()
    rig.writer.stop()
    assert rig.sequences == list(range(1, 51))


def test_damage_stops_it_for_good() -> None:
    """One sentence with the cure; nothing is written to the journal any more."""
    made = Rig().start()
    for number in range(60):
        made.append(number)
    made.wait(lambda: len(made.delivered) == 60)
    made.writer.stop()
    files = made.disk.files()
    content = bytearray(files[JOURNAL])
    at = content.index(b'{"id": "order-30"}')
    content[at] ^= 1
    rig = Rig(Disk(files | {JOURNAL: bytes(content)}))
    rig.writer.start()
    rig.writer.submit(lambda j: j.read("paper", 0), lambda records: None)
    rig.wait(lambda: rig.troubles)
    rig.append(100)
    rig.writer.stop()
    assert rig.delivered == []
    assert [type(error) for error in rig.troubles] == [JournalDamaged]
    assert "stream-proxy journal export" in rig.sentences()[0]
    assert rig.disk.files()[JOURNAL] == bytes(content)


def test_a_long_log_on_a_real_disk(tmp_path: Path) -> None:
    """Shot with some megabytes in its log, and opened again by SQLite's own file system."""

    def opened() -> Journal:
        path = tmp_path / "orders.sqlite3"
        return Journal(path, new_epoch=lambda: "e1", checkpoint_pages=100_000)

    journal = opened()
    journal.commit(lambda j: j.open_account("paper", 1))
    for first in range(0, 3000, 500):
        events = [event(number) for number in range(first, first + 500)]
        records = journal.commit(lambda j, events=events: j.append("paper", events, 7))
        journal.note_high_water(records)
    journal.abandon()
    assert (tmp_path / "orders.sqlite3-wal").stat().st_size > 2 << 20
    again = opened()
    assert again.verify() == 3000
    again.close()


def test_a_journal_in_use_is_waited_for() -> None:
    """Two that number one account would tell two truths: one follows the other."""
    first = Rig().start()
    second = Rig(first.disk)
    second.writer.start()
    second.append(1)
    second.wait(lambda: second.troubles)
    assert isinstance(second.troubles[0], JournalInUse)
    assert "another proxy" in second.sentences()[0]
    assert second.delivered == []
    first.writer.stop()
    second.wait(lambda: second.delivered)
    assert second.troubles[1:] == [None]
    second.writer.stop()


def test_who_reads_the_past_lets_others_pass() -> None:
    """A page at a time and last in its transaction, so that new events don't wait for a crowd."""
    rig = Rig().start()
    rig.append(*range(300))
    rig.wait(lambda: len(rig.delivered) == 300)
    pages: list[int] = []
    held = threading.Event()
    rig.writer.submit(lambda j: held.wait(LONGEST_SECONDS), lambda nothing: None)
    for _ in range(20):
        rig.writer.submit(
            lambda j: j.read("paper", 0), lambda page: pages.append(len(page)), patient=True
        )
    rig.append(300)
    before = rig.writer.commits
    held.set()
    rig.wait(lambda: len(rig.delivered) == 301)
    rig.wait(lambda: len(pages) == 20)
    assert pages == [READ_LIMIT] * 20
    assert rig.writer.commits - before >= 20, "one page a transaction"
    rig.writer.stop()


def test_a_job_that_was_taken_back_holds_nobody() -> None:
    """While the disk fails, consumers come and go; what they asked for must not pile up."""
    rig = Rig(retry_seconds=LONGEST_SECONDS).start()
    rig.disk.fault = failing(["sync"], "-wal", lambda: apsw.IOError("EIO"), 1 << 30)
    rig.append(1)
    rig.wait(lambda: rig.troubles)

    class Consumer:
        def told(self, page: object) -> None:
            raise AssertionError("it has gone")

    consumer = Consumer()
    gone = weakref.ref(consumer)
    cancel = rig.writer.submit(lambda j: j.read("paper", 0), consumer.told, patient=True)
    cancel()
    del consumer
    assert gone() is None
    rig.writer.stop()
