"""What can be asked of a journal: where accounts, cursors and orders stand, and the records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import apsw

from stream_proxy.model.fills import Fill
from stream_proxy.model.orders import KnownOrder, OrderEvent, OrderRecord, Origin
from stream_proxy.state.journal_errors import damaged, explained
from stream_proxy.state.journal_schema import OPEN
from stream_proxy.wire.alpaca.trade_updates import read_fill

READ_LIMIT = 100
"""Records a page: so many are read in two milliseconds, and nobody's event waits longer."""


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


@dataclass(frozen=True, slots=True)
class CursorState:
    """How far a consumer has come, and when it was last heard of."""

    cursor: str
    sequence: int
    seen_ns: int


class JournalReader:
    """The questions, and the comparing of checksums with every answer.

    Attributes:
        path: the file, for what is said of it.
    """

    path: Path
    _db: apsw.Connection

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
            raise explained(self.path, error) from error
        return [self._record(account, epoch, row) for row in rows]

    def _record(self, account: str, epoch: str, row: Sequence[Any]) -> OrderRecord:
        sequence, received_ns, timestamp_ns, origin, event_id, order_id, data, checksum = row
        event = OrderEvent("", order_id, timestamp_ns, data, event_id, origin=Origin(origin))
        record = OrderRecord(account, epoch, sequence, received_ns, event)
        if record_checksum(record) != checksum:
            raise damaged(self.path, f"record {sequence} of account {account} has changed")
        return record

    def cursor(self, account: str, cursor: str) -> int | None:
        """A consumer's durable position, or None if it never acknowledged anything."""
        row = self._one(
            "SELECT sequence FROM cursors WHERE account = ? AND cursor = ?", (account, cursor)
        )
        return None if row is None else int(row[0])

    def cursors(self, account: str) -> list[CursorState]:
        """All durable positions of an account."""
        rows = self._all(
            "SELECT cursor, sequence, seen_ns FROM cursors WHERE account = ? ORDER BY 1", (account,)
        )
        return [CursorState(*row) for row in rows]

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
            "SELECT order_id, status, filled_qty, submitted_ns FROM orders "  # noqa: S608
            f"WHERE account = ? AND {OPEN}",
            (account,),
        )
        return {row[0]: KnownOrder(*row) for row in rows}

    def order(self, account: str, order_id: str) -> KnownOrder | None:
        """What is known of an order."""
        row = self._one(
            "SELECT order_id, status, filled_qty, submitted_ns FROM orders "
            "WHERE account = ? AND order_id = ?",
            (account, order_id),
        )
        return None if row is None else KnownOrder(*row)

    def fills_told(self, account: str, order_ids: Iterable[str]) -> dict[str, list[Fill]]:
        """The fills in the record of each of these orders."""
        told = {}
        for order_id in order_ids:
            # Names of kinds, `OrderEvent.kind`: those of one order's fills lie side by side.
            rows = self._all(
                "SELECT e.data FROM names n JOIN events e USING (account, sequence) "
                "WHERE n.account = ? AND n.name > ? AND n.name < ?",
                (account, f"k:{order_id}:fill:", f"k:{order_id}:fill;"),
            )
            told[order_id] = [fill for (data,) in rows if (fill := read_fill(data)) is not None]
        return told

    def verify(self) -> int:
        """Read everything and compare every checksum; give the number of records.

        Raises:
            JournalDamaged: something isn't what was written, or is missing.
        """
        try:
            for (answer,) in self._all("PRAGMA integrity_check", ()):
                if answer != "ok":
                    raise damaged(self.path, answer)
            count = 0
            for account in self.accounts():
                after = self.account(account).first_sequence - 1
                while records := self.read(account, after):
                    for record in records:
                        if record.sequence != after + 1:
                            raise damaged(
                                self.path, f"record {after + 1} of account {account} is gone"
                            )
                        after = record.sequence
                        count += 1
                if after != self.account(account).last_sequence:
                    raise damaged(
                        self.path, f"records behind {after} of account {account} are gone"
                    )
        except apsw.Error as error:
            raise explained(self.path, error) from error
        return count

    def kept(self, account: str, order_id: str) -> bool:
        """Whether an event of this order is still kept."""
        row = self._one(
            "SELECT 1 FROM names WHERE account = ? AND name >= ? AND name < ? LIMIT 1",
            (account, f"k:{order_id}:", f"k:{order_id};"),
        )
        return row is not None

    def _one(self, sql: str, arguments: tuple[Any, ...]) -> Any:
        return self._db.execute(sql, arguments).fetchone()

    def _all(self, sql: str, arguments: tuple[Any, ...]) -> list[Any]:
        return self._db.execute(sql, arguments).fetchall()


def record_checksum(record: OrderRecord) -> int:
    """The CRC-32 of all that a record says."""
    event = record.event
    head = (
        f"{record.account}\0{record.epoch}\0{record.sequence}\0{record.received_ns}\0"
        f"{event.timestamp_ns}\0{event.origin.value}\0{event.event_id}\0{event.order_id}\0"
    )
    return crc32(event.data, crc32(head.encode()))
