"""A disk that is full or fails: nothing told that isn't durable, nothing lost, nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import apsw
import pytest

from harness.forgetful_disk import JOURNAL, LOG, NOTE, Disk, Operation, failing, journal_on
from harness.journal_rig import LONGEST_SECONDS, Rig, bare, check_durable, event
from stream_proxy.state.journal import JournalError

Fault = Callable[[Operation, int], None]
SQLITES = ("-wal", ".sqlite3")


def short_write(disk: Disk, times: int) -> Fault:
    """Some bytes are written, then the disk is full: as ``write`` does it."""
    left = [times]

    def fault(operation: Operation, number: int) -> None:
        if left[0] and operation.kind == "write" and operation.data and operation.name != NOTE:
            left[0] -= 1
            half = operation.data[: len(operation.data) // 2]
            disk.apply(Operation("write", operation.name, operation.offset, half))
            raise apsw.FullError("database or disk is full")

    return fault


def after(start: int, fault: Fault) -> Fault:
    """The same fault, but from an operation on."""

    def later(operation: Operation, number: int) -> None:
        if number >= start:
            fault(operation, number)

    return later


FAULTS: dict[str, Callable[[Disk, int], Fault]] = {
    "full": lambda disk, times: failing(["write"], SQLITES, lambda: apsw.FullError("full"), times),
    "short write": short_write,
    "EIO on write": lambda disk, times: failing(
        ["write"], SQLITES, lambda: apsw.IOError("EIO"), times
    ),
    "EIO on sync": lambda disk, times: failing(
        ["sync"], SQLITES, lambda: apsw.IOError("EIO"), times
    ),
}
JOBS = 9


def lived_through(rig: Rig, check_each: bool) -> None:
    """Nine appends, one after the other; each that is delivered must survive a power failure."""
    rig.start()
    for number in range(JOBS):
        rig.append(number)
        rig.wait(lambda number=number: len(rig.delivered) == number + 1)
        if check_each:
            check_durable(rig)
    check_durable(rig)
    rig.writer.stop()
    assert rig.sequences == list(range(1, JOBS + 1))
    assert rig.writer.waiting == 0
    assert not rig.troubles or rig.troubles[-1] is None


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("reverts", [False, True], ids=["shows later", "shows at once"])
@pytest.mark.parametrize("times", [1, 4])
@pytest.mark.parametrize("kind", list(FAULTS))
def test_a_fault_at_every_operation(kind: str, times: int, reverts: bool) -> None:
    """Nothing is told that isn't durable, nothing twice, nothing lost, whatever the disk does."""
    quiet = Rig(checkpoint_pages=20)
    lived_through(quiet, check_each=False)
    operations = len(quiet.disk.log)
    assert operations > 150
    troubled = 0
    first = next(i for i, operation in enumerate(quiet.disk.log) if operation.name == NOTE)
    for start in range(first, operations):
        rig = Rig(Disk(reverts=reverts), checkpoint_pages=20)
        rig.disk.fault = after(start, FAULTS[kind](rig.disk, times))
        lived_through(rig, check_each=start % 10 == 0)
        troubled += bool(rig.troubles)
        for sentence in rig.sentences():
            assert "no order event is passed on until" in sentence
    assert troubled > (operations - first) // 2


def test_a_full_disk_is_waited_out() -> None:
    """Who asks hears why nothing comes; when there is space again all of it comes, in order."""
    rig = Rig().start()
    rig.disk.fault = failing(["write"], SQLITES, lambda: apsw.FullError("full"), 1 << 30)
    for number in range(5):
        rig.append(number)
    rig.wait(lambda: rig.troubles)
    assert rig.delivered == []
    assert rig.writer.waiting == 5
    assert "no space left" in rig.sentences()[0] and "Free some" in rig.sentences()[0]
    rig.disk.fault = Disk().fault
    rig.wait(lambda: len(rig.delivered) == 5)
    rig.writer.stop()
    assert rig.sequences == [1, 2, 3, 4, 5]
    assert [error is None for error in rig.troubles] == [False, True]


def test_a_sync_that_fails_for_a_while() -> None:
    """The commit in doubt is found in the log afterwards, and counts once."""
    rig = Rig().start()
    rig.append(0)
    rig.wait(lambda: rig.delivered)
    rig.disk.fault = failing(["sync"], "", lambda: apsw.IOError("EIO"), 6)
    rig.append(1)
    rig.wait(lambda: len(rig.delivered) == 2)
    check_durable(rig)
    assert rig.sequences == [1, 2]
    assert [error is None for error in rig.troubles] == [False, True]
    assert "Check the disk" in rig.sentences()[0]
    rig.writer.stop()


def test_a_checkpoint_that_fails_is_no_failure_of_the_commit() -> None:
    """The log holds the events; they are passed on, and the log is carried over later."""
    rig = Rig(checkpoint_pages=1).start()
    rig.disk.fault = failing(["sync", "write"], ".sqlite3", lambda: apsw.IOError("EIO"), 5)
    for number in range(8):
        rig.append(number)
        rig.wait(lambda number=number: len(rig.delivered) == number + 1)
        check_durable(rig)
    assert rig.sequences == list(range(1, 9))
    assert rig.troubles == []
    rig.writer.stop()


@pytest.mark.parametrize("syncs", [1, 3])
def test_a_process_that_dies_after_a_failed_sync(syncs: int) -> None:
    """The next one reads from the cache what isn't on the disk: it must not build upon it."""
    disk = Disk()
    journal = journal_on(disk)
    journal.commit(lambda j: j.open_account("paper", 1))
    disk.fault = failing(["sync"], "-wal", lambda: apsw.IOError("EIO"), syncs)
    with pytest.raises(JournalError):
        journal.commit(lambda j: j.append("paper", [event(1)], 7))
    journal.abandon()
    disk.fault = Disk().fault
    rig = Rig(disk)
    rig.writer.start()
    rig.append(2)
    rig.wait(lambda: rig.delivered)
    image = disk.after_power_loss(Random(0))
    rig.writer.stop()
    after_power = journal_on(Disk(image))
    assert bare(rig.delivered)[0] in after_power.read("paper", 0)
    after_power.abandon()


def test_after_a_failure_everything_is_written_again() -> None:
    """Every byte of log and database, at its place, and synchronised before the next commit."""
    disk = Disk()
    journal = journal_on(disk)
    journal.commit(lambda j: j.open_account("paper", 1))
    journal.commit(lambda j: j.append("paper", [event(n) for n in range(300)], 7))
    journal.close()
    journal = journal_on(disk)
    journal.commit(lambda j: j.append("paper", [event(n) for n in range(300, 400)], 7))
    journal.abandon()
    files, before = disk.files(), len(disk.log)
    journal_on(disk, rewrite=True).abandon()
    for name in (LOG, JOURNAL):
        mine = [operation for operation in disk.log[before:] if operation.name == name]
        first_sync = next(i for i, operation in enumerate(mine) if operation.kind == "sync")
        written = b"".join(operation.data for operation in mine[:first_sync])
        assert written == files[name]


def test_stopping_while_work_waits() -> None:
    """It ends at once; what wasn't durable was told to nobody."""
    rig = Rig(retry_seconds=LONGEST_SECONDS).start()
    rig.disk.fault = failing(["sync"], "-wal", lambda: apsw.IOError("EIO"), 1 << 30)
    rig.append(1)
    rig.wait(lambda: rig.troubles)
    rig.writer.stop()
    assert rig.delivered == []
    assert rig.writer.waiting == 1


def test_a_disk_that_fails_at_the_end() -> None:
    """What can't be carried over into the database stays in the log, and is there next time."""
    rig = Rig().start()
    rig.append(1)
    rig.wait(lambda: rig.delivered)
    rig.disk.fault = failing(["sync", "write"], ".sqlite3", lambda: apsw.IOError("EIO"), 1 << 30)
    rig.writer.stop()
    rig.disk.fault = Disk().fault
    journal = journal_on(rig.disk)
    assert journal.read("paper", 0) == bare(rig.delivered)
    journal.abandon()
