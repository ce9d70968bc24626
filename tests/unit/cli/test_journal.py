"""`journal`: shown, checked and taken out, while a proxy holds the file, and when it is damaged."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from stream_proxy.cli.journal_copy import copied_journal
from stream_proxy.model.orders import OrderEvent, OrderRecord, Origin
from stream_proxy.state.high_water import note_path
from stream_proxy.state.journal import Journal, JournalDamaged
from stream_proxy.state.journal_salvage import salvage
from stream_proxy.state.page_checksums import PAGE_BYTES

if TYPE_CHECKING:
    from conftest import Command

RECORDS = 120
A_PAGE_OF_RECORDS = 30
NOON_NS = 1_767_355_200_000_000_000
"""2026-01-02T12:00:00Z"""


def event(number: int, origin: Origin = Origin.STREAM) -> OrderEvent:
    data = {"event": "new", "order": {"id": f"order-{number}", "note": "n" * (number % 300)}}
    return OrderEvent(
        event="new",
        order_id=f"order-{number}",
        timestamp_ns=NOON_NS + number,
        data=json.dumps(data).encode(),
        event_id=f"E{number:020}",
        origin=origin,
    )


def opened(path: Path, **options: Any) -> Journal:
    return Journal(path, new_epoch=lambda: "e1", **options)


def append(journal: Journal, account: str, *events: OrderEvent) -> list[OrderRecord]:
    records: list[OrderRecord] = journal.commit(
        lambda j: j.append(account, events, NOON_NS + 1_000_000_000)
    )
    journal.note_high_water(records)
    return records


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Journal]:
    """A journal that is in use: two accounts, a cursor, newest events in the log alone."""
    journal = opened(tmp_path / "orders.sqlite3")
    for account in ("paper", "live"):
        journal.commit(lambda j, account=account: j.open_account(account, NOON_NS))
    append(journal, "paper", *(event(number) for number in range(RECORDS)))
    append(journal, "live", event(1000, Origin.RECONSTRUCTED))
    journal.commit(lambda j: j.acknowledge("paper", "bot", RECORDS - 5, NOON_NS))
    journal.commit(lambda j: j.note_reconciled("paper", NOON_NS))
    journal.note_high_water([])
    yield journal
    journal.abandon()


async def test_info_of_a_journal_in_use(held: Journal, command: Command) -> None:
    ran = await command("journal", "info", STREAM_PROXY_STATE_DIR=str(held.path.parent))
    assert ran.status == 0, ran.err
    assert "paper  epoch e1\n  120 records, sequences 1 to 120\n" in ran.out
    assert "received 2026-01-02T12:00:01Z to 2026-01-02T12:00:01Z" in ran.out
    assert "compared with Alpaca's record until 2026-01-02T12:00:00Z" in ran.out
    assert "cursor bot: at 115, 5 behind, last seen 2026-01-02T12:00:00Z" in ran.out
    assert "live  epoch e1\n  1 record," in ran.out and "until never yet" in ran.out


async def test_info_as_json(held: Journal, command: Command) -> None:
    ran = await command("journal", "info", "--json", "--file", str(held.path))
    live, paper = json.loads(ran.out)["accounts"]
    assert (live["last_sequence"], live["cursors"]) == (1, [])
    assert paper["cursors"] == [
        {"cursor": "bot", "sequence": 115, "behind": 5, "last_seen": "2026-01-02T12:00:00Z"}
    ]


async def test_verify_and_export_of_a_journal_in_use(held: Journal, command: Command) -> None:
    """The proxy's journal isn't disturbed: it goes on afterwards."""
    where = {"STREAM_PROXY_STATE_DIR": str(held.path.parent)}
    ran = await command("journal", "verify", **where)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == f"{held.path} is sound: 121 records, 2 accounts\n"
    ran = await command("journal", "export", "--format", "jsonl", **where)
    assert (ran.status, ran.err) == (0, "")
    lines = [json.loads(text) for text in ran.out.splitlines()]
    assert lines[0] == {
        "account": "live",
        "epoch": "e1",
        "sequence": 1,
        "received": "2026-01-02T12:00:01Z",
        "origin": "reconstructed",
        "data": json.loads(event(1000).data),
    }
    assert [line["sequence"] for line in lines[1:]] == list(range(1, RECORDS + 1))
    ran = await command("journal", "export", "--account", "live", **where)
    assert len(ran.out.splitlines()) == 1
    assert append(held, "paper", event(5000))[0].sequence == RECORDS + 1


async def test_no_journal_and_no_such_account(
    held: Journal, tmp_path: Path, command: Command
) -> None:
    ran = await command("journal", "info", "--file", str(tmp_path / "other.sqlite3"))
    assert ran.status == 2 and "There is no order journal at" in ran.err
    ran = await command("journal", "export", "--account", "pape", "--file", str(held.path))
    assert ran.status == 2 and "It has live, paper." in ran.err


async def test_a_damaged_record_is_named_and_left_out(held: Journal, command: Command) -> None:
    """Verify says what is wrong and of which file; export saves all the rest."""
    path = held.path
    held.close()
    content = bytearray(path.read_bytes())
    content[content.index(b'{"id": "order-40"')] ^= 1
    path.write_bytes(content)
    ran = await command("journal", "verify", "--file", str(path))
    assert ran.status == 1
    assert f"the order journal {path} is damaged" in ran.err and "journal export" in ran.err
    ran = await command("journal", "export", "--file", str(path))
    assert ran.status == 1
    assert "record 41 of account paper: damaged or missing, left out\n" in ran.err
    sequences = [line["sequence"] for line in map(json.loads, ran.out.splitlines())]
    assert sequences == [1, *range(1, 41), *range(42, RECORDS + 1)]


async def test_a_damaged_log(held: Journal, command: Command, tmp_path: Path) -> None:
    """What the log would have brought is named; what the database has is given."""
    held.close()
    journal = opened(held.path)
    for number in range(2000, 2010):
        append(journal, "paper", event(number))
    kept = tmp_path / "kept"
    kept.mkdir()
    for part in (held.path, held.path.with_name("orders.sqlite3-wal"), note_path(held.path)):
        (kept / part.name).write_bytes(part.read_bytes())
    journal.abandon()
    log = bytearray((kept / "orders.sqlite3-wal").read_bytes())
    log[len(log) // 2] ^= 1
    (kept / "orders.sqlite3-wal").write_bytes(log)
    ran = await command("journal", "export", "--file", str(kept / "orders.sqlite3"))
    assert ran.status == 1
    count = len(ran.out.splitlines())
    assert RECORDS + 1 < count < RECORDS + 11
    assert f"records {count} to 130 of account paper: damaged or missing" in ran.err


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "shot"])
def test_a_flip_costs_a_page_of_records_at_most(
    held: Journal, tmp_path: Path, closed: bool
) -> None:
    """Also in the first page and those of other tables; and all that is given is true."""
    path = held.path
    if closed:
        held.close()
    expected = {r.sequence: r for r in recorded(path)}
    assert len(expected) == RECORDS
    random, copy = Random(4), tmp_path / "copy.sqlite3"
    parts = {"": path, ".high": note_path(path)}
    if not closed:
        parts["-wal"] = path.with_name(path.name + "-wal")
    contents = {suffix: part.read_bytes() for suffix, part in parts.items()}
    target, costly = "" if closed else "-wal", set()
    for start in range(0, len(contents[target]), PAGE_BYTES):
        for at in (start, *(start + random.randrange(PAGE_BYTES) for _ in range(4))):
            changed = bytearray(contents[target])
            if at >= len(changed):
                continue
            changed[at] ^= random.randint(1, 255)
            for suffix, content in (contents | {target: bytes(changed)}).items():
                copy.with_name(copy.name + suffix).write_bytes(content)
            found = salvage(copy).records.get("paper", {})
            for sequence, record in found.items():
                assert record.event == expected[sequence].event, at
            if closed and len(found) < RECORDS - A_PAGE_OF_RECORDS:
                costly.add(start)
    # The one that leads to all pages of records.
    assert len(costly) <= 1


def recorded(path: Path) -> list[OrderRecord]:
    with copied_journal(path) as copy:
        journal = opened(copy)
        try:
            return journal.read("paper", 0, limit=1 << 30)
        finally:
            journal.abandon()


COPIES = 20
WRITTEN_MEANWHILE = 25
"""Commits during each copy: with a log of 30 pages it begins anew about every ten of them."""


def test_copies_fit_together_while_it_is_written(tmp_path: Path) -> None:
    """Checkpoints and logs that begin anew meanwhile: each copy opens, is sound, and has all."""
    path = tmp_path / "orders.sqlite3"
    journal = opened(path, checkpoint_pages=30)
    journal.commit(lambda j: j.open_account("paper", 1))
    wanted = threading.Semaphore(0)
    written = 0

    def write() -> None:
        nonlocal written
        for number in range(COPIES * WRITTEN_MEANWHILE):
            wanted.acquire()
            append(journal, "paper", event(number))
            written = number + 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(COPIES):
            before = written
            wanted.release(WRITTEN_MEANWHILE)
            with copied_journal(path) as copy:
                assert sound_records(copy) >= before
    finally:
        wanted.release(COPIES * WRITTEN_MEANWHILE)
        writer.join()
        journal.abandon()


@pytest.mark.parametrize("seed", range(8))
def test_a_copy_may_be_held_up_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Commits and checkpoints between any two pages that are copied, and between the files."""
    random, numbers = Random(seed), count()
    path = tmp_path / "orders.sqlite3"
    journal = opened(path, checkpoint_pages=random.randint(10, 40))
    journal.commit(lambda j: j.open_account("paper", 1))

    def write(commits: int) -> None:
        for _ in range(commits):
            append(journal, "paper", event(next(numbers)))

    tries, interruptions = 0, 0

    def slow_copy(source: Path, target: Path) -> None:
        nonlocal tries, interruptions
        tries += source == note_path(path)
        with source.open("rb") as original, target.open("wb") as made:
            while page := original.read(PAGE_BYTES):
                made.write(page)
                if interruptions and random.random() < share:
                    interruptions -= 1
                    write(random.randint(1, 4))

    monkeypatch.setattr(shutil, "copyfile", slow_copy)
    for _ in range(COPIES):
        write(random.randint(1, 12))
        before = journal.account("paper").last_sequence
        share, interruptions = random.choice((0.02, 0.1, 0.5)), 10
        with copied_journal(path) as copy:
            assert sound_records(copy) >= before
    journal.abandon()
    assert tries > COPIES, "no log ever began anew in the middle of a copy"


def sound_records(path: Path) -> int:
    """How many records a journal has, all of them sound."""
    journal = opened(path)
    try:
        return journal.verify()
    finally:
        journal.abandon()


def test_a_damaged_journal_is_not_opened_in_place(held: Journal) -> None:
    """The commands work on a copy: not a byte of the original changes."""
    path = held.path
    held.close()
    content = bytearray(path.read_bytes())
    content[PAGE_BYTES + 10] ^= 1
    path.write_bytes(content)
    with copied_journal(path) as copy:
        with pytest.raises(JournalDamaged):
            opened(copy).verify()
        salvage(copy)
    assert path.read_bytes() == bytes(content)
