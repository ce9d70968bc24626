"""The order journal: every order event on disk, numbered, before anybody is told.

One SQLite file for all accounts, in WAL mode with full synchronisation: when a transaction's
commit has returned, it survives a power failure. Three things tell damage from truth: a checksum
behind every page, one in every record, and a small file beside the journal that names the last
commit and sequences handed out, so that a log whose end is gone is noticed.

Synchronous, and used by one thread (see ``journal_writer.py``); the file is locked, so that two
proxies can't number the same account.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from stream_proxy.model.orders import (
    END_STATUSES,
    KnownOrder,
    OrderEvent,
    OrderRecord,
    Origin,
    quantity,
)
from stream_proxy.state.high_water import HighWater
from stream_proxy.state.journal_errors import (
    MISTAKES,
    JournalDamaged,
    JournalDiskFailed,
    JournalError,
    JournalInUse,
    damaged,
    explained,
)
from stream_proxy.state.journal_file import abandon, checksum_vfs, renew
from stream_proxy.state.journal_reading import (
    READ_LIMIT,
    AccountState,
    JournalReader,
    record_checksum,
)
from stream_proxy.state.journal_schema import OPEN, VERSION, configure, create

__all__ = [
    "READ_LIMIT",
    "AccountState",
    "Journal",
    "JournalDamaged",
    "JournalDiskFailed",
    "JournalError",
    "JournalInUse",
]

ASKED_AGAIN_NS = 120_000_000_000
"""From so far before the last comparison on, Alpaca may be asked for events again: what of them is
forgotten would seem new. Reconciling's overlap, and as much again."""


PRUNED_AT_ONCE = 200
"""Events: a few milliseconds, so that nobody's event waits for it."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What pruning did.

    Attributes:
        forgotten: how many events.
        overtaken: the names of dead cursors that lost something by it.
        more: whether there may be more to forget.
    """

    forgotten: int
    overtaken: list[str]
    more: bool


class Journal(JournalReader):
    """Opens, appends, reads.

    Args:
        path: the file; it is made if it isn't there.
        new_epoch: names a new numbering.
        rewrite: write all of it again first, since the disk failed: see ``journal_file.py``.
        base_vfs: SQLite's file system, for tests with a disk of their own.
        checkpoint_pages: at which length of the log, in pages of 4 KiB, it is carried over into
            the database.
        high_water: the note beside the journal; a file of its own if absent.

    Attributes:
        commits: how many transactions have changed it.
        checkpoint_failed: why the log can't be carried over into the database, if so. Nothing is
            lost by it, but the log grows.

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
        checkpoint_pages: int = 1000,
        high_water: HighWater | None = None,
    ) -> None:
        self.path = path
        self.commits = 0
        self.checkpoint_failed: JournalError | None = None
        self._new_epoch = new_epoch
        self._log_pages = 0
        self._checkpoint_pages = checkpoint_pages
        self._high = HighWater.beside(path) if high_water is None else high_water
        self._high.load()
        try:
            self._db = apsw.Connection(str(path), vfs=checksum_vfs(base_vfs))
        except apsw.Error as error:
            raise explained(path, error) from error
        try:
            # Nothing is changed before it is known to be whole.
            self._check(configure(self._db))
            renew(self._db, path, base_vfs, everything=rewrite)
            # Also the end of SQLite's own checkpoints: one that fails inside a commit would look
            # like its failure.
            self._db.set_wal_hook(self._note_log_pages)
        except BaseException as error:
            abandon(self._db)
            if isinstance(error, apsw.Error):
                raise explained(path, error) from error
            raise

    def _check(self, version: int) -> None:
        """Compare with the note, and make the tables if there was nothing before."""
        if version == 0 and not self._high.commits:
            create(self._db)
        elif version not in (0, VERSION):
            raise JournalError(
                f"{self.path} was written by another version of this program (its form is "
                f"{version}, ours {VERSION}). Use that version, or move the file away and restart: "
                "a new epoch begins, and consumers are told so."
            )
        if version:
            (self.commits,) = self._one("SELECT commits FROM journal", ())
            for account, sequence in self._high.sequences.items():
                row = self._one("SELECT next_sequence FROM accounts WHERE account = ?", (account,))
                if row is None or row[0] <= sequence:
                    raise damaged(
                        self.path,
                        f"event {sequence} of account {account} was handed out and is not in it",
                    )
        if self.commits < self._high.commits:
            raise damaged(
                self.path,
                f"its end is gone: it had {self._high.commits} commits and has {self.commits}",
            )

    def _note_log_pages(self, db: apsw.Connection, name: str, pages: int) -> int:
        self._log_pages = pages
        return apsw.SQLITE_OK

    def abandon(self) -> None:
        """Close after a failure, without touching the disk again."""
        self._high.close()
        abandon(self._db)

    def close(self) -> None:
        """Carry the log over into the database, and close.

        Raises:
            JournalError: the disk didn't take that; it is in the log, though.
        """
        try:
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            self._db.close()
            self._high.close()
        except apsw.Error as error:
            self.abandon()
            raise explained(self.path, error) from error

    # Writing, inside `commit`

    def commit(self, work: Callable[[Journal], Any]) -> Any:
        """Run a function that writes, and make what it wrote durable; give its result.

        Raises:
            JournalError: nothing of it may be believed to be on disk.
            Exception: what the function itself raised; nothing of it was written.
        """
        at_work = False
        try:
            self._db.execute("BEGIN IMMEDIATE")
            before = self._db.total_changes()
            at_work = True
            result = work(self)
            at_work = False
            changed = self._db.total_changes() != before
            if changed:
                self._db.execute("UPDATE journal SET commits = ?", (self.commits + 1,))
            self._db.execute("COMMIT")
        except BaseException as error:
            self._roll_back()
            mistaken = at_work and isinstance(error, MISTAKES)
            if isinstance(error, apsw.Error) and not mistaken:
                raise explained(self.path, error) from error
            raise
        if changed:
            self.commits += 1
            if self._log_pages >= self._checkpoint_pages:
                self._checkpoint()
        return result

    def _roll_back(self) -> None:
        # SQLite has rolled back by itself after some failures of the disk.
        if self._db.in_transaction:
            try:
                self._db.execute("ROLLBACK")
            except apsw.Error:
                pass  # what failed before is what counts

    def _checkpoint(self) -> None:
        """Carry the log over, so that it begins anew; the commit holds whether or not it works."""
        try:
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.Error as error:
            self.checkpoint_failed = explained(self.path, error)
        else:
            self.checkpoint_failed = None

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
            f"SELECT name, event_id, sequence FROM names WHERE account = ? AND name IN ({marks})",  # noqa: S608
            (account, *names),
        )
        # Alpaca's own id decides where both have one: two events may share all else.
        if any(
            name[0] in "ek" or (name[0] != "r" and not (event_id and event.event_id))
            for name, event_id, _ in found
        ):
            return True
        for name, _, sequence in found:
            if name[0] == "r":
                self._take_over(account, name, sequence, event)
                return True
        return False

    def _take_over(self, account: str, name: str, sequence: int, event: OrderEvent) -> None:
        """The true event behind a reconstructed one has come: the next of its kind is another."""
        self._db.execute("DELETE FROM names WHERE account = ? AND name = ?", (account, name))
        self._name(account, sequence, event, _names(event))

    def _name(self, account: str, sequence: int, event: OrderEvent, names: Sequence[str]) -> None:
        self._db.executemany(
            "INSERT INTO names VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [(account, name, sequence, event.event_id) for name in names],
        )

    def _write(self, record: OrderRecord) -> None:
        event = record.event
        self._db.execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(record.account, record.sequence, record.received_ns, event.timestamp_ns),
                *(event.origin.value, event.event_id, event.order_id, event.data),
                record_checksum(record),
            ),
        )
        names = [*_names(event), f"k:{event.kind}"]
        if event.origin is Origin.RECONSTRUCTED:
            names.append(f"r:{event.kind}")
        self._name(record.account, record.sequence, event, names)
        self.note_order(
            record.account,
            KnownOrder(event.order_id, event.status, event.filled_qty, event.submitted_ns),
        )

    def note_order(self, account: str, order: KnownOrder) -> None:
        """Remember where an order stands, so that a gap can be measured against it.

        An order that has ended stays so, and what was filled stays filled, whatever comes late.
        """
        known = self.order(account, order.order_id)
        if known is not None:
            status = known.status if known.status in END_STATUSES else order.status
            filled = max(known.filled_qty, order.filled_qty, key=quantity)
            order = KnownOrder(order.order_id, status, filled, order.submitted_ns)
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

    def correct_beginning(self, account: str, noted_ns: int, since_ns: int) -> None:
        """Write down from when on the record is complete, where it is still what was noted.

        Up to there it was compared, trivially: that tells it from one that a wrong clock noted.
        """
        self._db.execute(
            "UPDATE accounts SET since_ns = ?, reconciled_until_ns = max(reconciled_until_ns, ?) "
            "WHERE account = ? AND since_ns = ?",
            (since_ns, since_ns, account, noted_ns),
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
        self,
        account: str,
        *,
        before_ns: int,
        keep: int,
        cursors_seen_since_ns: int,
        cursors_before_ns: int = 0,
    ) -> Pruned:
        """Forget a portion of the oldest events: those from before ``before_ns``, and those beyond
        the newest ``keep``.

        Never what a living cursor still has to read, nor what Alpaca is asked for again.

        Args:
            cursors_seen_since_ns: a cursor that was seen since is a living one.
            cursors_before_ns: one that was not seen since is forgotten itself.
        """
        state = self.account(account)
        cursors = self.cursors(account)
        living = [c.sequence for c in cursors if c.seen_ns >= cursors_seen_since_ns]
        most = min([state.last_sequence, *living])
        young_ns = state.reconciled_until_ns - ASKED_AGAIN_NS if state.reconciled_until_ns else None
        limit = 0
        since_ns, orders = 0, dict[str, None]()
        rows = self._all(
            "SELECT sequence, received_ns, timestamp_ns, order_id FROM events WHERE account = ? "
            "AND sequence <= ? ORDER BY sequence LIMIT ?",
            (account, most, PRUNED_AT_ONCE),
        )
        for sequence, received_ns, timestamp_ns, order_id in rows:
            old = received_ns < before_ns or sequence <= state.last_sequence - keep
            if not old or (young_ns is not None and timestamp_ns >= young_ns):
                break
            limit, since_ns = sequence, max(since_ns, timestamp_ns + 1)
            orders[order_id] = None
        if limit:
            self._forget(account, limit, since_ns, orders)
        self._db.execute(
            "DELETE FROM cursors WHERE account = ? AND seen_ns < ?", (account, cursors_before_ns)
        )
        lost = [
            c.cursor
            for c in cursors
            if c.seen_ns < cursors_seen_since_ns and state.first_sequence - 1 <= c.sequence < limit
        ]
        forgotten = limit - state.first_sequence + 1 if limit else 0
        return Pruned(forgotten, lost, more=forgotten == PRUNED_AT_ONCE)

    def _forget(self, account: str, limit: int, since_ns: int, orders: Iterable[str]) -> None:
        """Forget the events up to a sequence; the record is complete only behind them."""
        for table in ("events", "names"):
            self._db.execute(
                f"DELETE FROM {table} WHERE account = ? AND sequence <= ?",  # noqa: S608
                (account, limit),
            )
        self._db.execute(
            "UPDATE accounts SET since_ns = max(since_ns, ?) WHERE account = ?",
            (since_ns, account),
        )
        for order_id in orders:
            if not self.kept(account, order_id):
                self._db.execute(
                    f"DELETE FROM orders WHERE account = ? AND order_id = ? AND NOT {OPEN}",  # noqa: S608
                    (account, order_id),
                )

    # Trust

    def note_high_water(self, records: Sequence[OrderRecord]) -> None:
        """After a commit: what may be handed out from now on must be here at the next start.

        Raises:
            OSError: the note couldn't be written; the commit holds.
        """
        if self.commits != self._high.commits:
            self._high.note(self.commits, {r.account: r.sequence for r in records})


def _names(event: OrderEvent) -> list[str]:
    """What tells an event apart: Alpaca's id, else the execution's, else what happened and when."""
    # Alpaca's stream shows nanoseconds, its REST microseconds.
    names = [f"o:{event.order_id}:{event.event}:{event.timestamp_ns // 1000}"]
    if event.execution_id:
        names = [f"x:{event.execution_id}"]
    if event.event_id:
        names.append(f"e:{event.event_id}")
    return names
