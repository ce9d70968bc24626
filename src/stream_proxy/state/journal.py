"""The order journal: every order event on disk, numbered, before anybody is told.

One SQLite file for all accounts, in WAL mode with full synchronisation: when a transaction's
commit has returned, it survives a power failure. Three things tell damage from truth: a checksum
behind every page, one in every record, and a small file beside the journal that names the last
sequences handed out, so that a log whose end is gone is noticed.

Synchronous, and used by one thread (see ``journal_writer.py``); the file is locked, so that two
proxies can't number the same account.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import apsw

from stream_proxy.model.orders import END_STATUSES, KnownOrder, OrderEvent, OrderRecord, Origin
from stream_proxy.state.journal_schema import prepare
from stream_proxy.state.page_checksums import ChecksumVFS

READ_LIMIT = 500


class JournalError(Exception):
    """The journal can't do its work; the text says why and what to do."""

    disk_untrusted = False
    """Whether what was written before may be on the disk, or not."""


class JournalDiskFailed(JournalError):
    """The disk failed in the middle of a write or a sync."""

    disk_untrusted = True


class JournalDamaged(JournalError):
    """What is on the disk isn't what was written."""


class JournalInUse(JournalError):
    """Another process holds the journal."""


@dataclass(frozen=True, slots=True)
class AccountState:
    """Where an account's record stands; sequences are 0 while there is no event."""

    account: str
    epoch: str
    first_sequence: int
    last_sequence: int
    since_ns: int
    """From when on the record is complete."""
    reconciled_until_ns: int
    """Up to when it was compared with Alpaca's own record."""
    last_event_id: str
    """Alpaca's id of its newest event, or empty."""
    last_timestamp_ns: int


class Journal:
    """Opens, appends, reads.

    Args:
        path: the file; it is made if it isn't there.
        new_epoch: names a new numbering.
        rewrite: write all of it again first. After a failed sync the kernel may call pages
            clean that never reached the disk (Rebello et al., "Can Applications Recover from
            fsync Failures?", USENIX ATC 2020); only new writes are sure to be synchronised.
        base_vfs: SQLite's file system, for tests with a disk of their own.

    Raises:
        JournalDamaged, JournalInUse, JournalError: it can't be used as it is.
    """

    def __init__(
        self,
        path: Path,
        *,
        new_epoch: Callable[[], str],
        rewrite: bool = False,
        base_vfs: str = "",
    ) -> None:
        self.path = path
        self._new_epoch = new_epoch
        name = f"checked-{base_vfs or 'system'}"
        self._vfs = _checksum_vfs(name, base_vfs)
        self._high = HighWater(path.with_name(path.name + ".high"))
        try:
            self._db = apsw.Connection(str(path), vfs=name)
            prepare(self._db)
            if rewrite:
                self._db.execute("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")
            self._check_end()
        except apsw.Error as error:
            raise self._explained(error) from error

    def close(self) -> None:
        self._db.close()

    # Writing, inside `transaction`

    def commit(self, work: Callable[[Journal], Any]) -> Any:
        """Run a function that writes, and make what it wrote durable; give its result.

        Raises:
            JournalError: nothing of it may be believed to be on disk.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                result = work(self)
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except apsw.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise self._explained(error) from error
        return result

    def open_account(self, account: str, now_ns: int) -> AccountState:
        """Begin an account's record, or go on with it."""
        self._db.execute(
            "INSERT INTO accounts VALUES (?, ?, 1, ?, 0, '', 0) ON CONFLICT DO NOTHING",
            (account, self._new_epoch(), now_ns),
        )
        return self.account(account)

    def append(
        self, account: str, events: Iterable[OrderEvent], received_ns: int
    ) -> list[OrderRecord]:
        """Number and write what isn't known yet; give only that."""
        epoch, sequence = self._one(
            "SELECT epoch, next_sequence FROM accounts WHERE account = ?", (account,)
        )
        records = []
        last_id, last_ns = "", 0
        for event in events:
            if self._known(account, event):
                continue
            record = OrderRecord(account, epoch, sequence, received_ns, event)
            self._write(record)
            records.append(record)
            sequence += 1
            last_id, last_ns = max(last_id, event.event_id), max(last_ns, event.timestamp_ns)
        self._db.execute(
            "UPDATE accounts SET next_sequence = ?, last_event_id = max(last_event_id, ?), "
            "last_timestamp_ns = max(last_timestamp_ns, ?) WHERE account = ?",
            (sequence, last_id, last_ns, account),
        )
        return records

    def _known(self, account: str, event: OrderEvent) -> bool:
        """Whether this event is in the journal, from whatever origin."""
        names = _names(event)
        if event.origin is Origin.RECONSTRUCTED:
            names.append(f"k:{event.kind}")
        else:
            # A reconstructed event stands for the true one, which may come later.
            names.append(f"r:{event.kind}")
        marks = ",".join("?" * len(names))
        found = self._all(
            f"SELECT name, event_id FROM names WHERE account = ? AND name IN ({marks})",  # noqa: S608
            (account, *names),
        )
        # Alpaca's own id decides where both have one: two events may share all else.
        return any(
            name[0] in "ekr" or not event_id or not event.event_id for name, event_id in found
        )

    def _write(self, record: OrderRecord) -> None:
        event = record.event
        self._db.execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(record.account, record.sequence, record.received_ns, event.timestamp_ns),
                *(event.origin.value, event.event_id, event.order_id, event.data),
                _checksum(record),
            ),
        )
        names = [*_names(event), f"k:{event.kind}"]
        if event.origin is Origin.RECONSTRUCTED:
            names.append(f"r:{event.kind}")
        self._db.executemany(
            "INSERT INTO names VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [(record.account, name, record.sequence, event.event_id) for name in names],
        )
        self.note_order(
            record.account,
            KnownOrder(event.order_id, event.status, event.filled_qty, event.submitted_ns),
        )

    def note_order(self, account: str, order: KnownOrder) -> None:
        """Remember where an order stands, so that a gap can be measured against it."""
        self._db.execute(
            "INSERT INTO orders VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "status = excluded.status, filled_qty = excluded.filled_qty",
            (account, order.order_id, order.status, order.filled_qty, order.submitted_ns),
        )

    def note_reconciled(self, account: str, until_ns: int) -> None:
        self._db.execute(
            "UPDATE accounts SET reconciled_until_ns = max(reconciled_until_ns, ?) "
            "WHERE account = ?",
            (until_ns, account),
        )

    def acknowledge(self, account: str, cursor: str, sequence: int, now_ns: int) -> int:
        """Move a consumer's durable position forward, never back; give where it stands."""
        self._db.execute(
            "INSERT INTO cursors VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "sequence = max(sequence, excluded.sequence), seen_ns = excluded.seen_ns",
            (account, cursor, sequence, now_ns),
        )
        row = self._one(
            "SELECT sequence FROM cursors WHERE account = ? AND cursor = ?", (account, cursor)
        )
        return int(row[0])

    def prune(
        self, account: str, *, before_ns: int, keep: int, cursors_seen_since_ns: int
    ) -> tuple[int, list[str]]:
        """Forget events older than ``before_ns`` or beyond the newest ``keep``.

        Never what a living cursor still has to read. Give the number forgotten, and the names of
        dead cursors (unseen since ``cursors_seen_since_ns``) that lost something by it.
        """
        state = self.account(account)
        row = self._one(
            "SELECT max(sequence) FROM events WHERE account = ? AND received_ns < ?",
            (account, before_ns),
        )
        limit = max(row[0] or 0, state.last_sequence - keep)
        cursors = self._all(
            "SELECT cursor, sequence, seen_ns FROM cursors WHERE account = ?", (account,)
        )
        living = [s for _, s, seen in cursors if seen >= cursors_seen_since_ns]
        limit = min([limit, *living])
        forgotten = self._all(
            "DELETE FROM events WHERE account = ? AND sequence <= ? RETURNING 1", (account, limit)
        )
        self._db.execute("DELETE FROM names WHERE account = ? AND sequence <= ?", (account, limit))
        lost = [c for c, s, seen in cursors if seen < cursors_seen_since_ns and s < limit]
        return len(forgotten), lost

    # Reading

    def accounts(self) -> list[str]:
        """The accounts that have a record."""
        return [row[0] for row in self._all("SELECT account FROM accounts ORDER BY 1", ())]

    def account(self, account: str) -> AccountState:
        row = self._one(
            "SELECT epoch, next_sequence, since_ns, reconciled_until_ns, last_event_id, "
            "last_timestamp_ns, (SELECT min(sequence) FROM events e WHERE e.account = a.account) "
            "FROM accounts a WHERE account = ?",
            (account,),
        )
        epoch, following, since_ns, reconciled_ns, last_id, last_ns, first = row
        return AccountState(
            account=account,
            epoch=epoch,
            first_sequence=first or following,
            last_sequence=following - 1,
            since_ns=since_ns,
            reconciled_until_ns=reconciled_ns,
            last_event_id=last_id,
            last_timestamp_ns=last_ns,
        )

    def read(self, account: str, after: int, limit: int = READ_LIMIT) -> list[OrderRecord]:
        """The records behind a sequence, in order.

        Raises:
            JournalDamaged: a record isn't what was written.
        """
        epoch = self.account(account).epoch
        try:
            rows = self._all(
                "SELECT sequence, received_ns, timestamp_ns, origin, event_id, order_id, data, "
                "checksum FROM events WHERE account = ? AND sequence > ? ORDER BY sequence LIMIT ?",
                (account, after, limit),
            )
        except apsw.Error as error:
            raise self._explained(error) from error
        return [self._record(account, epoch, row) for row in rows]

    def _record(self, account: str, epoch: str, row: Sequence[Any]) -> OrderRecord:
        sequence, received_ns, timestamp_ns, origin, event_id, order_id, data, checksum = row
        event = OrderEvent("", order_id, timestamp_ns, data, event_id, origin=Origin(origin))
        record = OrderRecord(account, epoch, sequence, received_ns, event)
        if _checksum(record) != checksum:
            raise self._damaged(f"record {sequence} of account {account} has changed")
        return record

    def cursor(self, account: str, cursor: str) -> int | None:
        """A consumer's durable position, or None if it never acknowledged anything."""
        row = self._one(
            "SELECT sequence FROM cursors WHERE account = ? AND cursor = ?", (account, cursor)
        )
        return None if row is None else int(row[0])

    def sequence_of_event(self, account: str, event_id: str) -> int | None:
        """Where Alpaca's event of this id stands, or None."""
        row = self._one(
            "SELECT sequence FROM names WHERE account = ? AND name = ?", (account, f"e:{event_id}")
        )
        return None if row is None else int(row[0])

    def sequence_before(self, account: str, instant_ns: int) -> int:
        """The last sequence before the first event that happened at or after an instant."""
        row = self._one(
            "SELECT min(sequence) FROM events WHERE account = ? AND timestamp_ns >= ?",
            (account, instant_ns),
        )
        return self.account(account).last_sequence if row[0] is None else int(row[0]) - 1

    def open_orders(self, account: str) -> dict[str, KnownOrder]:
        """The orders that may still change, by id."""
        rows = self._all(
            "SELECT order_id, status, filled_qty, submitted_ns FROM orders WHERE account = ?",
            (account,),
        )
        return {row[0]: KnownOrder(*row) for row in rows if row[1] not in END_STATUSES}

    def order(self, account: str, order_id: str) -> KnownOrder | None:
        """What is known of an order."""
        row = self._one(
            "SELECT order_id, status, filled_qty, submitted_ns FROM orders "
            "WHERE account = ? AND order_id = ?",
            (account, order_id),
        )
        return None if row is None else KnownOrder(*row)

    # Trust

    def note_high_water(self, records: Sequence[OrderRecord]) -> None:
        """After a commit: what may be handed out from now on must be here at the next start."""
        if records:
            self._high.write({record.account: record.sequence for record in records})

    def _check_end(self) -> None:
        for account, sequence in self._high.read().items():
            row = self._one("SELECT next_sequence FROM accounts WHERE account = ?", (account,))
            if row is None or row[0] <= sequence:
                raise self._damaged(
                    f"event {sequence} of account {account} was handed out and is not in it"
                )

    def verify(self) -> int:
        """Read everything and compare every checksum; give the number of records.

        Raises:
            JournalDamaged: something isn't what was written, or is missing.
        """
        try:
            for (answer,) in self._all("PRAGMA integrity_check", ()):
                if answer != "ok":
                    raise self._damaged(answer)
            count = 0
            for account in self.accounts():
                after = self.account(account).first_sequence - 1
                while records := self.read(account, after):
                    for record in records:
                        if record.sequence != after + 1:
                            raise self._damaged(f"record {after + 1} of account {account} is gone")
                        after = record.sequence
                        count += 1
                if after != self.account(account).last_sequence:
                    raise self._damaged(f"records behind {after} of account {account} are gone")
        except apsw.Error as error:
            raise self._explained(error) from error
        return count

    def _one(self, sql: str, arguments: tuple[Any, ...]) -> Any:
        return self._db.execute(sql, arguments).fetchone()

    def _all(self, sql: str, arguments: tuple[Any, ...]) -> list[Any]:
        return self._db.execute(sql, arguments).fetchall()

    def _explained(self, error: apsw.Error) -> JournalError:
        text = str(error)
        if isinstance(error, apsw.CorruptError | apsw.NotADBError):
            return self._damaged(text)
        if isinstance(error, apsw.BusyError | apsw.LockedError):
            return JournalInUse(
                f"{self.path} is in use by another process, probably another proxy. Stop it, or "
                "give this one its own STREAM_PROXY_STATE_DIR."
            )
        if isinstance(error, apsw.FullError):
            return JournalError(f"no space left for {self.path}: free some, nothing is lost yet")
        return JournalDiskFailed(
            f"the disk fails under {self.path} ({text}): no order event is passed on until it "
            "works again. Check the disk; the events wait."
        )

    def _damaged(self, what: str) -> JournalDamaged:
        return JournalDamaged(
            f"the order journal {self.path} is damaged: {what}. Nothing was changed. Keep a copy; "
            "`stream-proxy journal export` saves what is sound. Then move the file and its "
            "companions away and restart: a new epoch begins, and consumers are told so."
        )


class HighWater:
    """The last sequences handed out, in a file of their own.

    Written behind each commit and never synchronised: after a power failure it may be older than
    the journal, which proves nothing; it is newer only if the journal has lost its end.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sequences: dict[str, int] | None = None

    def read(self) -> dict[str, int]:
        """What was noted last; a half-written note counts for nothing."""
        self._sequences = {}
        try:
            body, _, checksum = self._path.read_text().strip().rpartition(" ")
        except (OSError, UnicodeDecodeError):
            return {}
        if checksum == f"{crc32(body.encode()):08x}":
            self._sequences = json.loads(body)
        return dict(self._sequences)

    def write(self, sequences: dict[str, int]) -> None:
        if self._sequences is None:
            self.read()
        assert self._sequences is not None
        self._sequences.update(sequences)
        body = json.dumps(self._sequences)
        self._path.write_text(f"{body} {crc32(body.encode()):08x}\n")


def _names(event: OrderEvent) -> list[str]:
    """What tells an event apart: Alpaca's id, else the execution's, else what happened and when."""
    names = [f"o:{event.order_id}:{event.event}:{event.timestamp_ns}"]
    if event.execution_id:
        names = [f"x:{event.execution_id}"]
    if event.event_id:
        names.append(f"e:{event.event_id}")
    return names


def _checksum(record: OrderRecord) -> int:
    event = record.event
    head = (
        f"{record.account}\0{record.epoch}\0{record.sequence}\0{record.received_ns}\0"
        f"{event.timestamp_ns}\0{event.origin.value}\0{event.event_id}\0{event.order_id}\0"
    )
    return crc32(event.data, crc32(head.encode()))


_registered: dict[str, ChecksumVFS] = {}


def _checksum_vfs(name: str, base: str) -> ChecksumVFS:
    """Registered once a process; SQLite knows it by name from then on."""
    if name not in _registered:
        _registered[name] = ChecksumVFS(name, base)
    return _registered[name]
