"""Bytes that change by themselves: each one is noticed, and nothing is touched when it is."""

from __future__ import annotations

import json
from random import Random

import pytest

from harness.forgetful_disk import JOURNAL, LOG, NOTE, Disk, journal_on
from stream_proxy.model.orders import OrderEvent, OrderRecord
from stream_proxy.state.journal import Journal, JournalDamaged, JournalError
from stream_proxy.state.page_checksums import (
    PAGE_BYTES,
    RESERVED_BYTES,
    page_checksum,
    page_is_sound,
)

RECORDS = 1000
TRIED_FOR_REAL = 2000
LOG_COMMITS = 45
LOG_FLIPS = 1500


def event(number: int) -> OrderEvent:
    data = {"event": "new", "order": {"id": f"order-{number}", "note": "y" * (number % 400)}}
    return OrderEvent(
        event="new",
        order_id=f"order-{number}",
        timestamp_ns=number,
        data=json.dumps(data).encode(),
        event_id=f"E{number:020}",
    )


def append(journal: Journal, *numbers: int) -> list[OrderRecord]:
    records: list[OrderRecord] = journal.commit(
        lambda j: j.append("paper", [event(number) for number in numbers], 7)
    )
    journal.note_high_water(records)
    return records


@pytest.fixture(scope="module")
def closed() -> dict[str, bytes]:
    """The files of a journal of 1,000 records that was closed."""
    disk = Disk()
    journal = journal_on(disk)
    journal.commit(lambda j: j.open_account("paper", 5))
    for first in range(0, RECORDS, 50):
        append(journal, *range(first, first + 50))
        journal.commit(lambda j, at=first: j.acknowledge("paper", "bot", at, at))
        journal.note_high_water([])
    journal.close()
    files = disk.files()
    assert set(files) == {JOURNAL, NOTE}
    return files


@pytest.fixture(scope="module")
def shot() -> dict[str, bytes]:
    """The files of a journal whose process was shot: the newest commits are in its log alone."""
    return shot_journal(checkpoint_pages=10_000)


def shot_journal(checkpoint_pages: int) -> dict[str, bytes]:
    disk = Disk()
    journal = journal_on(disk)
    journal.commit(lambda j: j.open_account("paper", 5))
    append(journal, *range(300))
    journal.close()
    journal = journal_on(disk, checkpoint_pages=checkpoint_pages)
    for number in range(300, 300 + LOG_COMMITS):
        append(journal, number)
        if number % 5 == 0:
            journal.commit(lambda j, at=number: j.acknowledge("paper", "bot", at, at))
            journal.note_high_water([])
    files = disk.files()
    journal.abandon()
    return files


def flipped(content: bytes, at: int, by: int) -> bytes:
    return content[:at] + bytes([content[at] ^ by]) + content[at + 1 :]


@pytest.mark.slow
def test_every_byte_of_a_closed_journal_is_guarded(closed: dict[str, bytes]) -> None:
    """All of them, one by one, by the check that every read of a page goes through."""
    content, random = closed[JOURNAL], Random(1)
    assert len(content) % PAGE_BYTES == 0
    unnoticed = []
    for start in range(0, len(content), PAGE_BYTES):
        page = bytearray(content[start : start + PAGE_BYTES])
        assert page_is_sound(bytes(page))
        for at in range(PAGE_BYTES):
            by = random.randint(1, 255)
            page[at] ^= by
            if page_is_sound(bytes(page)):
                unnoticed.append(start + at)
            page[at] ^= by
    assert unnoticed == []


@pytest.mark.slow
def test_every_flip_of_a_byte_is_guarded() -> None:
    """All 255 at every place of a page, one after the other.

    A CRC is linear: by which bits two checksums of a page differ depends on what was flipped in it
    and on nothing else that it holds. So what is noticed on this page is noticed on every one.
    """
    page = bytearray(Random(5).randbytes(PAGE_BYTES))
    page[-RESERVED_BYTES:] = page_checksum(page)
    unnoticed = []
    for at in range(PAGE_BYTES):
        true = page[at]
        for by in range(1, 256):
            page[at] = true ^ by
            if page_is_sound(page):
                unnoticed.append((at, by))
        page[at] = true
    assert page_is_sound(page)
    assert unnoticed == []


@pytest.mark.slow
def test_a_flipped_byte_is_noticed_when_the_journal_is_read(closed: dict[str, bytes]) -> None:
    """For real, at random places: not opened, or not verified; and left as it is."""
    content, random = closed[JOURNAL], Random(2)
    for _ in range(TRIED_FOR_REAL):
        at, by = random.randrange(len(content)), random.randint(1, 255)
        disk = Disk(closed | {JOURNAL: flipped(content, at, by)})
        with pytest.raises(JournalDamaged, match=r"is damaged.*journal export"):
            verify(disk)


def verify(disk: Disk) -> int:
    journal = journal_on(disk)
    try:
        return journal.verify()
    finally:
        journal.abandon()


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint_pages", [10_000, 60], ids=["long log", "checkpoints"])
def test_a_flipped_byte_in_the_log_of_a_shot_journal(checkpoint_pages: int) -> None:
    """SQLite takes the log for one that ends there. Either nothing is missing, or it is said.

    Where it is said, not a byte was changed: the rest of the log is evidence.
    """
    shot = shot_journal(checkpoint_pages)
    log, random = shot[LOG], Random(3)
    whole = everything(Disk(shot))
    frame = 24 + PAGE_BYTES
    places = [*range(32), *(32 + number * frame + at for number in (0, 7) for at in range(24))]
    places += [random.randrange(len(log)) for _ in range(LOG_FLIPS)]
    noticed = 0
    for at in places:
        files = shot | {LOG: flipped(log, at, random.randint(1, 255))}
        disk = Disk(files)
        try:
            assert everything(disk) == whole, at
        except JournalDamaged:
            noticed += 1
            assert disk.files() == files, at
    # After a checkpoint the log begins anew, and what is behind its end is nobody's any more.
    assert noticed > len(places) * (0.95 if checkpoint_pages == 10_000 else 0.3)


def everything(disk: Disk) -> tuple[list[OrderRecord], int | None, int]:
    journal = journal_on(disk)
    try:
        records = []
        while more := journal.read("paper", len(records)):
            records += more
        return records, journal.cursor("paper", "bot"), journal.verify()
    finally:
        journal.abandon()


@pytest.mark.parametrize("kept", [0, 32, 20_000])
def test_a_log_that_was_cut(shot: dict[str, bytes], kept: int) -> None:
    """Commits that had returned are gone with it, which is said."""
    files = shot | {LOG: shot[LOG][:kept]}
    disk = Disk(files)
    with pytest.raises(JournalDamaged, match="event 345 of account paper was handed out"):
        journal_on(disk)
    assert disk.files() == files


def test_a_lost_acknowledgement_is_noticed(shot: dict[str, bytes]) -> None:
    """A log that lost nothing but a consumer's position would make it get events twice."""
    disk = Disk(shot)
    journal = journal_on(disk)
    journal.close()
    before = disk.files()
    journal = journal_on(disk)
    journal.commit(lambda j: j.acknowledge("paper", "bot", 380, 380))
    journal.note_high_water([])
    after = disk.files()
    journal.abandon()
    with pytest.raises(JournalDamaged, match="its end is gone"):
        journal_on(Disk(before | {NOTE: after[NOTE]}))


def test_a_journal_that_is_gone_is_noticed(closed: dict[str, bytes]) -> None:
    """A new one would begin at 1 again, in an epoch of its own: that is for a person to decide."""
    with pytest.raises(JournalDamaged, match="its end is gone"):
        journal_on(Disk({NOTE: closed[NOTE]}))


@pytest.mark.parametrize("note", [b"", b"\xff\xfe nonsense", b"{} 00000000"])
def test_a_damaged_note_says_nothing(closed: dict[str, bytes], note: bytes) -> None:
    """It is never synchronised, so it may be anything after a power failure."""
    assert verify(Disk(closed | {NOTE: note})) == RECORDS


def test_any_flip_in_the_note_says_nothing(closed: dict[str, bytes]) -> None:
    """A note that isn't what was written is as good as none."""
    for at in range(len(closed[NOTE])):
        disk = Disk(closed | {NOTE: flipped(closed[NOTE], at, 1 << (at % 8))})
        journal_on(disk).abandon()


def test_a_journal_of_a_later_version_is_left_alone(closed: dict[str, bytes]) -> None:
    """Somebody went back to an older version of this program."""
    disk = Disk(closed)
    journal = journal_on(disk)
    journal.commit(lambda j: j._db.execute("PRAGMA user_version = 99"))
    journal.close()
    with pytest.raises(JournalError, match="written by another version of this program"):
        journal_on(disk)
