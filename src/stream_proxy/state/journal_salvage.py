"""What is sound in a damaged journal: every record that can be vouched for, by whatever way.

A flipped byte may be in the database or in its log, in a record or in what leads to it. So the
file is looked at in several ways: with its log, without it, and with the first page of a new
journal, since that page only says where the tables begin, and they begin at the same place in all.
Each of them with the pages' checksums, which vouch for all that is on a page, and without, where a
record's own checksum vouches for it alone.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from stream_proxy.model.orders import OrderEvent, OrderRecord, Origin
from stream_proxy.state.high_water import HighWater
from stream_proxy.state.journal import Journal
from stream_proxy.state.journal_file import abandon, checksum_vfs
from stream_proxy.state.journal_reading import record_checksum
from stream_proxy.state.page_checksums import PAGE_BYTES, RESERVED_BYTES, page_checksum

_COLUMNS = (
    "rowid, account, sequence, received_ns, timestamp_ns, origin, event_id, order_id, data, "
    "checksum"
)
_SMALLEST_ROW_BYTES = 50
_UNREADABLE = (apsw.Error, UnicodeDecodeError)


@dataclass(slots=True)
class Salvage:
    """The sound records of each account by sequence, and where there must have been others."""

    records: dict[str, dict[int, OrderRecord]] = field(default_factory=dict)
    last_sequences: dict[str, int] = field(default_factory=dict)
    """The last sequence that each account is known to have had."""

    def in_order(self, account: str) -> Iterator[OrderRecord]:
        found = self.records.get(account, {})
        return (found[sequence] for sequence in sorted(found))

    def missing(self, account: str) -> list[tuple[int, int]]:
        """The ranges of sequences, ends included, between and behind what was found."""
        found = sorted(self.records.get(account, {}))
        ranges = []
        before = found[0] - 1 if found else 0
        for sequence in [*found, self.last_sequences.get(account, 0) + 1]:
            if sequence > before + 1:
                ranges.append((before + 1, sequence - 1))
            before = sequence
        return ranges


def salvage(path: Path) -> Salvage:
    """Take what is sound from a journal; it is a copy that nobody else uses, and may be changed."""
    found = Salvage()
    note = HighWater.beside(path)
    note.load()
    found.last_sequences.update(note.sequences)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        alone, headed = Path(folder) / "alone", Path(folder) / "headed"
        shutil.copyfile(path, alone)
        shutil.copyfile(path, headed)
        _put_first_page(headed)
        for file in (path, alone, headed):
            for vfs in (checksum_vfs(""), None):
                _look(file, vfs, found)
    return found


def _put_first_page(path: Path) -> None:
    """Replace the page that names the tables by a new journal's (SQLite file format, 1.3, 2.6)."""
    new = path.with_name("new")
    Journal(new, new_epoch=lambda: "").close()
    page = bytearray(new.read_bytes()[:PAGE_BYTES])
    pages = path.stat().st_size // PAGE_BYTES
    page[28:32] = pages.to_bytes(4, "big")
    page[-RESERVED_BYTES:] = page_checksum(bytes(page))
    with path.open("r+b") as file:
        file.write(page)


def _look(path: Path, vfs: str | None, found: Salvage) -> None:
    try:
        db = apsw.Connection(str(path), vfs=vfs)
    except apsw.Error:
        return
    try:
        # Without shared memory, which a VFS of ours doesn't have.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        accounts = _accounts(db)
        for account, (_, last) in accounts.items():
            found.last_sequences[account] = max(last, found.last_sequences.get(account, 0))
        for row in _rows(db, path):
            record = _sound(row, accounts, pages_checked=vfs is not None)
            if record is not None:
                found.records.setdefault(record.account, {}).setdefault(record.sequence, record)
    except apsw.Error:
        return  # this way leads nowhere; there are others
    finally:
        abandon(db)


def _accounts(db: apsw.Connection) -> dict[str, tuple[str, int]]:
    """Epoch and last sequence by account, as far as they can be read."""
    try:
        rows: list[Any] = db.execute(
            "SELECT account, epoch, next_sequence - 1 FROM accounts"
        ).fetchall()
    except _UNREADABLE:
        return {}
    return {account: (epoch, last) for account, epoch, last in rows}


def _rows(db: apsw.Connection, path: Path) -> Iterator[tuple[Any, ...]]:
    """The events' rows in the order in which they were written, around what can't be read."""
    sql = f"SELECT {_COLUMNS} FROM events WHERE rowid "  # noqa: S608
    row_id, end = 0, _last_row(db, path)
    while row_id < end:
        try:
            for row in db.execute(sql + "> ? ORDER BY rowid", (row_id,)):
                row_id = row[0]
                yield row
            return
        except _UNREADABLE:
            row_id += 1
        # Over the damaged page, row by row, to the next that can be read.
        while row_id < end:
            try:
                if rows := db.execute(sql + "= ?", (row_id,)).fetchall():
                    yield rows[0]
                    break
            except _UNREADABLE:
                pass
            row_id += 1


def _last_row(db: apsw.Connection, path: Path) -> int:
    try:
        rows: list[Any] = db.execute("SELECT max(rowid) FROM events").fetchall()
        return int(rows[0][0] or 0)
    except apsw.Error:
        return path.stat().st_size // _SMALLEST_ROW_BYTES


def _sound(
    row: tuple[Any, ...], accounts: dict[str, tuple[str, int]], *, pages_checked: bool
) -> OrderRecord | None:
    """The record of a row; None if nothing vouches for it."""
    _, account, sequence, received_ns, timestamp_ns, origin, event_id, order_id, data, kept = row
    epoch, _ = accounts.get(account, ("", 0))
    try:
        event = OrderEvent("", order_id, timestamp_ns, data, event_id, origin=Origin(origin))
        record = OrderRecord(account, epoch, sequence, received_ns, event)
        if record_checksum(record) == kept:
            return record
    except (TypeError, ValueError):
        return None
    # Where the epoch is lost no record's checksum fits, and the pages alone can tell.
    return record if pages_checked and not epoch else None
